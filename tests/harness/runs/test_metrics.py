"""metrics.jsonl: whole records, in order, cut where a resumed run goes on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rlsd.harness.runs.metrics import MetricsLog, lost_records, read_metrics
from rlsd.harness.runs.rundir import RunError


def write(folder: Path, steps: list[int], *, resume_step: int = -2) -> None:
    log = MetricsLog(folder, resume_step=resume_step)
    for step in steps:
        log.write(step=step, kind="train", timing={"s": 0.5}, loss=step / 2)
    log.close()


def steps(folder: Path) -> list[int]:
    return [r["step"] for r in read_metrics(folder / "metrics.jsonl")]


def test_a_record_is_one_line_with_timing_apart(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    returned = log.write(step=3, kind="train", timing={"a_s": 1.5}, loss=0.25, hints={"given": 2})
    log.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    want = {"step": 3, "kind": "train", "loss": 0.25, "hints": {"given": 2}, "timing": {"a_s": 1.5}}
    written = json.loads(line)
    number, _ = written.pop("check")
    assert number == 0
    assert written == want == returned
    assert read_metrics(tmp_path / "metrics.jsonl") == [want]


def test_what_json_lacks_is_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write(step=0, kind="train", a=math.nan, b={"c": math.inf, "d": -math.inf, "e": 1.0})
    log.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    (record,) = read_metrics(tmp_path / "metrics.jsonl")
    assert record["a"] is None
    assert record["b"] == {"c": None, "d": None, "e": 1.0}


def test_resuming_drops_what_will_be_written_again(tmp_path: Path) -> None:
    write(tmp_path, [-1, 0, 1, 2, 3])
    write(tmp_path, [2], resume_step=1)
    assert steps(tmp_path) == [-1, 0, 1, 2]
    write(tmp_path, [], resume_step=-1)
    assert steps(tmp_path) == [-1]
    write(tmp_path, [], resume_step=-2)
    assert steps(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_cut_in_half_is_left_out(tmp_path: Path, cut: int) -> None:
    write(tmp_path, [0, 1])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert steps(tmp_path) == [0]
    write(tmp_path, [1], resume_step=0)
    assert steps(tmp_path) == [0, 1]
    assert path.read_text().count("\n") == 2


def test_a_line_cut_inside_a_character(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n' + '{"step": 1, "note": "é'.encode()[:-1])
    assert steps(tmp_path) == [0]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"kind": "train"}', '{"step": "x"}'])
def test_another_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n' + line + '\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 2 of"):
        read_metrics(path)


def test_no_file_is_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, tensorboard=True)
    log.write(step=0, kind="train", timing={"update_s": 2.0}, loss=0.5, credit={"lam": 0.25}, name="x", bad=math.nan)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert values == {"train/loss": 0.5, "train/credit/lam": 0.25, "train/timing/update_s": 2.0}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"step": 0, "kind": "train"}', "step 0 after step 1"),
        ('{"step": 1, "kind": "train"}', "a second record of step 1"),
        ('{"step": 2, "kind": "trian"}', "its kind is 'trian'"),
        ('{"step": 2.5, "kind": "train"}', "its step is 2.5"),
        ('{"step": true, "kind": "train"}', "its step is True"),
        ('{"step": 2, "kind": "train", "loss": NaN}', "NaN is no number of JSON"),
        ('{"step": 2, "kind": "train", "loss": -Infinity}', "-Infinity is no number"),
        ("[" * 100_000, "line 3"),
    ],
)
def test_a_record_that_cannot_be_is_named_with_the_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "kind": "train"}\n{"step": 1, "kind": "train"}\n' + line + "\n")
    with pytest.raises(RunError, match=r"line 3 of .* is damaged; fix or delete it") as told:
        read_metrics(path)
    assert reason in str(told.value)


def test_lost_records_are_told_when_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(tmp_path, [0, 1, 2, 3])
    whole = path.read_text()
    assert lost_records(path, read_metrics(path)) is None
    kept = whole.splitlines(keepends=True)
    path.write_text(kept[0] + kept[3])
    assert lost_records(path, read_metrics(path)) == f"{path} has no record of 2 iterations, 2 to 3"
    log = MetricsLog(tmp_path, resume_step=5)
    log.close()
    assert log.lost == f"{path} has no record of 4 iterations, 2 to 6"
    path.write_text(whole + '{"step": 3, "kind": "eval", "succ')
    for last, told in ((None, True), (3, True), (2, False)):
        assert (lost_records(path, read_metrics(path), last) is not None) == told, "what is written again is not lost"

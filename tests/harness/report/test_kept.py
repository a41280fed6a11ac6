"""Kept episodes: lines of a packed file by number, the index, and each episode's exact numbers."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from rlsd.harness.report.episodes import episode_of, row_of
from rlsd.harness.report.kept import KeptEpisodes, kept_steps
from rlsd.harness.report.lines import APART, GzipLines
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.records import head_of, record_of
from rlsd.harness.runs.rundir import RunError
from tests.support.viewer_page import numbers, record, write_records


def test_lines_are_found_by_number_in_files_of_one_and_of_several_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [rng.bytes(int(n)).replace(b"\n", b" ") for n in rng.integers(0, 120_000, 200)]
    assert sum(map(len, lines)) > 2 * APART, "more than one place to go on from"
    (tmp_path / "one.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 1))
    parts = [gzip.compress(line + b"\n", 1) for line in lines[:-1]]
    (tmp_path / "two.gz").write_bytes(b"".join([*parts, gzip.compress(lines[-1])]))
    for name in ("one.gz", "two.gz"):
        file = GzipLines(tmp_path / name)
        assert list(file.scan()) == lines
        assert len(file) == 200
        assert all(file.line(n) == lines[n] for n in (199, 0, 100, 101, 3))
        with pytest.raises(IndexError, match="line 200 of 200"):
            file.line(200)


@pytest.mark.parametrize("damage", ["empty", "cut off", "overwritten", "no gzip"])
def test_a_damaged_file_of_lines_is_an_error(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b"some lines\n" * 9)
    damaged = {
        "empty": b"",
        "cut off": whole[:-9],
        "overwritten": whole[:20] + b"xxxx" + whole[24:],
        "no gzip": b"x" * 9,
    }
    (tmp_path / "a.gz").write_bytes(damaged[damage])
    with pytest.raises((ValueError, EOFError, zlib.error)):
        list(GzipLines(tmp_path / "a.gz").scan())


def test_the_index_has_a_row_an_episode(tmp_path: Path) -> None:
    failure = {"boundary": "env.step", "message": "no", "reason": "timeout", "lost": False}
    records = [
        record(0, credit=0.5),
        record(1, credit=-1.5),
        record(0, group=1, error=failure, turns=[], turn_credit=[]),
    ]
    kept = KeptEpisodes(write_records(tmp_path / "step-000004.jsonl.gz", records))
    assert kept.index == {
        "group": [0, 0, 1],
        "sibling": [0, 1, 0],
        "won": [1, 0, 1],
        "score": [1.0, 0.0, 1.0],
        "turns": [2, 2, 0],
        "tokens": [6, 6, 0],
        "invalid": [1, 1, 0],
        "surprise": [0.125, 0.375, 0.0],  # credits c and c/2 are c/4 from their mean
        "task": [0, 0, 1],
        "tasks": [("task-0", "kind-0", "goal number 0"), ("task-1", "kind-1", "goal number 1")],
        "stop": [0, 1, 0],
        "stops": ["terminated", "truncated"],
        "failure": [0, 0, 1],
        "failures": ["", "timeout"],
        "gap": [None, None, None],
    }
    assert kept.episode(2)["failure"] == "env.step: no"
    assert kept.episode(1)["turns"][1]["credit"] == -0.75
    assert kept_steps(tmp_path.parent) == {}
    with pytest.raises(IndexError):
        kept.episode(3)


def test_an_episode_has_its_tokens_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    names = ("sampler_logp", "student_logp", "teacher_logp", "base", "weight", "advantage", "gap")
    tokens = [
        {"ids": np.array([5, 6, 7]), **{name: rng.standard_normal(3).astype(np.float32) for name in names}}
        for _ in range(2)
    ]
    tokens[0]["teacher_logp"][:] = np.nan
    pieces = {5: "well", 6: " go", 7: " \ud800"}
    episode = episode_of({**record(), "hindsight_read": [None, "the plan"]}, tokens, pieces)
    assert set(episode["columns"]) == set(names) - {"gap"}
    for name, packed in episode["columns"].items():
        assert np.array_equal(numbers(packed), np.concatenate([t[name] for t in tokens]), equal_nan=True)
    first, second = episode["turns"]
    assert first["pieces"] == ["well", " go", " \ud800"]
    assert (first["read"], second["read"]) == (None, "the plan")
    assert first["hindsight"] == [["plan", "go 0 · go 1"], ["distance", "2"]]
    assert first["observation"] == "you see 0"
    assert "observation" not in second, "it is the first turn's next observation"
    with pytest.raises(ValueError, match="tokens are those of another episode"):
        episode_of(record(), [{**tokens[0], "ids": np.array([5])}, tokens[1]], {})


def test_records_that_are_no_episodes_are_errors(tmp_path: Path) -> None:
    for harm in ({"turn_credit": [1.0]}, {"turns": [3, 4]}, {"turn_credit": ["a", "b"]}, {"key": []}):
        with pytest.raises((ValueError, TypeError, IndexError)):
            row_of({**record(), **harm})
        path = write_records(tmp_path / "step-000000.jsonl.gz", [record(), {**record(), **harm}])
        with pytest.raises(
            RunError, match=r"step-000000\.jsonl\.gz cannot be read .* delete it, or give another --step"
        ):
            _ = KeptEpisodes(path).index


def test_the_index_needs_no_turns_of_records_that_say_their_sizes(tmp_path: Path) -> None:
    """What a run writes is listed from the beginning of each line, and as a record of an earlier version is."""
    said = {**record(0, credit=0.5)["turns"][0], "observation": '"}, "turns": [{"', "valid": False}
    records = [{**record(0, credit=0.5), "goal": 'a, "turns": [ goal'}, {**record(1), "turns": [said, said]}]
    kept = []
    for n, one in enumerate(records):
        trajectory = Trajectory.from_json(one)
        line = json.dumps(record_of(trajectory, one["turn_credit"], ["read", None] if n else [])).encode()
        assert json.loads(line)["turns"] == [turn | {"hindsight_after": {}} for turn in one["turns"]]
        head = head_of(line)
        assert "turns" not in head
        old = {k: v for k, v in json.loads(line).items() if k != "sizes"}
        assert row_of(head) == row_of(old)
        assert head_of(json.dumps(old).encode()) == old
        kept.append(head["sizes"])
    assert kept == [{"turns": 2, "tokens": 6, "refused": 1}, {"turns": 2, "tokens": 6, "refused": 2}]

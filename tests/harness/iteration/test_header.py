"""`rlsd train` says what a run is before it begins: where, which model, how much, who reads what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.config.yaml_text import write_yaml
from rlsd.harness.iteration.header import count, header
from rlsd.harness.iteration.parts import build
from tests.support.smallest_run import BASE

STUDENT = "the student reads: the conversation (format compact, memory full)"


def lines(step: int = 0, **blocks: Any) -> list[str]:
    return header(build(parse_config({**BASE, **blocks})), Path("runs/x"), step)


def test_an_rlsd_run() -> None:
    assert lines() == [
        "runs/x: rlsd on rlsd/ALFWorld-v0, 20000 training tasks",
        "iterations: 1",
        "model: a tiny Llama from scratch, 11 k parameters, float32, context 512, on cpu",
        "each: 1 tasks × 2 episodes, at most 4 tokens a turn, sampled in this process",
        STUDENT,
        "the teacher (the same weights) also reads plan (an expert's actions from here), at most 128 tokens",
    ]


def test_who_reads_what_in_other_runs() -> None:
    assert lines(algorithm="grpo", step=1)[1:2] == ["iterations: 1, 1 of them done"]
    nothing = "the teacher reads: nothing more; there is no hindsight in this run"
    assert lines(algorithm="grpo")[4:] == [STUDENT, nothing]
    exact = "no teacher reads: hindsight is what the environment knows (progress)"
    assert lines(algorithm="progress")[4:] == [STUDENT, exact]
    control = lines(hindsight={"max_tokens": 128, "source": "other_task"})[-1]
    assert control.startswith("the teacher (the same weights) also reads of another task (the control): plan (")
    assert lines(algorithm={"name": "rlsd", "teacher": {"weights": "ema"}})[-1].startswith("the teacher (a moving av")
    assert lines(algorithm="rlsd_ectr")[-1].startswith("it is compared with views of wrong hindsight: ")
    warm = lines(algorithm="sft")
    assert warm[3] == "each: 1 episodes of the explorer"
    assert warm[-1].startswith("the teacher (also trained) also reads plan (")


def test_an_adapter_counts_as_what_is_trained() -> None:
    pytest.importorskip("peft")
    tiny = BASE["model"]["tiny"]
    assert " of them trained, float32" in lines(model={"tiny": tiny, "lora": {"rank": 2}})[2]


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_prints_it(quiet: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(write_yaml({**BASE, "eval": {"every": 0, "at_start": False}}))
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "run.yaml"), "--run", str(tmp_path / "x"), *(["--quiet"] if quiet else [])])
    err = capsys.readouterr().err
    assert (f"{tmp_path}/x: rlsd on rlsd/ALFWorld-v0, 20000 training tasks\niterations: 1\nmodel: " in err) != quiet


@pytest.mark.parametrize(
    ("number", "shown"), [(9_999, "9999"), (10_000, "10 k"), (712_345, "0.7 M"), (1_540_000_000, "1.5 B")]
)
def test_numbers_are_short(number: int, shown: str) -> None:
    assert count(number) == shown

"""What a run tells while it works."""

from __future__ import annotations

import pytest

from rlsd.harness.runs.progress import Progress


def test_the_line_of_an_iteration_tells_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """An outage of the servers is no slow step."""
    record = {"step": 4, "success": 0.5, "tokens": 90, "wasted_tokens": 0, "timing": {"iteration_s": 2.0}}
    Progress(total=9).iteration(record)
    Progress(total=9).iteration(
        {**record, "wasted_tokens": 7, "timing": {"iteration_s": 80.0, "sampler_idle_share": 0.81}}
    )
    calm, outage = capsys.readouterr().err.splitlines()
    assert calm == "step 5/9  success 0.500  tokens 90  2.0 s"
    assert outage == "step 5/9  success 0.500  tokens 90  wasted 7  sampler idle 81 %  80.0 s"


def test_a_warm_starts_line_does_not_pass_the_experts_wins_off_as_the_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = {
        "step": 4,
        "success": 1.0,
        "returns": 1.0,
        "loss": 2.5,
        "loss_student": 2.4,
        "timing": {"iteration_s": 2.0},
    }
    Progress(total=9).iteration(record)
    assert capsys.readouterr().err == "step 5/9  imitated success 1.000  loss 2.500  2.0 s\n"


def test_failed_episodes_are_told_with_their_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"step": 0, "failed_episodes": 3, "failures": {"reward": 2, "raised": 1}, "timing": {"iteration_s": 2.0}}
    Progress(total=2).iteration(record)
    summary = {"interval": [0.1, 0.4], "success": 0.25, "episodes": 8, "errors": 3, "failures": {"reward": 3}}
    Progress(total=2).evaluation(0, summary)
    Progress(total=2).evaluation(0, {**summary, "errors": 0, "failures": {}})
    line, failed, calm = capsys.readouterr().err.splitlines()
    assert line == "step 1/2  failed 3 (reward 2, raised 1)  2.0 s"
    assert failed == "valid after step 1: success 25.0 % [10.0, 40.0] on 8 tasks, failed 3 (reward 3)"
    assert calm == "valid after step 1: success 25.0 % [10.0, 40.0] on 8 tasks"


def test_a_warning_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """It may quote an environment."""
    Progress().warning("RuntimeError: [/bold] in [red]")
    assert capsys.readouterr().err == "warning: RuntimeError: [/bold] in [red]\n"

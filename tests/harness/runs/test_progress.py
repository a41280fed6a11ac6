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

"""The fast ones of the fault list (`make faults` runs all): none passes in silence."""

from __future__ import annotations

import pytest

from tests.support.faults import FAULTS, judged
from tests.support.plain_worlds import Faulty, Plain
from tests.support.rollouts import play

FAST = [fault.name for fault in FAULTS.values() if fault.fast]


@pytest.mark.parametrize("name", FAST)
def test_a_fault_is_survived_or_told(name: str) -> None:
    outcome = FAULTS[name].run()
    assert outcome == ("survived" if " once at " in name else "counted")


def test_the_list_is_long_and_its_judge_notices() -> None:
    assert len(FAULTS) >= 100
    assert judged(lambda: play(Plain, siblings=1)) == "survived"
    assert judged(lambda: play(lambda: Plain(length=2), siblings=1)) == "silent"
    everywhere = {f"t{i}": 99 for i in range(4)}
    assert judged(lambda: play(lambda: Faulty("reset", everywhere), siblings=1)) == "silent"
    assert judged(lambda: play(lambda: Faulty("reset", everywhere), siblings=1), all_at_fault=True) == "counted"
    assert judged(lambda: play(lambda: Faulty("reset", {"t0": 99}), siblings=1)) == "silent", "t1 alone is at fault"
    assert judged(lambda: play(lambda: Faulty("reset", {"t1": 99}), siblings=1)) == "counted"

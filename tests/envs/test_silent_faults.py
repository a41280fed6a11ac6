"""`rlsd check-env` finds what stops no run and spoils what it learns, and says how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsd.envs import check_env
from rlsd.envs.opened_checks import Opener
from rlsd.harness.cli.app import main
from tests.support import faulty_worlds as worlds

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("world", "check", "told"),
    [
        (worlds.OneSplit, "splits", "split 'valid' cannot be opened (EnvError: unknown split 'valid'); split=train|"),
        (worlds.SameTasks, "splits", "splits 'train' and 'valid' share 93 tasks, such as 'keys5/train/1-1-1', so"),
        (worlds.Aimless, "goal", "has no goal (info['goal'] is ''), so a model cannot see what to do"),
        (worlds.PlanInOneText, "answers", "hindsight: hindsight.plan is the str 'go right"),
        (worlds.PilingUp, "bounded_text", "observations pile up: 4 in a row repeat the one before and add to it"),
        (worlds.Talkative, "bounded_text", "characters, of which a teacher reads a few hundred tokens (hindsight.max"),
        (worlds.OneRoomForAll, "apart", "state is shared between instances; make it in __init__ or reset (self.x"),
        (worlds.Unseeded, "deterministic", "gave two different episodes; draw from self.np_random alone, and set"),
        (worlds.SameList, "answers_stay", "info of step 0 was changed by a later step: return a new one each time"),
        (worlds.Promising, "admissible_accepted", "the listed action 'swim' came back with valid_action=False: list"),
        (worlds.Unpaid, "wins_pay", "pays 0, one of useless actions 0: training follows the sum of rewards, so let"),
        (worlds.GoingOn, "ends_when_won", "is won and goes on, so that whatever follows is trained on, too: return"),
        (worlds.OldPlan, "plan", "the plan's action 'go right' came back with valid_action=False: compute the"),
        (worlds.Motionless, "plan", "is reached, and the distance is 3: it counts the steps from the present state"),
        (worlds.TooShort, "plan", "did not reach the goal, and the episode was cut after 2 steps: raise max_st"),
        (worlds.Slow, "quick", "a step takes 0.3 s and blocking is False, so every other episode waits meanwhile"),
    ],
)
def test_a_silent_fault_is_found_with_a_sentence_that_mends_it(
    world: type[worlds.Sound], check: str, told: str
) -> None:
    failed = {f.name: f.message for f in check_env(world) if not f.ok}
    assert told in failed[check]


def test_a_sound_world_has_no_findings() -> None:
    assert [f"{f.name}: {f.message}" for f in check_env(worlds.Sound) if not f.ok] == []


@pytest.mark.parametrize(("world", "found"), [("Shuffled", True), ("Sound", False)])
def test_an_order_that_another_process_does_not_have_is_found(world: str, found: bool) -> None:
    opener = Opener.named(f"tests.support.faulty_worlds:{world}", {})
    failed = {f.name: f.message for f in check_env(opener) if not f.ok}
    assert ("elsewhere" in failed) == found
    if found:
        assert failed["elsewhere"].startswith("the order of tasks() differs between two processes with the same argum")


def test_a_world_that_no_other_process_can_open_is_found(tmp_path: Path) -> None:
    """It counts on something that this process alone has."""
    (tmp_path / "here.py").write_text(
        "import sys\nfrom tests.support.faulty_worlds import Sound\n"
        "class Here(Sound):\n    def tasks(self):\n"
        "        assert 'pytest' in sys.modules\n        return super().tasks()\n"
    )
    failed = {f.name: f.message for f in check_env(Opener.named(f"{tmp_path}/here.py:Here", {})) if not f.ok}
    assert set(failed) == {"elsewhere"}
    assert failed["elsewhere"].startswith("another process cannot open it")


def test_the_command_checks_splits_and_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check-env", f"{ROOT}/examples/coin_env.py:CoinEnv"])
    out = capsys.readouterr().out
    assert ended.value.code == 0, out
    for name in ("splits", "apart", "elsewhere", "plan", "wins_pay", "answers_stay"):
        assert f"│ {name} " in out
    with pytest.raises(SystemExit) as ended:
        main(["check-env", "tests.support.faulty_worlds:OneSplit"])
    assert ended.value.code == 1
    assert "cannot be opened" in capsys.readouterr().out

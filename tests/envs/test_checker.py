"""Each check finds the fault it is made for."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from rlsd.envs import Hindsight, check_env
from rlsd.envs.checker import CHECKS
from rlsd.envs.key_door import KeysEnv
from rlsd.harness.cli.app import main
from tests.support.misbehaving import BENIGN, FAULTS, GOOD, Misbehaving


class Endless(KeysEnv):
    def step(self, action: str):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, False, info


class Leaky(KeysEnv):
    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "distance": 3}


class Raising(KeysEnv):
    def step(self, action: str):
        if not action.strip():
            raise ValueError("empty action")
        return super().step(action)


class Careless(KeysEnv):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        return super().reset(options={"task": random.choice(self.tasks()).task_id, **(options or {})})


class Forgetful(KeysEnv):
    def pick_task(self, options: dict[str, Any] | None):
        return self.tasks()[0]


class Yielding(KeysEnv):
    def _info(self, valid: bool) -> dict[str, Any]:
        return super()._info(True)


class Meddling(KeysEnv):
    def hindsight(self) -> Hindsight:
        self._room = self._open_layout().key
        return super().hindsight()


class Aimless(KeysEnv):
    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "goal": " "}


class Drifting(KeysEnv):
    """Its goal is another after every step."""

    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "goal": f"find key {self._steps}"}


class Exiting(KeysEnv):
    def step(self, action: str):
        raise SystemExit(3)


class Overrated(KeysEnv):
    def _info(self, valid: bool) -> dict[str, Any]:
        return {**super()._info(valid), "score": 7.0}


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (Endless, "ends_itself"),
        (Leaky, "info_typed"),
        (Raising, "hostile_actions"),
        (Careless, "no_global_random"),
        (Forgetful, "task_option"),
        (Forgetful, "unknown_task"),
        (Yielding, "unknown_action"),
        (Meddling, "hindsight"),
        (Overrated, "score_range"),
        (Aimless, "goal"),
        (Drifting, "goal"),
    ],
)
def test_faults_are_found(broken: type[KeysEnv], name: str) -> None:
    failed = {f.name: f.message for f in check_env(broken) if not f.ok}
    assert name in failed
    assert len(failed[name]) > 20


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_answer_is_found_by_the_name_of_its_rule(name: str) -> None:
    """The reason for which a run would count an episode as failed."""
    env, fault = Misbehaving(only=name), FAULTS[name]
    message = CHECKS["answers"](env) if fault.reason != "raised" else found(env)["answers"]
    start = "raised " if fault.reason == "raised" else f"{fault.reason}: "
    assert message.startswith(start)


@pytest.mark.parametrize("name", [*GOOD, *BENIGN])
def test_usable_answers_break_no_rule(name: str) -> None:
    assert CHECKS["answers"](Misbehaving(only=name)) == ""


def test_every_broken_rule_is_named_once() -> None:
    env = Misbehaving(only="reward NaN|reward None|success a text|good-0|plan a text")
    assert CHECKS["answers"](env) == (
        "reward: the reward is nan, expected a finite number of at most 1e+30; "
        "success: info['success'] is the str 'False', expected True or False"
    )


def test_the_command_names_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check-env", "tests.support.misbehaving:Misbehaving", "--arg", "only=reward NaN"])
    assert ended.value.code == 1
    assert re.search(r"answers\s+│ FAIL │ reward: ", capsys.readouterr().out)


def test_an_exit_in_the_environment_does_not_end_the_checks() -> None:
    assert found(Exiting)["answers"] == "raised SystemExit: 3"


def test_a_goal_that_a_model_cannot_see() -> None:
    assert "has no goal (info['goal'] is ' ')" in found(Aimless)["goal"]
    assert "changed during the episode" in found(Drifting)["goal"]


def found(env: Any) -> dict[str, str]:
    return {f.name: f.message for f in check_env(env) if not f.ok}


def test_an_instance_will_do() -> None:
    assert all(f.ok for f in check_env(KeysEnv()))

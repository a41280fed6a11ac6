"""Each check finds the fault it is made for."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlsd.envs import Hindsight, check_env
from rlsd.envs.key_door import KeysEnv


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
    ],
)
def test_faults_are_found(broken: type[KeysEnv], name: str) -> None:
    failed = {f.name: f.message for f in check_env(broken) if not f.ok}
    assert name in failed
    assert len(failed[name]) > 20


def test_an_instance_will_do() -> None:
    assert all(f.ok for f in check_env(KeysEnv()))

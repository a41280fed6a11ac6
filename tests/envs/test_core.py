"""What every environment inherits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlsd.envs import Task, TextEnv
from rlsd.envs.errors import TaskError


class Doors(TextEnv):
    """An environment of tasks alone."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self._tasks = [
            Task(env_id="doors", task_id=n, split="test", task_type="door", seed=i) for i, n in enumerate(names)
        ]

    def tasks(self) -> Sequence[Task]:
        return self._tasks


def test_a_task_is_looked_up_by_its_id_and_an_unknown_one_names_the_closest() -> None:
    env = Doors("red door", "blue door")
    assert env.task_of("blue door").seed == 1
    assert env.pick_task({"task": "red door"}).seed == 0
    with pytest.raises(TaskError, match=r"unknown task 'blu door'\. Did you mean 'blue door'"):
        env.pick_task({"task": "blu door"})


@pytest.mark.parametrize("task_id", [7, ["red door"], {"id": 1}, None])
def test_an_id_of_another_type_is_an_unknown_task(task_id: object) -> None:
    with pytest.raises(TaskError, match="unknown task"):
        Doors("red door").task_of(task_id)


def test_the_first_of_two_tasks_with_one_id_is_taken_and_other_tasks_are_seen_at_once() -> None:
    env = Doors("door", "door")
    assert env.task_of("door").seed == 0
    env._tasks = Doors("gate", "door")._tasks
    assert env.task_of("door").seed == 1
    assert env.task_of("gate").seed == 0


def test_without_tasks_there_is_nothing_to_pick() -> None:
    with pytest.raises(TaskError, match="Doors has no tasks in this split"):
        Doors().pick_task(None)

"""A way to the goal from any state of a task, found by playing on in a copy of the world."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.copies import copied_world
from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.world.scala import JavaRandom, Undrawn
from rlsd.envs.scienceworld.planning.circuits import power
from rlsd.envs.scienceworld.planning.focusing import asked, living
from rlsd.envs.scienceworld.planning.growing import grow_fruit, grow_plant
from rlsd.envs.scienceworld.planning.heating import change_state
from rlsd.envs.scienceworld.planning.ways import Step

_LONGEST = 120
"""Actions after which a plan is given up."""
_WAYS: dict[str, Callable[[Session], Step | None]] = {
    "boil": change_state,
    "melt": change_state,
    "freeze": change_state,
    "change-the-state-of-matter-of": change_state,
    "use-thermometer": asked,
    "measure-melting-point-known-substance": asked,
    "measure-melting-point-unknown-substance": asked,
    "power-component": power,
    "power-component-renewable-vs-nonrenewable-energy": power,
    "test-conductivity": asked,
    "test-conductivity-of-unknown-substances": asked,
    "chemistry-mix": asked,
    "chemistry-mix-paint-secondary-color": asked,
    "chemistry-mix-paint-tertiary-color": asked,
    "grow-plant": grow_plant,
    "grow-fruit": grow_fruit,
    "mendelian-genetics-known-plant": asked,
    "mendelian-genetics-unknown-plant": asked,
}
"""How the next step is found; other task types are about living things, or any thing that suits."""


def plan_from(session: Session) -> tuple[str, ...] | None:
    """Actions from here to the goal; () when it is reached, None when no way is known."""
    world = copied_world(session)
    if isinstance(world.state.random, Undrawn):
        world.state.random = JavaRandom()
    way = _WAYS.get(world.task_type, living)
    actions: list[str] = []
    while not world.goals.completed:
        if world.goals.failed or len(actions) >= _LONGEST:
            return None
        step = ("x",) if world.choices else way(world)  # "x" is no answer to a question: it is dropped
        if step is None:
            return None
        for action in step:
            actions.append(action)
            world.step(action)
    return tuple(actions)

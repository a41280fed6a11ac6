"""The thirty task types of ScienceWorld, their numbers of variations, and the published split of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlsd.envs.core import Task
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/ScienceWorld-v0"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """One type of task; a variation is a number from 0 that determines the house and what is asked."""

    name: str
    paper_id: str
    """The number of the type in the publication, as "4-1"."""
    variations: int

    def split(self, name: str) -> range:
        """Variations of train (the first half), valid (the next quarter, the published "dev") or test (the rest)."""
        quarter = self.variations // 4
        first = {"train": 0, "valid": 2 * quarter, "test": 3 * quarter}[name]
        end = {"train": 2 * quarter, "valid": 3 * quarter, "test": self.variations}[name]
        return range(first, end)

    @property
    def electrical(self) -> bool:
        """The task cannot be solved without connecting things electrically."""
        return "power-component" in self.name or "conductivity" in self.name


def _type(paper_id: str, name: str, variations: int) -> TaskType:
    return TaskType(name=name, paper_id=paper_id, variations=variations)


TASK_TYPES: dict[str, TaskType] = {
    kind.name: kind
    for kind in (
        _type("1-1", "boil", 30),
        _type("1-2", "melt", 30),
        _type("1-3", "freeze", 30),
        _type("1-4", "change-the-state-of-matter-of", 30),
        _type("2-1", "use-thermometer", 540),
        _type("2-2", "measure-melting-point-known-substance", 436),
        _type("2-3", "measure-melting-point-unknown-substance", 300),
        _type("3-1", "power-component", 20),
        _type("3-2", "power-component-renewable-vs-nonrenewable-energy", 20),
        _type("3-3", "test-conductivity", 900),
        _type("3-4", "test-conductivity-of-unknown-substances", 600),
        _type("4-1", "find-living-thing", 300),
        _type("4-2", "find-non-living-thing", 300),
        _type("4-3", "find-plant", 300),
        _type("4-4", "find-animal", 300),
        _type("5-1", "grow-plant", 126),
        _type("5-2", "grow-fruit", 126),
        _type("6-1", "chemistry-mix", 32),
        _type("6-2", "chemistry-mix-paint-secondary-color", 36),
        _type("6-3", "chemistry-mix-paint-tertiary-color", 36),
        _type("7-1", "lifespan-longest-lived", 125),
        _type("7-2", "lifespan-shortest-lived", 125),
        _type("7-3", "lifespan-longest-lived-then-shortest-lived", 125),
        _type("8-1", "identify-life-stages-1", 14),
        _type("8-2", "identify-life-stages-2", 10),
        _type("9-1", "inclined-plane-determine-angle", 168),
        _type("9-2", "inclined-plane-friction-named-surfaces", 1386),
        _type("9-3", "inclined-plane-friction-unnamed-surfaces", 162),
        _type("10-1", "mendelian-genetics-known-plant", 120),
        _type("10-2", "mendelian-genetics-unknown-plant", 480),
    )
}
SIMPLIFICATIONS = (
    "teleportAction", "openDoors", "openContainers", "selfWateringFlowerPots", "noElectricalAction",
)  # fmt: skip
"""What makes the world easier; "easy" is all of them but openContainers, and electrical tasks keep their actions."""


def task_types(names: str | Iterable[str] | None) -> tuple[TaskType, ...]:
    """Task types by name or number ("4-1"); None: all thirty.

    Raises:
        EnvError: an unknown one; names the closest.
    """
    if names is None:
        return tuple(TASK_TYPES.values())
    by_number = {kind.paper_id: kind for kind in TASK_TYPES.values()}
    found = []
    for name in [names] if isinstance(names, str) else names:
        kind = TASK_TYPES.get(name) or by_number.get(name)
        if kind is None:
            raise EnvError(f"unknown task type {name!r}{closest(str(name), TASK_TYPES)}")
        found.append(kind)
    if not found:
        raise EnvError("task_types is empty; None plays all thirty")
    return tuple(dict.fromkeys(found))


def tasks_of(kinds: Iterable[TaskType], split: str) -> tuple[Task, ...]:
    """All tasks of a split, type by type: ids as "boil/12".

    Raises:
        EnvError: an unknown split.
    """
    if split not in SPLITS:
        raise EnvError(f"unknown split {split!r}{closest(str(split), SPLITS)}")
    return tuple(
        Task(env_id=ENV_ID, task_id=f"{kind.name}/{i}", split=split, task_type=kind.name, seed=i)
        for kind in kinds
        for i in kind.split(split)
    )


def simplifications_of(text: str) -> str:
    """The names in `text`, separated by commas, as the original takes them; "" for none.

    Raises:
        EnvError: an unknown one.
    """
    known = ("easy", *SIMPLIFICATIONS)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise EnvError(f"unknown simplification {name!r}{closest(name, known)}")
    if "easy" in names and len(names) > 1:
        raise EnvError(f"simplifications={text!r}: 'easy' stands alone; name the single ones instead")
    return ",".join(names)

"""BabyAI's levels by name, and which seeds of the package make the tasks of a split.

The package has no splits. Here a layout with its mission belongs to one of eight parts by a hash of its content; task
`i` of a split is the first layout of a fixed row of seeds that lies in its parts, so splits share no layout. Layouts
without a plan within the package's limit are passed over: some levels make missions that nobody can fulfil.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from rlsd.envs.babyai.frozen import BEYOND_THE_BOT
from rlsd.envs.babyai.planner import plan
from rlsd.envs.babyai.world import EndlessLayout, World
from rlsd.envs.errors import DataError, EnvError, TaskError, closest
from rlsd.envs.generated import Split

SPLITS = MappingProxyType(
    {
        "train": Split(first=0, size=20_000, parts=(0, 6)),
        "valid": Split(first=1_000_000, size=60, parts=(6, 7)),
        "test": Split(first=2_000_000, size=120, parts=(7, 8)),
    }
)
_PREFIX = "BabyAI-"


@lru_cache(maxsize=1)
def levels() -> Mapping[str, Any]:
    """Level → Gymnasium's specification of it; levels that the package's own bot does not solve are left out.

    Raises:
        DataError: the package is not installed, or made to expect a `done` action.
    """
    if importlib.util.find_spec("minigrid") is None:
        raise DataError("rlsd/BabyAI-v0 needs the package minigrid: pip install 'rlsd[babyai]'")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame greets on standard output
    import minigrid  # registers its levels
    from gymnasium.envs.registration import registry
    from minigrid.envs.babyai.core import verifier

    if verifier.use_done_actions:
        raise DataError(f"BABYAI_DONE_ACTIONS is set, by which {minigrid.__name__} lets no mission succeed; unset it")
    found = {bare_name(i): spec for i, spec in registry.items() if i.startswith(_PREFIX)}
    return {name: found[name] for name in sorted(found) if name not in BEYOND_THE_BOT}


def bare_name(level: str) -> str:
    """
    >>> [bare_name(name) for name in ("BabyAI-GoToObjS6-v1", "GoToLocal")]
    ['GoToObjS6', 'GoToLocal']
    """
    name, _, version = level.removeprefix(_PREFIX).rpartition("-v")
    return name if version.isdigit() else level.removeprefix(_PREFIX)


def level_of(name: str) -> str:
    """The level's bare name.

    Raises:
        EnvError: an unknown level, or one that the bot does not solve; names the closest.
    """
    bare = bare_name(str(name))
    if bare in BEYOND_THE_BOT:
        raise EnvError(f"level {bare!r} is left out, {BEYOND_THE_BOT[bare]}{closest(bare, levels())}")
    if bare not in levels():
        raise EnvError(f"unknown level {str(name)!r}{closest(bare, levels())}")
    return bare


def split_of(name: str) -> Split:
    """Raises EnvError for an unknown split; names the closest one."""
    if name not in SPLITS:
        raise EnvError(f"unknown split {name!r} of the levels{closest(str(name), SPLITS)}")
    return SPLITS[name]


def make_world(level: str, seed: int) -> World:
    """The episode that the package makes of `seed`.

    Raises:
        EndlessLayout: it makes none.
    """
    spec = levels()[level]
    return World(spec.entry_point, spec.kwargs, seed)


@lru_cache(maxsize=65_536)
def package_seed(level: str, split: str, index: int) -> int:
    """The seed by which the package's `reset` makes task `index` of a split.

    Raises:
        TaskError: an index outside the split.
    """
    seeds = split_of(split)
    if not 0 <= index < seeds.size:
        raise TaskError(f"{level}/{split} has tasks 0 to {seeds.size - 1}, got {index}")
    for seed in _row(level, seeds.first + index):
        try:
            world = make_world(level, seed)
        except EndlessLayout:
            continue
        if part(world.content()) in range(*seeds.parts) and _can_be_won(world):
            return seed
    raise AssertionError("a row of seeds has no end")


def _can_be_won(world: World) -> bool:
    found = plan(world, world.save(), at_most=world.limit, any_will_do=True)
    return found is not None and len(found) <= world.limit


def part(content: str) -> int:
    """Which eighth of all layouts this one belongs to."""
    return hashlib.sha256(content.encode()).digest()[0] % 8


def _row(level: str, number: int) -> Iterator[int]:
    attempt = 0
    while True:
        yield int.from_bytes(hashlib.sha256(f"{level}/{number}/{attempt}".encode()).digest()[:4], "big")
        attempt += 1

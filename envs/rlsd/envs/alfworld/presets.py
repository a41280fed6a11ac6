"""Frozen families of generated games, each with train, valid and test splits that share no world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from rlsd.envs.alfworld.game import Game
from rlsd.envs.alfworld.generator import GeneratedGame, WorldConfig, generate
from rlsd.envs.errors import EnvError, TaskError, closest


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One family of worlds."""

    config: WorldConfig
    max_steps: int
    """Episode length that suits it."""
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetTask:
    """One game of a preset, known without generating it.

    Example: PresetTask(task_id="gen-tiny/test/17", task_type="pick_two_obj_and_place", seed=2000017, index=17)
    """

    task_id: str
    task_type: str
    seed: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Seeds `first` to `first + size - 1`, and the eighths of all worlds the split draws from."""

    first: int
    size: int
    parts: tuple[int, int]


SPLITS = MappingProxyType(
    {
        "train": Split(first=0, size=20_000, parts=(0, 6)),
        "valid": Split(first=1_000_002, size=120, parts=(6, 7)),
        "test": Split(first=2_000_004, size=240, parts=(7, 8)),
    }
)
"""The first seeds are multiples of six, so that every split starts its round of the task types anew."""

PRESETS = MappingProxyType(
    {
        "gen-tiny": Preset(
            config=WorldConfig(
                receptacles=(4, 6),
                objects=(3, 6),
                goal_objects=(1, 1),
                closed_share=0.5,
                shared_share=0.0,
                prior_strength=2.0,
                horizon=9,
            ),
            max_steps=15,
            about="one corner of a room, for a model trained from scratch in minutes",
        ),
        "gen-easy": Preset(
            config=WorldConfig(
                receptacles=(6, 8),
                objects=(6, 9),
                goal_objects=(1, 2),
                closed_share=0.7,
                shared_share=0.0,
                prior_strength=1.5,
                horizon=10,
            ),
            max_steps=20,
            about="a small room",
        ),
        "gen-default": Preset(config=WorldConfig(), max_steps=50, about="close to the published games"),
        "gen-hard": Preset(
            config=WorldConfig(receptacles=(30, 54), objects=(30, 64), goal_objects=(1, 2), prior_strength=0.5),
            max_steps=50,
            about="crowded rooms where things lie in unusual places",
        ),
    }
)


def preset(name: str) -> Preset:
    """Raises EnvError for an unknown name; names the closest one."""
    if name not in PRESETS:
        raise EnvError(f"unknown preset {name!r}{closest(name, PRESETS)}")
    return PRESETS[name]


def _split(split: str) -> Split:
    if split not in SPLITS:
        raise EnvError(f"unknown split {split!r} of the generated games{closest(split, SPLITS)}")
    return SPLITS[split]


@lru_cache(maxsize=64)
def _tasks(name: str, split: str) -> tuple[PresetTask, ...]:
    config, seeds = preset(name).config, _split(split)
    return tuple(
        PresetTask(
            task_id=f"{name}/{split}/{index}",
            task_type=config.task_type(seeds.first + index),
            seed=seeds.first + index,
            index=index,
        )
        for index in range(seeds.size)
    )


def preset_tasks(name: str, split: str) -> list[PresetTask]:
    """All games of a split in their frozen order; task types take turns, so 240 games have 40 of each.

    Raises:
        EnvError: unknown preset or split.
    """
    return list(_tasks(name, split))


def preset_generated(name: str, split: str, index: int) -> GeneratedGame:
    """Game `index` of a split as text, for export.

    Raises:
        EnvError: unknown preset or split.
        TaskError: an index outside the split.
    """
    config, seeds = preset(name).config, _split(split)
    if not 0 <= index < seeds.size:
        raise TaskError(f"{name}/{split} has games 0 to {seeds.size - 1}, got {index}")
    return generate(seeds.first + index, replace(config, parts=seeds.parts))


@lru_cache(maxsize=4096)
def preset_game(name: str, split: str, index: int) -> Game:
    """Game `index` of a split, compiled for play; the last few thousand are kept.

    Raises:
        EnvError: unknown preset or split.
        TaskError: an index outside the split.
    """
    return preset_generated(name, split, index).game()

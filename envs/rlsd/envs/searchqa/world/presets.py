"""Fixed families of encyclopedias, each with train, valid and test volumes that share no entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from rlsd.envs.errors import EnvError, TaskError, closest
from rlsd.envs.searchqa.questions.types import Passage, Question
from rlsd.envs.searchqa.world.composing import questions
from rlsd.envs.searchqa.world.encyclopedia import Encyclopedia, WorldConfig, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One family of encyclopedias."""

    config: WorldConfig
    hops: tuple[int, ...]
    """Lengths of the chains, in turn."""
    train_volumes: int
    train_size: int
    """Questions of a training volume."""
    panel_size: int
    """Questions of a valid or test volume."""
    max_steps: int
    """Suggested max_steps: every hop, the answer, and one extra."""
    topk: int
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Number of questions, and the eighths of all names the volumes draw from. Volumes of an evaluation set share no
    entity, so that all of them can be searched as one corpus; training volumes may share some."""

    size: int | None
    """Questions in all; None: as many as the preset's training volumes hold."""
    parts: tuple[int, int]


SPLITS = MappingProxyType(
    {
        "train": Split(size=None, parts=(0, 6)),
        "valid": Split(size=120, parts=(6, 7)),
        "test": Split(size=240, parts=(7, 8)),
    }
)

PRESETS = MappingProxyType(
    {
        "gen-tiny": Preset(
            config=WorldConfig(
                counts={"person": 44, "town": 16, "work": 40},
                relations=("teacher", "birthplace", "founder", "author", "setting"),
                gatherings=8,
                pool=60,
                pronouns=0.0,
            ),
            hops=(1, 2),
            train_volumes=500,
            train_size=40,
            panel_size=40,
            max_steps=4,
            topk=1,
            about="a pamphlet with short articles and 1- to 2-hop questions, for a model trained from scratch",
        ),
        "gen-default": Preset(
            config=WorldConfig(),
            hops=(1, 2, 3, 4),
            train_volumes=50,
            train_size=400,
            panel_size=120,
            max_steps=6,
            topk=3,
            about="600 articles, 1- to 4-hop questions",
        ),
        "gen-hard": Preset(
            config=WorldConfig(
                counts={"person": 1200, "town": 400, "region": 80, "work": 800, "academy": 200, "river": 120},
                gatherings=1200,
                pool=320,
                pronouns=0.6,
            ),
            hops=(2, 3, 4),
            train_volumes=10,
            train_size=2000,
            panel_size=120,
            max_steps=6,
            topk=3,
            about="4,000 articles with many similar names and distractors, 2- to 4-hop questions",
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
        raise EnvError(f"unknown split {split!r} of the generated encyclopedias{closest(split, SPLITS)}")
    return SPLITS[split]


def shape(name: str, split: str) -> tuple[int, int]:
    """(volumes, questions of each) of a split.

    Raises:
        EnvError: unknown preset or split.
    """
    family, part = preset(name), _split(split)
    if part.size is None:
        return family.train_volumes, family.train_size
    return part.size // family.panel_size, family.panel_size


@lru_cache(maxsize=64)
def _volume(name: str, split: str, volume: int) -> tuple[Encyclopedia, tuple[Question, ...]]:
    family, part = preset(name), _split(split)
    volumes, size = shape(name, split)
    if not 0 <= volume < volumes:
        raise TaskError(f"{name}/{split} has volumes 0 to {volumes - 1}, got {volume}")
    seed = f"{name}/{split}/{volume}"
    shelf = (0, 1) if part.size is None else (volume, volumes)
    made = build(seed, replace(family.config, parts=part.parts, shelf=shelf))
    first = volume * size
    hops = [family.hops[(first + i) % len(family.hops)] for i in range(size)]
    return made, questions(made, hops, seed=seed, prefix=f"{seed}-")


def volume_questions(name: str, split: str, volume: int) -> Sequence[Question]:
    """The questions of one volume, in order.

    Raises:
        EnvError: unknown preset or split.
        TaskError: no such volume.
    """
    return _volume(name, split, volume)[1]


def volume_articles(name: str, split: str, volume: int) -> Sequence[Passage]:
    """The articles of one volume.

    Raises:
        EnvError: unknown preset or split.
        TaskError: no such volume.
    """
    return _volume(name, split, volume)[0].articles

"""TextWorld games made by seed, compiled once, kept in a folder.

A split draws from its own part of all games, by a hash of the world and the quest, so that no two splits share a game.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.envs.adapters.adapted import one_of, part, whole
from rlsd.envs.adapters.packages import needed
from rlsd.envs.errors import DataError, EnvError, closest
from rlsd.envs.generated import Split

SPLITS = {
    "train": Split(first=0, size=1000, parts=(0, 4)),
    "valid": Split(first=1_000_000, size=32, parts=(4, 6)),
    "test": Split(first=2_000_000, size=64, parts=(6, 8)),
}
"""Games of a split; wide parts, because every seed that is tried costs the generator about a second."""
_TRIES = 200
"""Seeds for one task."""
_SEEDS = 1000
"""Seeds that are put aside for each task."""
_RULE = 2
"""Of how games are drawn; another number makes all games anew."""
_MAKING = threading.RLock()
"""The generator has a random state that all of a process share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One of TextWorld's challenges."""

    levels: int
    """Highest level; 0: it has none."""
    level: int
    max_steps: int
    settings: Mapping[str, Any]
    """What may be set, with defaults."""


CHALLENGES = {
    "coin": Challenge(levels=300, level=5, max_steps=30, settings={}),
    "cooking": Challenge(
        levels=4,
        level=1,
        max_steps=50,
        settings={"recipe": 1, "take": 1, "go": 1, "open": False, "cook": False, "cut": False, "drop": False},
    ),
    "simple": Challenge(levels=0, level=0, max_steps=50, settings={"rewards": "dense"}),
    "treasure": Challenge(levels=30, level=5, max_steps=40, settings={}),
}
_NAMES = {"coin": "coin_collector", "treasure": "treasure_hunter"}
_KITCHENS: dict[int, dict[str, Any]] = {
    1: {},
    2: {"open": True, "cook": True},
    3: {"recipe": 2, "take": 2, "go": 6, "open": True, "cook": True, "cut": True},
    4: {"recipe": 3, "take": 3, "go": 12, "open": True, "cook": True, "cut": True, "drop": True},
}
"""What each level of cooking asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A challenge with its settings: what a seed makes a game of."""

    challenge: str
    level: int
    goal: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Level, goal and settings that differ from the challenge's own, for ids and files."""
        own = _defaults(self.challenge, self.level)
        changed = [f"{key}={value}" for key, value in sorted(self.settings.items()) if own[key] != value]
        level = [str(self.level)] if self.level else []
        return "-".join(["".join([self.challenge, *level]), *([self.goal] if self.goal != "brief" else []), *changed])


def family(challenge: str, level: int | None, goal: str, settings: Mapping[str, Any] | None) -> Family:
    """
    Raises:
        EnvError: a value that does not fit; says which do.
    """
    kind = CHALLENGES[one_of("challenge", challenge, tuple(CHALLENGES))]
    if level is not None and not kind.levels:
        raise EnvError(f"level={level!r}: {challenge} has no levels")
    chosen = kind.level if level is None else whole("level", level, 1, kind.levels)
    if challenge == "coin" and (chosen - 1) // 100 * ((chosen - 1) % 100 + 1) + (chosen - 1) % 100 + 1 > 100:
        raise EnvError(
            f"level={chosen} of coin has more than 100 rooms, which TextWorld does not make; take a lower one"
        )
    one_of("goal", goal, ("brief", "detailed"))
    if challenge == "cooking" and goal != "brief":
        raise EnvError("goal='detailed': the cookbook has the details in cooking; leave it at brief")
    return Family(challenge=challenge, level=chosen, goal=goal, settings=_settings(challenge, chosen, settings))


def _defaults(challenge: str, level: int) -> dict[str, Any]:
    own = dict(CHALLENGES[challenge].settings)
    return {**own, **_KITCHENS[level]} if challenge == "cooking" else own


def _settings(challenge: str, level: int, given: Mapping[str, Any] | None) -> dict[str, Any]:
    own = _defaults(challenge, level)
    if not isinstance(given or {}, Mapping):
        raise EnvError(f"settings={given!r}: expected names with values, such as {{recipe: 2}}")
    for name, value in (given or {}).items():
        if name not in own:
            raise EnvError(f"{challenge} has no setting {name!r}{closest(str(name), own) if own else ': leave it out'}")
        if name == "rewards":
            one_of("rewards", value, ("dense", "balanced", "sparse"))
        elif name == "go" and value not in (1, 6, 9, 12):
            raise EnvError(f"go={value!r}: a kitchen lies in 1, 6, 9 or 12 rooms")
        elif isinstance(own[name], bool) and not isinstance(value, bool):
            raise EnvError(f"{name}={value!r}: expected true or false")
        elif name in ("recipe", "take"):
            whole(name, value, 0 if name == "take" else 1, 5)
    both = {**own, **(given or {})}
    if challenge == "cooking" and both["take"] > both["recipe"]:
        raise EnvError(
            f"take={both['take']} is above recipe={both['recipe']}, of whose ingredients some are to be found"
        )
    return both


def import_textworld() -> Any:
    """The package.

    Raises:
        EnvError: it is missing, or too old.
    """
    textworld = needed("textworld", extra="textworld", at_least="1.7")
    importlib.import_module("textworld.challenges")
    return textworld


def default_folder() -> Path:
    """Where games are kept: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlsd" / "textworld"


def game_file(kind: Family, split: str, index: int, folder: Path) -> Path:
    """The compiled game of a task; made, at one to ten seconds, if it is not there.

    Raises:
        DataError: the folder cannot be written, or no game was found or compiled.
    """
    textworld = import_textworld()
    place = folder / textworld.__version__ / f"{kind.name}-{fingerprint(kind)[:8]}" / split / f"{index}.z8"
    if place.is_file() and place.with_suffix(".json").is_file():
        return place
    with _MAKING:
        if not place.is_file():
            _make(textworld, kind, split, index, place)
    return place


def _make(textworld: Any, kind: Family, split: str, index: int, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch, _shared_state(textworld), without_warnings():
            for seed in _seeds(split, index):
                options = textworld.GameOptions()
                options.seeds, options.path = seed, os.path.join(scratch, f"{index}.z8")
                game = _generate(textworld, kind, options, split)
                if _fits(kind, game, split):
                    break
            else:
                raise DataError(
                    f"{_TRIES} seeds made no game of {kind.name} for split {split!r}; take another challenge"
                )
            textworld.generator.compile_game(game, options)
            for suffix in (".json", ".z8"):  # the second one says that both are there
                os.replace(os.path.join(scratch, f"{index}{suffix}"), place.with_suffix(suffix))
    except OSError as error:
        raise DataError(
            f"TextWorld's games cannot be kept in {place.parent}: {error}; set cache to a folder"
        ) from error
    except textworld.generator.CouldNotCompileGameError as error:
        raise DataError(f"TextWorld cannot make game {index} of {kind.name}: {error}") from error


def _seeds(split: str, index: int) -> Iterator[int]:
    start = SPLITS[split].first * _SEEDS + index * _SEEDS
    return iter(range(start % 2**32, start % 2**32 + _TRIES))


def _generate(textworld: Any, kind: Family, options: Any, split: str) -> Any:
    settings: dict[str, Any] = dict(kind.settings)
    if kind.challenge == "cooking":
        settings |= {"recipe_seed": options.seeds["quest"], "split": None}
    elif kind.challenge == "simple":
        settings |= {"goal": kind.goal, "test": split == "test"}  # with foods of its own
    else:
        settings |= {"level": kind.level}
        options.grammar.only_last_action = kind.goal == "brief"
    name = f"tw-{_NAMES.get(kind.challenge, kind.challenge)}"
    return textworld.challenges.CHALLENGES[name][1](settings, options)


def _fits(kind: Family, game: Any, split: str) -> bool:
    first, last = SPLITS[split].parts
    if kind.challenge == "simple":  # its test games have things that no other has
        first, last = {"train": (0, 4), "valid": (4, 8), "test": (0, 8)}[split]
    return first <= part(content(game)) < last


def content(game: Any) -> str:
    """What is where, by name, and what the quests ask for; texts that only sound another way do not count."""

    def said(fact: Any) -> str:
        names = [game.infos[v.name].name if v.name in game.infos else v.name for v in fact.arguments]
        return f"{fact.name}({', '.join(map(str, names))})"

    quests = [[[said(f) for f in e.condition.preconditions] for e in quest.win_events] for quest in game.quests]
    return "\n".join([*sorted(said(fact) for fact in game.world.facts), str(quests)])


def fingerprint(kind: Family) -> str:
    """Version, settings and rule of the splits: with split and index, they determine a game."""
    text = f"{import_textworld().__version__} {kind} {SPLITS} {_TRIES} {_SEEDS} {_RULE}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Jericho warns that it does not know a game that was made just now."""
    with _MAKING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _shared_state(textworld: Any) -> Iterator[None]:
    """The generator's own random state starts the same way for every game, and no other is changed."""
    import random

    import numpy as np

    kept, kept_np = random.getstate(), np.random.get_state()  # noqa: NPY002  (put back)
    textworld.g_rng.set_seed(0)
    try:
        yield
    finally:
        random.setstate(kept)
        np.random.set_state(kept_np)  # noqa: NPY002

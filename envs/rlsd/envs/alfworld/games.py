"""Where games come from: generated presets, one file, a folder, or the published release."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rlsd.envs.alfworld.engine.game import Game, load_game
from rlsd.envs.core import Task
from rlsd.envs.errors import DataError, EnvError, GameFileError, TaskError, closest

ENV_ID = "rlsd/ALFWorld-v0"
PRESETS = ("gen-tiny", "gen-easy", "gen-default", "gen-hard")
LEVELS = tuple(f"gen-level-{n}" for n in range(1, 9))
"""The generated curriculum, from easy to hard."""
REAL_SPLITS = ("train", "valid_seen", "valid_unseen", "valid_train")
TASK_TYPES = (
    "look_at_obj_in_light",
    "pick_and_place_simple",
    "pick_clean_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_two_obj_and_place",
)
PUBLISHED = {
    "train": (3553, "344c9ddbc6b2fcd8"),
    "valid_seen": (140, "64bc1e81ace17d02"),
    "valid_unseen": (134, "f6c3163221cb51f2"),
    "valid_train": (200, "2248d7955d55b50d"),
}
"""Published split → number of games and digest of the evaluation set (`Panel.of`), computed from the whole release."""
_RELEASE = "json_2.1.1"
_CACHED_GAMES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The games of one split, in fixed order; loaded on demand, shared within the process."""

    tasks: tuple[Task, ...]
    load: Callable[[Task], Game]
    index: dict[str, Task]

    def game(self, task_id: str) -> Game:
        """The compiled game of a task.

        Raises:
            TaskError: no such task.
            GameFileError: its file is damaged or gone.
        """
        task = self.index.get(task_id)
        if task is None:
            raise TaskError(f"unknown task {task_id!r}{closest(task_id, self.index)}")
        return self.load(task)

    def content(self, task_id: str) -> str:
        """JSON text of everything that determines the task, equal for equal games; without the walkthrough."""
        game = self.game(task_id)
        return json.dumps(
            [
                game.task,
                str(game.goal),
                [game.objects, game.receptacles, game.places, game.inside, game.start, game.in_hand],
                [sorted(fits) for fits in game.fits],
                [
                    sorted(flags)
                    for flags in (
                        game.openable, game.opened, game.pickupable, game.cleanable, game.heatable,
                        game.coolable, game.toggleable, game.sliceable, *(o for _, o in game.states),
                    )
                ],
            ],
            separators=(",", ":"),
        )  # fmt: skip


def open_library(games: str | Path | Sequence[str] | None, split: str) -> Library:
    """The games named by `games`: None or a preset's name, several presets' names, "real", a game file, or a folder.

    Raises:
        EnvError: no such preset, file, folder or split.
        DataError: "real" without data on this machine, or a folder without games.
    """
    if isinstance(games, Sequence) and not isinstance(games, str):
        return _several(tuple(map(str, games)), split)
    name = "gen-default" if games is None else str(games)
    if name in PRESETS or name in LEVELS:
        return _preset_library(name, split)
    if name == "real":
        return _folder_library(str(_find_real(split)), split, split)
    path = Path(name).expanduser()
    if path.is_file():
        return _file_library(str(path.resolve()), split)
    if not path.is_dir():
        raise EnvError(
            f"games={name!r} is neither a preset, nor 'real', nor a game file or folder that exists"
            + closest(name, (*PRESETS, *LEVELS, "real"))
        )
    base = next((b for b in (path, path / _RELEASE) if (b / split).is_dir()), None)
    if base is not None:
        return _folder_library(str((base / split).resolve()), split, split)
    splits = [s for b in (path, path / _RELEASE) for s in REAL_SPLITS if (b / s).is_dir()]
    if splits:
        raise EnvError(f"{path} has no split {split!r}{closest(split, splits)}")
    return _folder_library(str(path.resolve()), split, "")


@lru_cache(maxsize=16)
def _several(names: tuple[str, ...], split: str) -> Library:
    """The games of several presets, which take turns."""
    for name in names:
        if name not in PRESETS and name not in LEVELS:
            raise EnvError(f"games={list(names)}: {name!r} is no preset{closest(name, (*PRESETS, *LEVELS))}")
    if not names or len(set(names)) < len(names):
        raise EnvError(f"games={list(names)}: expected at least one preset, each once")
    parts = [_preset_library(name, split) for name in names]
    tasks = tuple(task for row in zip(*(part.tasks for part in parts)) for task in row)
    home = {task.task_id: part for part in parts for task in part.tasks}
    return Library(tasks=tasks, load=lambda task: home[task.task_id].load(task), index={t.task_id: t for t in tasks})


def real_data_folder(split: str) -> Path | None:
    """The local folder of a published split, or None; checks ALFWORLD_DATA, RLSD_DATA, ~/.cache."""
    return next((f for f in _real_candidates(split) if f.is_dir()), None)


def _real_candidates(split: str) -> list[Path]:
    bases: list[Path] = []
    if os.environ.get("ALFWORLD_DATA"):
        bases.append(Path(os.environ["ALFWORLD_DATA"]).expanduser())
    if os.environ.get("RLSD_DATA"):
        root = Path(os.environ["RLSD_DATA"]).expanduser()
        bases += [root / "alfworld", root]
    bases.append(Path("~/.cache/alfworld").expanduser())
    return [folder / split for base in bases for folder in (base / _RELEASE, base)]


def _find_real(split: str) -> Path:
    if split not in REAL_SPLITS:
        raise EnvError(f"unknown split {split!r} of the published games{closest(split, REAL_SPLITS)}")
    folder = real_data_folder(split)
    if folder is not None:
        return folder
    packed = [a for f in _real_candidates(split) for a in sorted(f.parent.parent.glob("games_*.tar.xz"))]
    raise DataError(
        f"the published ALFWorld games (split {split!r}) are not on this machine. Run `alfworld-download` "
        f"where the network allows, or set ALFWORLD_DATA to the folder that holds {_RELEASE}/, or RLSD_DATA "
        f"to the folder that holds alfworld/{_RELEASE}/"
        + (f"; or unpack {packed[0]} there" if packed else "")
        + ". games=None plays generated games and needs no data."
    )


@lru_cache(maxsize=64)
def _preset_library(name: str, split: str) -> Library:
    from rlsd.envs.alfworld.generate.presets import (
        preset_game,
        preset_tasks,
    )  # late: not needed for game files

    level = LEVELS.index(name) + 1 if name in LEVELS else None
    tasks = tuple(
        Task(env_id=ENV_ID, task_id=task.task_id, split=split, task_type=task.task_type, seed=task.seed, level=level)
        for task in preset_tasks(name, split)
    )
    position = {task.task_id: i for i, task in enumerate(tasks)}
    return Library(
        tasks=tasks,
        load=lambda task: preset_game(name, split, position[task.task_id]),  # has its own cache
        index={task.task_id: task for task in tasks},
    )


@lru_cache(maxsize=64)
def _file_library(path: str, split: str) -> Library:
    return _library([(Path(path).name, path)], split)


@lru_cache(maxsize=64)
def _folder_library(folder: str, split: str, prefix: str) -> Library:
    game_files: list[tuple[str, str]] = []
    for here, _, files in os.walk(folder):
        if "movable" in here or "Sliced" in here:  # the original leaves these out
            continue
        relative = Path(here).relative_to(folder).as_posix()
        for file in files:
            if file == "game.tw-pddl" and relative != ".":
                name = relative
            elif file.endswith(".tw-pddl") or (file.endswith(".json") and file != "traj_data.json"):
                name = f"{relative}/{file}".removeprefix("./")
            else:
                continue
            game_files.append((f"{prefix}/{name}".removeprefix("/"), str(Path(here) / file)))
    if not game_files:
        raise DataError(f"{folder}: no *.tw-pddl or generated *.json game in it; check the path or the download")
    return _library(sorted(game_files), split)


def _library(game_files: Sequence[tuple[str, str]], split: str) -> Library:
    paths = dict(game_files)
    tasks = tuple(
        Task(env_id=ENV_ID, task_id=name, split=split, task_type=_task_type(name, path)) for name, path in game_files
    )
    return Library(tasks=tasks, load=lambda t: _read(paths[t.task_id]), index={t.task_id: t for t in tasks})


def _task_type(name: str, path: str) -> str:
    """From the folder's name as published, else from the file; "unknown" for a damaged one."""
    for part in name.split("/"):
        head = part.partition("-")[0]
        if head in TASK_TYPES:
            return head
    try:
        return _read(path).task_type
    except GameFileError:
        return "unknown"


def _read(path: str) -> Game:
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        changed = 0  # load_game reports the error
    return _read_cached(path, changed)


@lru_cache(maxsize=_CACHED_GAMES)
def _read_cached(path: str, changed: int) -> Game:
    return load_game(path)

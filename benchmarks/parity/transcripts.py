"""Transcripts of an engine: its output after each command, stored compressed, and replayed on the native world."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.text import NOTHING_HAPPENS
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.errors import DataError


class Step(NamedTuple):
    """One command and everything shown after it."""

    command: str
    observation: str
    admissible: list[str]
    reward: float
    done: bool
    won: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One recorded episode of one game.

    Example: Transcript(game="corner/3", problem="(define …)", task="put a mug in shelf.", observation="-= Welcome …",
        admissible=["go to shelf 1", …], won=False, steps=(Step("look", "You are …", […], 0.0, False, False),))
    """

    game: str
    """Path under the data folder, or the name of a made game."""
    problem: str | None
    """The PDDL problem of a made game; None: the published file has it."""
    task: str | None
    observation: str
    admissible: list[str]
    won: bool
    steps: tuple[Step, ...]

    def made_game(self) -> Game:
        """The game of a transcript that carries its problem."""
        if self.problem is None or self.task is None:
            raise DataError(f"the transcript of {self.game} has no problem; load the published file of that name")
        return Game.parse(self.problem, task=self.task, source=self.game)


def read_transcripts(path: str | Path) -> Iterator[Transcript]:
    """All transcripts of an `.xz` of JSON lines (as `write_transcripts` makes it) or of plain JSON lines.

    Raises:
        DataError: missing, damaged, or a malformed line.
    """
    path = Path(path)
    lists: list[list[str]] = []
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
            for line in file:
                data = json.loads(line)
                lists += data.get("lists", ())
                yield transcript_from_json(data, lists)
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as transcripts ({type(error).__name__}: {error})") from None


def transcript_from_json(data: dict[str, Any], lists: Sequence[list[str]] = ()) -> Transcript:
    """A transcript from a decoded line; a number in the place of a list of commands is a position in `lists`."""

    def whole(admissible: int | list[str]) -> list[str]:
        return lists[admissible] if isinstance(admissible, int) else admissible

    return Transcript(
        game=data["game"],
        problem=data.get("problem"),
        task=data.get("task"),
        observation=data["observation"],
        admissible=whole(data["admissible"]),
        won=data["won"],
        steps=tuple(Step(s[0], s[1], whole(s[2]), float(s[3]), s[4], s[5]) for s in data["steps"]),
    )


def write_transcripts(path: str | Path, transcripts: Iterable[Transcript]) -> int:
    """Write them compressed, every list of admissible commands once; returns the bytes written."""
    path = Path(path)
    index: dict[tuple[str, ...], int] = {}
    with lzma.open(path, "wt", encoding="utf-8", preset=9 | lzma.PRESET_EXTREME) as file:
        for t in transcripts:
            known = len(index)
            start = index.setdefault(tuple(t.admissible), len(index))
            numbers = [index.setdefault(tuple(s.admissible), len(index)) for s in t.steps]
            steps = [
                [s.command, s.observation, n, s.reward, s.done, s.won] for s, n in zip(t.steps, numbers, strict=True)
            ]
            data = {"game": t.game, "observation": t.observation, "admissible": start, "won": t.won, "steps": steps}
            if t.problem is not None:
                data |= {"problem": t.problem, "task": t.task}
            fresh = list(islice(index, known, None))
            file.write(json.dumps({"lists": fresh, **data}, separators=(",", ":")) + "\n")
    return path.stat().st_size


def differences(transcript: Transcript, world: World) -> Iterator[dict[str, Any]]:
    """Replay a transcript on the native world; yields one entry for every value that differs.

    Compared at the start and after each command: observation, admissible commands in their order, won; after a
    command also reward, done, and whether it was understood.
    """
    shown = {"observation": world.reset(), "admissible": world.admissible(), "won": world.won}
    recorded = {"observation": transcript.observation, "admissible": transcript.admissible, "won": transcript.won}
    yield from _unequal(transcript.game, -1, None, recorded, shown)
    for n, step in enumerate(transcript.steps):
        observation = world.step(step.command)
        won = world.won
        shown = {
            "observation": observation,
            "admissible": world.admissible(),
            "reward": float(won),
            "done": won,
            "won": won,
            "understood": world.understood,
        }
        recorded = {**step._asdict(), "understood": step.observation != NOTHING_HAPPENS}
        del recorded["command"]
        yield from _unequal(transcript.game, n, step.command, recorded, shown)


def _unequal(
    game: str, n: int, command: str | None, recorded: dict[str, Any], shown: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for key, value in recorded.items():
        if value != shown[key]:
            yield {"game": game, "step": n, "command": command, "what": key, "original": value, "ours": shown[key]}

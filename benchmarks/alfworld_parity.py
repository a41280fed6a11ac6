"""Compare the native ALFWorld engine with the original: play live side by side, record, pack, count branches.

    python benchmarks/alfworld_parity.py live --games FOLDER --count 20       both engines, now (make parity)
    python benchmarks/alfworld_parity.py record --games FOLDER --out RECORD   can be stopped at any time, then resumes
    python benchmarks/alfworld_parity.py pack --out RECORD --into tests/data  the compressed set that the tests replay
    python benchmarks/alfworld_parity.py replay --games FOLDER                the packed set against the native engine

`live` and `record` need `pip install "rlsd[alfworld]"` (the original: textworld with its PDDL planner, and alfworld).
Compared after every command: observation, admissible commands in their order, reward, done, won, and whether the
command was understood. The last line printed is one JSON object; the exit code is 0 only without differences.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from parity.record import Played, chosen, corner_games, generated_games, lighten, published_games, record, record_game

# From here on this file's folder would hide the package `alfworld` behind benchmarks/alfworld.py.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from parity.branches import BRANCHES, branches  # noqa: E402
from parity.transcripts import (  # noqa: E402
    Transcript,
    differences,
    read_transcripts,
    transcript_from_json,
    write_transcripts,
)

from rlsd.envs.alfworld.engine.game import Game, load_game  # noqa: E402
from rlsd.envs.alfworld.engine.world import World  # noqa: E402
from rlsd.envs.alfworld.parity.original import Original  # noqa: E402
from rlsd.envs.errors import RlsdError  # noqa: E402

PACKED = {"published": "alfworld_published.jsonl.xz", "corners": "alfworld_corners.jsonl.xz"}


class Tally:
    """Counts of compared games and steps, and all differences."""

    def __init__(self) -> None:
        self.games, self.steps = Counter[str](), Counter[str]()
        self.types, self.branches = Counter[str](), Counter[str]()
        self.differences: list[dict[str, Any]] = []

    def add(self, transcript: Transcript, game: Game) -> None:
        kind = transcript.game.partition("/")[0]
        self.games[kind] += 1
        self.steps[kind] += len(transcript.steps)
        self.types[game.task_type] += 1
        for difference in differences(transcript, World(game)):
            self.differences.append(difference)
            print(f"DIFFERENCE {json.dumps(difference)}", file=sys.stderr, flush=True)
        self.branches += branches(transcript, game)

    def report(self) -> dict[str, Any]:
        return {
            "games": sum(self.games.values()),
            "steps": sum(self.steps.values()),
            "differences": len(self.differences),
            "games_by_source": dict(self.games),
            "steps_by_source": dict(self.steps),
            "games_by_type": dict(sorted(self.types.items())),
            "branches": len(BRANCHES),
            "branches_never_taken": [name for name in BRANCHES if not self.branches[name]],
            "examples": self.differences[:5],
        }


def game_of(transcript: Transcript, folder: Path | None) -> Game | None:
    """The native game of a transcript; None if its file is missing."""
    if transcript.problem is not None:
        return transcript.made_game()
    if folder is None or not (folder / transcript.game).is_file():
        return None
    return load_game(folder / transcript.game)


def live(options: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    """Both engines, game by game."""
    engine, tally, seconds = Original(), Tally(), 0.0
    names = chosen(folder, options.count, options.seed) if folder and options.count else []
    played: Iterable[Played] = published_games(folder, names, options.seed) if folder else ()
    played = chain(
        played,
        generated_games(options.generated, options.seed),
        corner_games(folder, options.corners, options.seed),
    )
    for one in played:
        start = time.perf_counter()
        transcript = transcript_from_json(record_game(engine, one))
        seconds += time.perf_counter() - start
        game = game_of(transcript, folder)
        assert game is not None
        tally.add(transcript, game)
        print(f"{transcript.game}: {len(tally.differences)} differences so far", file=sys.stderr, flush=True)
    return {**tally.report(), "original_seconds": round(seconds, 1)}


def recorded(folder: Path, name: str) -> Iterator[Transcript]:
    """Every game once, from all files of that kind in a record."""
    done: set[str] = set()
    for path in sorted(folder.glob(f"{name}*.jsonl")):
        for transcript in read_transcripts(path):
            if transcript.game not in done:
                done.add(transcript.game)
                yield transcript


def pack(options: argparse.Namespace) -> dict[str, Any]:
    options.into.mkdir(parents=True, exist_ok=True)
    sizes = {
        file: write_transcripts(options.into / file, sorted(recorded(options.out, name), key=lambda t: t.game))
        for name, file in PACKED.items()
    }
    return {"bytes": sizes}


def replay(options: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    tally, absent = Tally(), 0
    for file in PACKED.values():
        for transcript in read_transcripts(options.into / file):
            game = game_of(transcript, folder)
            if game is None:
                absent += 1
            else:
                tally.add(transcript, game)
    width = max(map(len, BRANCHES))
    for name in BRANCHES:
        print(f"{name:{width}} {tally.branches[name]:6d}")
    return {**tally.report(), "skipped_for_want_of_the_game_file": absent}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="live", choices=("live", "record", "pack", "replay"))
    parser.add_argument("--games", type=Path, default=None, help="folder that holds train/, valid_seen/, …")
    parser.add_argument("--count", type=int, default=None, help="published games (20 live, 340 recorded)")
    parser.add_argument("--corners", type=int, default=None, help="edge cases (8 live, 90 recorded)")
    parser.add_argument("--generated", type=int, default=6, help="generated games, live")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/alfworld_parity"), help="folder of the raw record")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent.parent / "tests/data")
    parser.add_argument("--part", default="0/1", help="record every N-th game from K on, K/N: for several processes")
    parser.add_argument("--plain", action="store_true", help="record without caching the original's repeated work")
    options = parser.parse_args()
    if options.count is None:
        options.count = 20 if options.what == "live" else 340
    if options.corners is None:
        options.corners = 8 if options.what == "live" else 90
    folder = data_folder(options.games)
    try:
        if options.what == "pack":
            print(json.dumps(pack(options)))
            return 0
        if options.what == "record":
            print(json.dumps(run_record(options, folder)))
            return 0
        report = live(options, folder) if options.what == "live" else replay(options, folder)
    except RlsdError as error:
        parser.error(str(error))
    print(json.dumps(report))
    return 0 if not report["differences"] and report["games"] else 1


def data_folder(path: Path | None) -> Path | None:
    """The folder of the unpacked published games: `path`, else from ALFWORLD_DATA or RLSD_DATA; None: not on this
    machine."""
    bases = [path] if path else [Path(os.environ[n]) for n in ("ALFWORLD_DATA", "RLSD_DATA") if os.environ.get(n)]
    folders = [
        f for b in bases for f in (b, b / "json_2.1.1", b / "alfworld/json_2.1.1") if (f / "valid_seen").is_dir()
    ]
    if path and not folders:
        raise SystemExit(f"--games {path}: no valid_seen/ in it; name the folder that holds train/, valid_seen/, …")
    return folders[0] if folders else None


def run_record(options: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    if not options.plain:
        lighten()
    part, of = (int(n) for n in options.part.split("/"))
    suffix = "" if of == 1 else f"-{part}"
    if part == 0:
        record(corner_games(folder, options.corners, options.seed), options.out / "corners.jsonl")
    if folder is not None:
        names = chosen(folder, options.count, options.seed)[part::of]
        record(published_games(folder, names, options.seed), options.out / f"published{suffix}.jsonl")
    lines = {path.name: len(path.read_text().splitlines()) for path in sorted(options.out.glob("*.jsonl"))}
    return {"recorded": lines, "published_games_found": folder is not None}


if __name__ == "__main__":
    sys.exit(main())

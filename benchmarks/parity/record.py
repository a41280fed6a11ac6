"""Record the original engine: one game per line, appended when complete, so that a stopped recording can resume."""

from __future__ import annotations

import copy
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from parity.corners import corner
from parity.directed import directed
from parity.plays import Player, corner_play, real_play, script_play
from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts import oracle
from rlsd.envs.alfworld.generate.presets import PRESETS, preset_generated
from rlsd.envs.alfworld.parity.export import completed
from rlsd.envs.alfworld.parity.original import Original

SPLITS = {"train": 0.52, "valid_seen": 0.18, "valid_unseen": 0.18, "valid_train": 0.12}
"""Share of the recorded games from each split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A game and the commands to play."""

    which: dict[str, Any]
    """Its identity in a record: "game", for a made one also "problem" and "task"."""
    data: dict[str, Any]
    """Input of the original engine."""
    player: Player


def chosen(folder: Path, count: int, seed: int) -> list[str]:
    """`count` published games by path, all splits and task types; any prefix has the same mix as the whole."""
    rng = random.Random(f"games {seed}")
    queues: list[tuple[float, str]] = []
    for split, share in SPLITS.items():
        by_type: dict[str, list[str]] = {}
        for path in sorted((folder / split).glob("*/*/game.tw-pddl")):
            by_type.setdefault(path.parts[-3].split("-")[0], []).append(str(path.relative_to(folder)))
        for games in by_type.values():
            rng.shuffle(games)
            queues += [((n + rng.random()) * len(by_type) / share, game) for n, game in enumerate(games)]
    return [game for _, game in sorted(queues)[:count]]


def published_games(folder: Path, names: list[str], seed: int) -> Iterator[Played]:
    """Published games: the expert's walkthrough, random admissible commands, junk."""
    for name in names:
        data = json.loads((folder / name).read_bytes())
        player = real_play(data["walkthrough"] or [], random.Random(f"{seed} {name}"))
        yield Played(which={"game": name}, data=data, player=player)


def generated_games(count: int, seed: int) -> Iterator[Played]:
    """Games of this package's generator, alternating presets, under the rules of the installed original."""
    for n in range(count):
        preset = list(PRESETS)[n % len(PRESETS)]
        made = preset_generated(preset, "test", seed * 100 + n)
        name = f"generated/{preset}/{seed * 100 + n}"
        which = {"game": name, "problem": made.problem, "task": made.task}
        player = real_play(list(made.walkthrough), random.Random(f"{seed} {name}"))
        yield Played(which=which, data=completed(made.to_json()), player=player)


def corner_games(folder: Path | None, count: int, seed: int) -> Iterator[Played]:
    """A kitchen with scripts through it, then `count` solvable edge cases.

    Some run under the rules of the installed package, the others, if published games are present, under theirs (where
    a sink without a basin also cleans).
    """
    published = json.loads((folder / chosen(folder, 1, seed)[0]).read_bytes()) if folder and count else None
    if count:
        for name, (problem, task, commands) in directed().items():
            which = {"game": f"corner/{name}", "problem": problem, "task": task}
            yield Played(which=which, data=_ruled(problem, task, published), player=script_play(commands))
    made, number = 0, 1000 * seed
    while made < count:
        problem, task = corner(number)
        game = Game.parse(problem, task=task, source=f"corner {number}")
        plan = oracle.plan(World(game))
        plain = not re.search(r"SinkType\)", problem)
        if plan is not None and (published or plain):
            data = _ruled(problem, task, None if made % 4 == 3 and plain else published)
            player = corner_play(list(plan), list(game.objects), random.Random(f"{seed} corner {number}"))
            yield Played(which={"game": f"corner/{number}", "problem": problem, "task": task}, data=data, player=player)
            made += 1
        number += 1


def _ruled(problem: str, task: str, published: dict[str, Any] | None) -> dict[str, Any]:
    """The problem with a published game's domain and grammar, or (None) the installed package's."""
    data = {"pddl_problem": problem, "task": task}
    if published is not None:
        worded = re.sub(r'(?<=Your task is to: )[^"]*', lambda _: task, published["grammar"], count=1)
        data |= {"pddl_domain": published["pddl_domain"], "grammar": worded}
    return completed(data)


def record_game(engine: Original, one: Played) -> dict[str, Any]:
    """The engine's output in one episode, as a line of a record."""
    engine.open(one.data)
    shown = engine.reset()
    line = {**one.which, "observation": shown.observation, "admissible": shown.admissible, "won": shown.won}
    steps: list[list[Any]] = []
    command = next(one.player)
    while True:
        shown = engine.step(command)
        steps.append([command, shown.observation, shown.admissible, shown.reward, shown.done, shown.won])
        try:
            command = one.player.send(shown.admissible)
        except StopIteration:
            return {**line, "steps": steps}


def record(games: Iterator[Played], out: Path) -> None:
    """Append games that are not yet in `out`, after dropping an incomplete last line."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    if out.is_file():
        kept = [line for line in out.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        out.write_text("".join(kept), encoding="utf-8")
        done = {json.loads(line)["game"] for line in kept}
    engine = Original()
    with out.open("a", encoding="utf-8") as file:
        for one in games:
            name = one.which["game"]
            if name in done:
                continue
            start = time.perf_counter()
            line = record_game(engine, one)
            file.write(json.dumps(line) + "\n")
            file.flush()
            done.add(name)
            took = time.perf_counter() - start
            print(f"{len(done)} {name}: {len(line['steps'])} steps, {took:.1f} s", file=sys.stderr, flush=True)


def lighten() -> None:
    """Cache repeated work of the original; its output is unchanged, in a tenth of the time.

    Three pure functions are memoised (text → parse tree, query → rule, problem → planner task): the engine parses the
    same few dozen grammar texts again at every step and translates every problem four times. The names in a sentence's
    context are shared instead of deep-copied; nothing writes to them. `--plain` records without these shortcuts; the
    two records are equal game by game.
    """
    import fast_downward
    import textworld.logic
    from textworld.envs.pddl import textgen

    parse = textgen._parse_and_convert
    trees: dict[tuple[str, str], Any] = {}

    def parse_once(text: str, *, rule_name: str, **_: Any) -> Any:
        key = (text, rule_name)
        if key not in trees:
            trees[key] = parse(text, rule_name=rule_name)
        return copy.deepcopy(trees[key])  # the engine writes into the tree

    def copy_context(context: dict[str, Any]) -> dict[str, Any]:
        return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}

    textgen._parse_and_convert = parse_once
    textgen.copy_context = copy_context
    rule = textworld.logic.Rule
    rule.parse_conjunctive_query = staticmethod(lru_cache(maxsize=None)(rule.parse_conjunctive_query))
    fast_downward.pddl2sas = lru_cache(maxsize=2)(fast_downward.pddl2sas)

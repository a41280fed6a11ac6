"""Episodes of ScienceWorld played on an engine by a script or at random, recorded, and compared with another engine."""

from __future__ import annotations

import hashlib
import json
import lzma
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlsd.envs.scienceworld.shown import Engine, Shown

_JUNK = (
    "focus on table", "look at terminal 1", "xyzzy", "", "pick up the orange", "go outside", "0", "1", "99",
    "inventory", "objects", "help", "task", "look in bowl", "use thermometer on air", "open door", "wait", "wait1",
    "look at agent", "move orange to orange", "pour cup in cup", "connect red wire terminal 1 to battery anode",
    "mix cup", "eat orange", "put down orange", "look at door", "read book", "open cupboard",
    "dunk glass cup into sink", "reset task", "focus on inventory", "Pick  up\tA thermometer", "activate sink",
    "go kitchen", "examine picture", "look",
)  # fmt: skip
_KITCHEN = (
    "teleport to kitchen", "open cupboard", "open drawer in cupboard", "open freezer", "open fridge",
    "pick up thermometer", "move metal pot to sink", "activate sink", "look in sink", "deactivate sink",
    "pick up metal pot", "look at metal pot", "move metal pot to stove", "activate stove", "wait",
    "examine substance in metal pot", "use thermometer on substance in metal pot", "wait", "look at stove",
    "use thermometer on substance in metal pot", "wait", "look around", "open oven", "move soap to oven",
    "activate oven", "wait", "look in oven", "wait", "use thermometer on soap",
    "pour wood cup in fridge into tin cup", "mix tin cup", "open glass jar", "pour glass jar into glass cup",
    "dunk glass cup into sink", "activate sink", "dunk glass cup into sink", "mix glass cup", "look at glass cup",
    "use lighter on chair", "wait", "look around", "use lighter on water in sink", "use lighter on thermometer",
    "activate stopwatch", "wait", "look at stopwatch", "deactivate stopwatch", "wait1", "deactivate fridge",
    "look at fridge", "teleport to bathroom", "flush toilet", "wait1", "look at toilet", "wait", "look at toilet",
    "activate bathtub", "look at bathtub", "open drain in bathtub", "close drain", "0", "wait1", "look in bathtub",
    "teleport to outside", "use axe on wood", "pick up axe", "use axe on fountain", "use lighter on wood", "wait",
    "look around", "wait", "wait", "wait", "wait", "wait", "wait", "wait", "wait", "wait", "look around",
    "move ground to fire pit", "teleport to kitchen", "use axe on stove", "deactivate stove", "look at stove",
)  # fmt: skip
_SEASONS = (
    "teleport to greenhouse", "look around", "look in bee hive", *("wait",) * 3, "look around", "wait1",
    "look around", "teleport to outside", "look around", *("wait",) * 3, "look around", "teleport to greenhouse",
    *("wait",) * 4, "look around", "look in flower pot", "0", "look at soil", "0", "use shovel on ground",
    "look at bee 0", "look at bee 1", "teleport to hallway", "look around", "wait", "wait", "teleport to outside",
    "use shovel on ground", "look at hole", "use axe on tree", "0", "look around",
)  # fmt: skip
_JAR = tuple(
    action
    for room in ("kitchen", "bathroom", "living room", "bedroom", "workshop", "greenhouse")
    for action in (f"teleport to {room}", "pick up seed jar")
)
_WATER = tuple(
    action
    for pot in "01"
    for action in ("move jug to sink", "wait1", "pour jug into flower pot", pot)
)  # fmt: skip
_GARDEN = (
    *_JAR, "look around", "look at seed jar", "pick up shovel", "teleport to outside", "pick up shovel",
    "use shovel on ground", "pick up soil", "use shovel on ground", "pick up soil in outside",
    "teleport to greenhouse", "move soil in inventory to flower pot", "0", "move soil in inventory to flower pot", "1",
    "move seed plant in seed jar to flower pot", "0", "move seed plant in seed jar to flower pot", "1",
    "activate sink", *_WATER, "look around", "wait1", "wait1", *_WATER, "look around", "wait", *_WATER, "look around",
    "wait", "look around", "look at flower", "0", "move pollen in flower to flower", "1", "wait1", "look around",
    "open bee hive", "wait", "look around", "wait", "look around", "wait", "look around", "look at bee 1",
)  # fmt: skip
SCRIPTS: dict[str, tuple[str, ...]] = {"kitchen": _KITCHEN, "seasons": _SEASONS, "garden": _GARDEN}
MODES = ("gold", "random", "junk", *SCRIPTS)
_STEPS = 30
_LONGEST = 100
"""Actions of a script that are played: gold paths of breeding go on for 200."""


def play(engine: Engine, task_type: str, variation: int, simplifications: str, mode: str) -> dict[str, Any]:
    """One episode: header and steps as `told`."""
    shown = engine.open(task_type, variation, simplifications)
    draw = random.Random(f"{task_type} {variation} {simplifications} {mode}")
    script = engine.gold() if mode == "gold" else SCRIPTS.get(mode)
    steps = [["", *told(shown)]]
    for i in range(_STEPS if script is None else min(len(script), _LONGEST)):
        if shown.done:
            break
        action = _drawn(draw, shown, mode) if script is None else script[i]
        shown = engine.step(action)
        steps.append([action, *told(shown)])
    return {
        "task_type": task_type,
        "variation": variation,
        "simplifications": simplifications,
        "mode": mode,
        "goal": engine.goal(),
        "steps": steps,
    }


def _drawn(draw: random.Random, shown: Shown, mode: str) -> str:
    listed = [a for a in shown.valid if draw.random() < 0.02 or not a.startswith(("focus on", "reset"))]
    action = draw.choice(listed or list(shown.valid) or ["look around"])
    return draw.choice([*_JUNK, action, action]) if mode == "junk" and draw.random() < 0.8 else action


def told(shown: Shown) -> list[Any]:
    """Everything that is compared; the list of actions as its length and hash."""
    digest = hashlib.sha256("\n".join(shown.valid).encode()).hexdigest()[:12]
    done = "".join("01"[goal.done] for goal in shown.subgoals)
    texts = " | ".join(goal.text for goal in shown.subgoals)
    return [
        shown.observation, shown.score, shown.done, shown.look, shown.inventory, done, texts, len(shown.valid), digest,
    ]  # fmt: skip


FIELDS = ("observation", "score", "done", "look", "inventory", "subgoals reached", "subgoals", "actions", "action list")


def difference(episode: dict[str, Any], engine: Engine) -> str:
    """The first difference of a recorded episode on `engine`, "" for none."""
    shown = engine.open(episode["task_type"], episode["variation"], episode["simplifications"])
    if engine.goal() != episode["goal"]:
        return f"goal: recorded {episode['goal']!r}, here {engine.goal()!r}"
    for i, (action, *recorded) in enumerate(episode["steps"]):
        if i:
            shown = engine.step(action)
        for name, before, now in zip(FIELDS, recorded, told(shown)):
            if before != now:
                return f"step {i}, {action!r}, {name}: recorded {before!r}, here {now!r}"
    return ""


def read(file: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def write(file: Path, episodes: list[dict[str, Any]]) -> None:
    with lzma.open(file, "wt", encoding="utf-8", preset=9) as lines:
        for episode in episodes:
            lines.write(json.dumps(episode, ensure_ascii=False, separators=(",", ":")) + "\n")


TURNS = ("gold", "random", "junk", "gold", "random", "seasons", "junk", "kitchen", "random")


def plan(
    kinds: list[tuple[str, int]], count: int, seed: int, modes: Sequence[str] = TURNS
) -> list[tuple[str, int, str, str]]:
    """`count` episodes for each type: type, variation, simplifications, mode; types take turns, and modes do."""
    draw = random.Random(seed)
    eases = ("", "", "easy", "openDoors", "openContainers", "teleportAction", "noElectricalAction")
    out = []
    for i in range(count):
        for name, variations in kinds:
            mode = modes[i % len(modes)]
            ease = "teleportAction,openDoors,openContainers" if mode in SCRIPTS else draw.choice(eases)
            out.append((name, draw.randrange(variations), ease, mode))
    return out

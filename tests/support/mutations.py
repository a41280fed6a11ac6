"""Damage for game files and commands, drawn from a seed: bytes, JSON values, PDDL text, and facts that parse."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

_FACT = re.compile(r"\(\w+(?: [\w?]+)+\)")
_ODD_VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    1e308,
    True,
    "",
    "\x00",
    [],
    [[]],
    {},
    {"a": [None]},
    "mug " * 50,
    [1, "x"],
)
_ODD_TEXT = (
    "",
    "(",
    ")",
    "((",
    " ",
    "\n",
    ";",
    "?o1",
    "_bar_",
    "basin",
    "Type",
    "mug",
    "0",
    "99999999999",
    "é",
    "\x00",
    "🙂",
)
_ADDED = (
    "(inReceptacle {o} {r})",
    "(objectAtLocation {o} {l})",
    "(receptacleAtLocation {r} {l})",
    "(openable {r})",
    "(opened {r})",
    "(holds agent1 {o})",
    "(atLocation agent1 {l})",
    "(toggleable {o})",
    "(isToggled {o})",
    "(sliceable {o})",
    "(isSliced {o})",
    "(isClean {o})",
    "(isHot {o})",
    "(isCool {o})",
    "(cleanable {o})",
    "(pickupable {o})",
    "(isReceptacleObject {o})",
    "(inReceptacleObject {o} {o2})",
    "(objectType {o} {t})",
    "(objectType {r} {t})",
    "(receptacleType {r} {t})",
    "(receptacleType {o} {t})",
    "(canContain {t} {t})",
    "(wobbly {o} {r})",
    "(holdsAny agent1)",
    "(= (totalCost) 0)",
)


def damaged_file(draw: random.Random, data: dict[str, Any]) -> bytes:
    """The bytes of a game file after one to three mutations of one level: bytes, JSON, text or facts."""
    level = draw.randrange(4)
    if level == 0:
        return damaged_bytes(draw, json.dumps(data).encode())
    data = dict(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if level == 1:
            _damage_json(draw, data)
        elif isinstance(data.get("pddl_problem"), str):
            damage = draw.choice(_TEXT_DAMAGE if level == 2 else _FACT_DAMAGE)
            data["pddl_problem"] = damage(draw, data["pddl_problem"])
    return json.dumps(data).encode("utf-8", "surrogatepass")


def damaged_bytes(draw: random.Random, raw: bytes) -> bytes:
    """Cut short, bits flipped, spans removed, doubled or replaced by noise."""
    kind = draw.randrange(5)
    if kind == 0:
        return raw[: draw.randrange(len(raw))]
    out = bytearray(raw)
    for _ in range(draw.randrange(1, 20)):
        at = draw.randrange(len(out) or 1)
        span = slice(at, at + draw.randrange(1, 40))
        if kind == 1 and out:
            out[min(at, len(out) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del out[span]
        elif kind == 3:
            out[at:at] = out[span]
        else:
            out[span] = draw.randbytes(draw.randrange(12))
    return bytes(out)


def _damage_json(draw: random.Random, data: dict[str, Any]) -> None:
    key = draw.choice(sorted(data) or ["task"])
    kind = draw.randrange(4)
    if kind == 0:
        data.pop(key, None)
    elif kind == 1:
        data[key] = draw.choice(_ODD_VALUES)
    elif kind == 2:
        nest: Any = draw.choice(_ODD_VALUES)
        for _ in range(draw.choice((3, 900))):
            nest = [nest]
        data[key] = nest
    else:
        other = draw.choice(sorted(data) or ["task"])
        data[key], data[other] = data.get(other), data.get(key)


def _cut(draw: random.Random, text: str) -> str:
    return text[: draw.randrange(len(text) + 1)]


def _splice(draw: random.Random, text: str) -> str:
    for _ in range(draw.randrange(1, 30)):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(_ODD_TEXT) + text[at + draw.randrange(6) :]
    return text


def _swap_words(draw: random.Random, text: str) -> str:
    """Names exchanged all over: a receptacle where an object was, a type for a location."""
    words = sorted(set(re.findall(r"\w{4,}", text)))
    for _ in range(draw.randrange(1, 4)):
        if len(words) > 1:
            a, b = draw.sample(words, 2)
            text = re.sub(rf"\b{a}\b", b, text)
    return text


def _deep(draw: random.Random, text: str) -> str:
    at, much = draw.randrange(len(text) + 1), draw.choice((10, 5000))
    return text[:at] + draw.choice(("(", ")", "(and ", "(exists (", " ", ";\n", "(a b c)")) * much + text[at:]


def _lines(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    kind = draw.randrange(3)
    if kind == 0:
        draw.shuffle(lines)
    elif kind == 1:
        for _ in range(draw.randrange(1, 1 + len(lines))):
            lines.pop(draw.randrange(len(lines)))
    else:
        lines *= draw.choice((2, 10))
    return "\n".join(lines)


def _drop_facts(draw: random.Random, text: str) -> str:
    share = draw.choice((0.02, 0.2, 0.6))
    return _FACT.sub(lambda fact: "" if draw.random() < share else fact[0], text)


def _add_facts(draw: random.Random, text: str) -> str:
    """Well-formed facts about things that exist: several homes, two hands, boxes in themselves."""

    def named(pattern: str) -> list[str]:
        return sorted(set(re.findall(pattern, text))) or ["nobody"]

    objects, receptacles = named(r"\(objectType (\w+) "), named(r"\(receptacleType (\w+) ")
    locations, types = named(r"\bloc_bar\w+"), named(r"\b\w+Type\b")
    added = []
    for _ in range(draw.choice((1, 5, 40))):
        added.append(
            draw.choice(_ADDED).format(
                o=draw.choice(objects),
                o2=draw.choice(objects),
                r=draw.choice(receptacles),
                l=draw.choice(locations),
                t=draw.choice(types),
            )
        )
    return text.replace("(:init", "(:init " + " ".join(added), 1)


def _exchange(draw: random.Random, text: str) -> str:
    """The arguments of facts exchanged for those of others, goal included."""
    facts = _FACT.findall(text)
    words = sorted({word for fact in facts for word in fact[1:-1].split()[1:]}) or ["x"]
    share = draw.choice((0.01, 0.1))

    def other(fact: re.Match[str]) -> str:
        if draw.random() >= share:
            return fact[0]
        head, *rest = fact[0][1:-1].split()
        rest[draw.randrange(len(rest))] = draw.choice(words)
        return f"({head} {' '.join(rest)})"

    return _FACT.sub(other, text)


_TEXT_DAMAGE: tuple[Callable[[random.Random, str], str], ...] = (_cut, _splice, _swap_words, _deep, _lines)
_FACT_DAMAGE: tuple[Callable[[random.Random, str], str], ...] = (_drop_facts, _add_facts, _add_facts, _exchange)


# --- commands -----------------------------------------------------------------------------------------------------

_VERBS = (
    "go",
    "open",
    "close",
    "take",
    "move",
    "put",
    "use",
    "clean",
    "heat",
    "cool",
    "slice",
    "examine",
    "look",
    "eat",
)
_JOINTS = ("", "to", "from", "with", "in", "on", "in/on", "TO", "  ")
_NOISE = "abz AZ 019.,:;!?'\"[](){}<>/\\-_\n\t\r\x00ßéλ中🙂\u202e\ud800"


def random_command(draw: random.Random, names: list[str], admissible: list[str]) -> str:
    """Something to type: noise, half a command, a command about the wrong thing, or a right one bent a little."""
    kind = draw.randrange(6)
    if kind == 0:
        return "".join(draw.choices(_NOISE, k=draw.choice((0, 1, 5, 40, 400))))
    if kind == 1:
        return draw.choice(admissible)
    if kind == 2:
        command = draw.choice(admissible)
        at = draw.randrange(len(command) + 1)
        return command[:at] + draw.choice(_NOISE) + command[at + draw.randrange(3) :]
    if kind == 3:
        bend: Callable[[str], str] = draw.choice(
            (str.upper, str.title, str.strip, lambda c: f"\t {c}\n", lambda c: c * 2)
        )
        return bend(draw.choice(admissible))
    words = [draw.choice(_VERBS), draw.choice(names), draw.choice(_JOINTS), draw.choice(names)]
    if kind == 4:
        words = words[: draw.randrange(1, 5)]
    else:
        words[1:1] = [draw.choice(_JOINTS)]
    return " ".join(words)

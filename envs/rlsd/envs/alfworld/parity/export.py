"""Write a generated game as a `game.tw-pddl` file that the original engine plays."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlsd.envs.alfworld.generate.generator import GeneratedGame
from rlsd.envs.alfworld.generate.presets import preset_generated
from rlsd.envs.errors import DataError, TaskError

_PLACEHOLDER = "UNKNOWN GOAL"


def export_game(game: GeneratedGame, path: str | Path) -> Path:
    """Complete a generated game with the domain and grammar of the installed `alfworld` package.

    Returns the path written. Folders are made; `game.tw-pddl` is the file name the original looks for.

    Raises:
        DataError: `alfworld` is not installed, or its data files are not as expected.
    """
    data = completed(game.to_json())
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def completed(data: dict[str, Any]) -> dict[str, Any]:
    """A generated game's JSON with domain and grammar added; a published game's as it is.

    Raises:
        DataError: `alfworld` is needed but not installed, or its data files are not as expected.
    """
    if "pddl_domain" in data and "grammar" in data:
        return data
    domain, grammar = original_rules()
    grammar = grammar.replace(_PLACEHOLDER, data["task"].removesuffix("."))
    return {"pddl_domain": domain, "grammar": grammar, **data}


def task_data(task_id: str, source: str) -> dict[str, Any]:
    """What the original engine loads for a task: the game file `source`, or the generated game of that id.

    Raises:
        TaskError: neither a file nor a generated game's id.
        DataError: a generated game, and `alfworld` is not installed.
    """
    if Path(source).is_file():
        return completed(json.loads(Path(source).read_bytes()))
    return completed(_generated(task_id).to_json())


def export_task(task_id: str, path: str | Path) -> Path:
    """`export_game` for a generated task's id, such as "gen-easy/test/17".

    Raises:
        TaskError: an id that names no generated game.
        DataError: `alfworld` is not installed.
    """
    return export_game(_generated(task_id), path)


def _generated(task_id: str) -> GeneratedGame:
    name, _, rest = task_id.partition("/")
    split, _, index = rest.partition("/")
    if not index.isdigit():
        raise TaskError(f"{task_id!r} names no generated game; expected preset/split/number, e.g. gen-easy/test/17")
    return preset_generated(name, split, int(index))


@lru_cache(maxsize=1)
def original_rules() -> tuple[str, str]:
    """The domain and the grammar (with "UNKNOWN GOAL" for the task) shipped with `alfworld`.

    Raises:
        DataError: `alfworld` is not installed, or its data files are not as expected.
    """
    # Not imported: on import it sets environment variables and makes a cache folder.
    spec = find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "the original's domain and grammar are needed to export a game, and alfworld is not installed: "
            'run pip install "rlsd[alfworld]"'
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    try:
        domain = (folder / "alfred.pddl").read_text(encoding="utf-8")
        grammar = (folder / "alfred.twl2").read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"alfworld is installed but {error.filename or folder} cannot be read; reinstall alfworld>=0.4.2"
        ) from None
    if _PLACEHOLDER not in grammar:
        raise DataError(f"alfred.twl2 in {folder} has no {_PLACEHOLDER!r} to put the task; install alfworld>=0.4.2")
    return domain, grammar

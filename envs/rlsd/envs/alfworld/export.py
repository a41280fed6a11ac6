"""Write a generated game as a `game.tw-pddl` file that the original engine plays."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from rlsd.envs.alfworld.generator import GeneratedGame
from rlsd.envs.alfworld.presets import preset_generated
from rlsd.envs.errors import DataError, TaskError

_PLACEHOLDER = "UNKNOWN GOAL"


def export_game(game: GeneratedGame, path: str | Path) -> Path:
    """Complete a generated game with the domain and grammar of the installed `alfworld` package.

    Returns the path written. Folders are made; `game.tw-pddl` is the file name the original looks for.

    Raises:
        DataError: `alfworld` is not installed, or its data files are not as expected.
    """
    domain, grammar = original_rules()
    data = {
        "pddl_domain": domain,
        "grammar": grammar.replace(_PLACEHOLDER, game.task.removesuffix(".")),
        **game.to_json(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def export_task(task_id: str, path: str | Path) -> Path:
    """`export_game` for a generated task's id, such as "gen-easy/test/17".

    Raises:
        TaskError: an id that names no generated game.
        DataError: `alfworld` is not installed.
    """
    name, _, rest = task_id.partition("/")
    split, _, index = rest.partition("/")
    if not index.isdigit():
        raise TaskError(f"{task_id!r} names no generated game; expected preset/split/number, e.g. gen-easy/test/17")
    return export_game(preset_generated(name, split, int(index)), path)


@lru_cache(maxsize=1)
def original_rules() -> tuple[str, str]:
    """The domain and the grammar (with "UNKNOWN GOAL" for the task) shipped with `alfworld`.

    Raises:
        DataError: `alfworld` is not installed, or its data files are not as expected.
    """
    # Looked up, never imported: on import it sets environment variables and makes a cache folder.
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
            f"alfworld is installed but {error.filename or folder} cannot be read; install alfworld>=0.4.2 anew"
        ) from None
    if _PLACEHOLDER not in grammar:
        raise DataError(f"alfred.twl2 in {folder} has no {_PLACEHOLDER!r} to put the task; install alfworld>=0.4.2")
    return domain, grammar

"""New packages from the templates beside this module: an environment, or a method, with tests and a config.

A template is itself a package that works, under the names `my_world` and `MyWorld` or `my_method`; a new package is a
copy of its files with other names.
"""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
from pathlib import Path
from typing import Literal

from rlsd.algorithms import METHODS
from rlsd.envs.registry import known
from rlsd.harness.config import ConfigError

TEMPLATES = Path(__file__).parent / "templates"
MODEL = "model: {path: checkpoints/warm_tiny}\n"
"""The model's line in the configs of the templates."""
FROM_SCRATCH = "model: {tiny: {layers: 3, dim: 128, heads: 4, vocab: 1024, context: 1024}}  # made by the run\n"
"""The line where the shipped tiny model is not on this machine, which is in checkouts alone."""
TESTS = "tests"
"""A name that pytest and many projects use for a folder."""

Kind = Literal["env", "method"]
_NAMES: dict[str, str] = {"env": "my_world", "method": "my_method"}


def write_package(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write the package `name` into the new folder `folder`/`name`; nothing that exists is touched.

    Returns:
        The files, sorted.

    Raises:
        ConfigError: a name that is no identifier, that shadows a module, an environment or a method; a folder that
            exists or cannot be written.
    """
    check_name(kind, name)
    place = folder / name
    if place.exists() or place.is_symlink():
        raise ConfigError(f"{place} exists, and nothing in it was changed; give another name, or --into another folder")
    texts = {_renamed(kind, path.name, name): _text(kind, path, name, place) for path in sorted(files_of(kind))}
    try:
        place.mkdir(parents=True)
        for file, text in texts.items():
            (place / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error
    return [place / file for file in sorted(texts)]


def files_of(kind: Kind) -> list[Path]:
    """The files of a template."""
    return [path for path in (TEMPLATES / kind).iterdir() if path.is_file()]


def class_name(name: str) -> str:
    """
    >>> class_name("light_switches")
    'LightSwitches'
    """
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def check_name(kind: Kind, name: str) -> None:
    """
    Raises:
        ConfigError: the name cannot be a package's; says why and what to do.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name.endswith("_") or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot name a Python module here: expected letters, digits and _, a letter first and no _ last, "
            f"and no word of the language, e.g. {_suggested(kind, name)!r}"
        )
    if kind == "method" and name in METHODS:
        raise ConfigError(f"{name!r} is a method of rlsd (rlsd methods {name}); take another name, e.g. 'my_{name}'")
    if kind == "env" and (taken := [i for i in known() if i.lower().startswith(f"{name.lower()}/")]):
        raise ConfigError(f"{name!r} is taken: {taken[0]} is an environment here; take another name")
    if name == TESTS or _module(name):
        raise ConfigError(
            f"{name!r} would shadow a module that Python already finds under that name; take another, e.g. 'my_{name}'"
        )


def _suggested(kind: Kind, name: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()
    return words if words and words[0].isalpha() and not keyword.iskeyword(words) else f"my_{words or _NAMES[kind][3:]}"


def _module(name: str) -> bool:
    """Whether Python finds a module of this name; a folder without Python files is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # one whose import went wrong
        return True
    return (spec is not None and spec.origin is not None) or name == "rlsd"


def _text(kind: Kind, path: Path, name: str, place: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return _renamed(kind, text.replace(MODEL, _model_line(place)), name)


def _renamed(kind: Kind, text: str, name: str) -> str:
    old = _NAMES[kind]
    return text.replace(old, name).replace(class_name(old), class_name(name))


def _model_line(place: Path) -> str:
    """The shipped tiny model as it is reached from `place`, or one made from scratch."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        model = root / "checkpoints" / "warm_tiny"
        if (model / "config.json").is_file():
            near = root in place.resolve().parents
            path = Path(os.path.relpath(model, place.resolve())) if near else model
            return MODEL.replace("checkpoints/warm_tiny", path.as_posix())
    return FROM_SCRATCH

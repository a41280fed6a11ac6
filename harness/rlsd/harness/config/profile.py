"""Profiles: the `agent` block as a file, shipped by name, your own by path, or the note beside weights."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rlsd.agents.prompt_file import is_inline
from rlsd.envs.errors import closest
from rlsd.harness.config.blocks import ConfigError
from rlsd.harness.config.renames import renamed
from rlsd.harness.config.yaml_text import read_yaml

FOLDER = Path(__file__).with_name("profiles")
NOTE = "rlsd.json"
"""File in a folder of weights: {"agent": the profile they were trained with, "step": iterations, if known}."""
PROMPTS = ("prompt", "later_prompt")


def shipped() -> dict[str, Path]:
    """The profiles that ship with rlsd, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def summary(path: Path) -> str:
    """The comment that a shipped profile begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def with_profile(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Settings of an `agent` block on top of those of its `profile`, which is null in the result.

    Args:
        known: the keys of an `agent` block.

    Raises:
        ConfigError: there is no such profile, or it cannot be read.
    """
    out = dict(values)
    profile = out.pop("profile", None)
    return out if profile is None else {**read_profile(profile, known), **out}


def read_profile(profile: object, known: Collection[str]) -> dict[str, Any]:
    """The settings of a shipped profile, of a YAML or JSON file, or of the note in a folder of weights.

    Raises:
        ConfigError: no such profile (names the closest), an unreadable file, or an unknown key in it.
    """
    if not isinstance(profile, str) or not profile:
        raise ConfigError(f"agent.profile is {profile!r}, expected a name or a file: {', '.join(shipped())}")
    path = shipped().get(profile, Path(profile).expanduser())
    if path.is_dir():
        path = path / NOTE
    if profile not in shipped() and not path.is_file():
        if path.suffix in (".yaml", ".yml", ".json"):
            raise ConfigError(f"agent.profile: there is no file {str(path)!r}")
        raise ConfigError(
            f"unknown profile {profile!r}{closest(profile, shipped())} Name your own by its file, as in mine.yaml."
        )
    values = read_note(path) if path.suffix == ".json" else _read_yaml(path)
    for key in values:
        if key not in known or key == "profile":
            raise ConfigError(f"profile {path}: unknown key {key!r}{closest(str(key), set(known) - {'profile'})}")
    return {"name": path.stem if path.suffix != ".json" else path.parent.name, **values}


def read_note(path: Path) -> dict[str, Any]:
    """The settings in the note beside weights; names of prompt files become paths.

    Raises:
        ConfigError: the note cannot be read.
        FileNotFoundError, NotADirectoryError: there is none.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); fix it, or delete it and give --set agent.…") from error
    agent = note.get("agent") if isinstance(note, dict) else None
    if not isinstance(agent, dict):
        raise ConfigError(f'{path} is not a note of rlsd: expected {{"agent": {{…}}}}; fix or delete it')
    if "format" not in agent and "style" not in agent:
        agent = {"format": "think", **agent}  # the default of the version that left it out
    return beside(path, renamed({"agent": agent}).get("agent", {}))


def beside(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a profile with the names of its prompt files as paths: they lie beside it."""
    files = {key: values[key] for key in PROMPTS if values.get(key) and not is_inline(str(values[key]))}
    return {**values, **{key: str(path.parent / str(name)) for key, name in files.items()}}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise ConfigError(f"cannot read profile {str(path)!r}: {reason}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"profile {path} holds no settings (expected a mapping, got {type(data).__name__})")
    if list(data) == ["agent"]:
        data = data["agent"]
        if not isinstance(data, dict):
            raise ConfigError(f"profile {path}: agent is {data!r}, expected a mapping of settings")
    return beside(path, renamed({"agent": data}).get("agent", {}))

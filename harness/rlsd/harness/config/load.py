"""Loads a run's config from YAML and the command line, and checks it before a model loads."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from rlsd.envs.errors import closest
from rlsd.harness.config.agent import AgentConfig
from rlsd.harness.config.blocks import ConfigError
from rlsd.harness.config.masked import masked
from rlsd.harness.config.renames import place, renamed, renamed_settings
from rlsd.harness.config.run import RunConfig
from rlsd.harness.config.yaml_text import check_finite, read_yaml

NOT_SUPPORTED = {
    "mps": "Apple's GPUs (mps) have no float64, in which gradients are summed, and rlsd never ran on one; take cpu",
    "xpu": "Intel's GPUs (xpu) lack a place for their random state in checkpoints, and rlsd never ran on one; take cpu",
    "sglang": "there is no client for SGLang that hands over weights; train with vllm, or evaluate an SGLang server as "
    "a chat endpoint (rlsd eval --agent openai:URL)",
}
"""What else other programs have, by its name as a value: why it is refused, and what to do."""


def load_config(path: str | Path, overrides: list[str] | None = None, blocks: Sequence[str | Path] = ()) -> RunConfig:
    """Read a YAML file, merge the overlays `blocks` into it, apply `a.b=c` overrides, and validate the result.

    Args:
        blocks: config overlays, files with some blocks only (`configs/launch/`), e.g. for another machine.

    Raises:
        ConfigError: an unreadable file, a key that stands twice, an unknown one (with the closest name), a value that
            does not fit.
    """
    data = renamed(read_file(path))
    for block in blocks:
        data = merged(data, renamed(read_file(block)))
    return parse_config(changed(data, overrides or []))


def changed(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The same data with `a.b=c` overrides.

    Raises:
        ConfigError: an override that is no setting, or whose value is not YAML.
    """
    for name, value in renamed_settings(_setting(override) for override in overrides):
        if name == "agent.profile" and "profile" in (data.get("agent") or {}):
            del data["agent"]  # a run's record, which has every key
        place(data, name, value)
    return data


def of_profile(profile: str) -> AgentConfig:
    """The `agent` block that a profile alone makes.

    Raises:
        ConfigError: no such profile, an unreadable one, or a value that does not fit; one line.
    """
    try:
        return AgentConfig(profile=profile)
    except ValidationError as error:
        raise ConfigError(f"profile {profile}: {explain(error, AgentConfig)}") from error


def read_file(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: an unreadable file, or one without a mapping.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise ConfigError(f"cannot read config {str(path)!r}: {reason}") from error
    data = read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no settings (expected a mapping, got {type(data).__name__})")
    return data


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay`, block by block."""
    out = dict(base)
    for key, value in overlay.items():
        block = out.get(key)
        out[key] = merged(block, value) if isinstance(block, dict) and isinstance(value, dict) else value
    return out


def parse_config(data: dict[str, Any]) -> RunConfig:
    """A checked config from plain data.

    Raises:
        ConfigError: the data is not a valid config; one line.
    """
    try:
        if isinstance(data, dict):
            masked(data)  # before any error can show a secret
        check_finite(data, "")
        return RunConfig.model_validate(renamed(data) if isinstance(data, dict) else data)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _setting(override: str) -> tuple[str, Any]:
    """The dotted path and the value of `--set path=value`."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {override!r}: expected name=value, e.g. --set learner.lr=1e-5")
    return name, read_value(text, f"--set {override!r}")


def read_value(text: str, what: str) -> Any:
    """A value typed on the command line, read as YAML.

    Raises:
        ConfigError: not YAML; `what` names its origin.
    """
    return read_yaml(text, f"{what}: the value")


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first problem in one line, with the closest name for an unknown key; `model` is what was validated."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        *path, name = [str(p) for p in first["loc"]]
        return f"unknown config key {where!r}{closest(name, _fields_at(path, model or RunConfig))}{more}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    if where == "algorithm":
        return f"config {message}{more}" if message.startswith("algorithm") else f"config algorithm: {message}{more}"
    given = first["input"]
    if first["type"] == "literal_error" and isinstance(given, str) and given.lower() in NOT_SUPPORTED:
        return f"config {where}: {given!r} is not supported: {NOT_SUPPORTED[given.lower()]}{more}"
    got = "" if isinstance(given, dict) else f", got {given!r}"
    return f"config {where or 'file'}: {message}{got}{more}"


def _fields_at(path: list[str], model: Any) -> list[str]:
    named = False
    """Whether the next part is a name that the user gave, in a mapping of blocks."""
    for part in path:
        if named:
            named = False
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        named = get_origin(annotation) is dict
        options = [annotation, *getattr(annotation, "__args__", ())]
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def import_function(spec: str, what: str) -> Callable[..., Any]:
    """The function `module:name`; modules in the working directory are found too.

    Raises:
        ConfigError: it cannot be imported, or cannot be called.
    """
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{what} is {spec!r}; expected module:function")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # the installed `rlsd` command starts without it
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ConfigError(f"{what}: cannot import {spec!r}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ConfigError(f"{what}: {spec!r} is a {type(function).__name__}, expected a function")
    return function

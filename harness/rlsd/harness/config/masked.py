"""A config without its secrets, as runs and reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlsd.envs.redact import bare, stored

ARGUMENTS = ("kwargs", "eval_kwargs")
"""Settings of the block `env` in which names tell secrets; elsewhere only logins in addresses are."""


def masked(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config's data in which secrets are references to environment variables; their values are hidden in
    every text from now on."""
    out = stored(dict(data), "", named=False)
    for name, arguments in _arguments(data):
        out["env"][name] = stored(arguments, f"env_{name}")
    return out


def comparable(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without secrets: two configs that differ in nothing else are the same run."""
    out = bare(dict(data), named=False)
    for name, arguments in _arguments(data):
        out["env"][name] = bare(arguments)
    return out


def _arguments(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    env = data.get("env")
    return [(name, env[name]) for name in ARGUMENTS if env.get(name)] if isinstance(env, dict) else []

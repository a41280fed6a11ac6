"""Texts without the secrets that this process has seen. `rlsd.envs.redact` finds them in configs."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
SHORTEST = 5
"""Shorter values are not looked for in texts: they would be found everywhere."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
LOGIN = re.compile(r"(?<=://)[^\s/]*:[^\s/]*(?=@)")
_known: set[str] = set()
"""Values of secrets that this process has seen."""


def remember(value: str) -> None:
    """Hide a value in every text from now on."""
    if len(value) >= SHORTEST:
        _known.add(value)


def forget() -> None:
    """Hide nothing any more: for tests, which share a process."""
    _known.clear()


def hidden(text: str) -> str:
    """The text without the secrets that this process has seen, and without logins in addresses."""
    return LOGIN.sub(lambda login: login[0] if REFERENCE.search(login[0]) else HIDDEN, _without(text))


def hidden_in(data: Any) -> Any:
    """Plain data whose texts lack the secrets that this process has seen; the same data if it has seen none."""
    if not _known:
        return data
    if isinstance(data, dict):
        return {name: hidden_in(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [hidden_in(value) for value in data]
    return _without(data) if isinstance(data, str) else data


def _without(text: str) -> str:
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text

"""Secrets in the arguments of environments and addresses: how they are given, and kept out of what is written.

`${NAME}` in an argument is the environment variable NAME: it is stored as it is written and replaced where the value is
used. A secret that is written out is used, too, and stored as `${RLSD_SECRET_…}`, the variable that a resumed run reads
it from. Both are replaced by *** in texts that leave the process.

Secrets are texts whose name has the word token, key, secret, password or authorization in it, numbers called a
password or a secret, and `user:password@` in an address.
"""

from __future__ import annotations

import os
import re
from typing import Any

from rlsd.envs.errors import EnvError
from rlsd.envs.hiding import HIDDEN, LOGIN, REFERENCE, remember

_WORDS = {"token", "key", "secret", "secrets", "password", "passwords", "passwd", "authorization", "credentials"}
_ENDS = ("token", "secret", "password", "apikey")
_SEVERAL = re.compile(r"(api|access|auth|secret|private)(key|token)s")
_NUMBERS = re.compile(r"password|passwd|secret", re.IGNORECASE)
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_WHOLE = re.compile(r"\$[A-Z_][A-Z0-9_]*|(Bearer )?\$\{[A-Za-z_][A-Za-z0-9_]*\}")
"""Arguments that are references alone; `$NAME` is SearchQA's own way."""


def is_secret(name: str) -> bool:
    """
    >>> [is_secret(n) for n in ("api_key", "hfToken", "tokenizer", "max_tokens", "Authorization")]
    [True, True, False, False, True]
    """
    words = [word.lower() for word in _SPLIT.split(name)]
    return any(word in _WORDS or word.endswith(_ENDS) for word in words) or bool(_SEVERAL.search("".join(words)))


def stored(data: Any, path: str, *, secret: bool = False, named: bool = True) -> Any:
    """A copy of plain data in which secrets are references; they are remembered.

    Args:
        path: of the data in the config; gives the variables their names.
        secret: all texts in it are secrets.
        named: names of arguments tell secrets; otherwise logins in addresses alone are.
    """
    if isinstance(data, dict):
        return {
            name: stored(value, f"{path}_{name}", secret=_secret(name, value, secret, named), named=named)
            for name, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [stored(value, f"{path}_{i}", secret=secret, named=named) for i, value in enumerate(data)]
    reference = "${RLSD_SECRET_" + re.sub(r"[^A-Za-z0-9]+", "_", path).upper().strip("_") + "}"
    if secret and _is_literal(data):
        remember(str(data))
        return reference
    if not isinstance(data, str):
        return data
    return LOGIN.sub(lambda login: _login(login[0], reference), data)


def _secret(name: Any, value: Any, inside: bool, named: bool) -> bool:
    """Whether the values of an argument are secrets."""
    if isinstance(value, int | float):
        return named and bool(_NUMBERS.search(str(name)))
    return inside or (named and is_secret(str(name)))


def _is_literal(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value) and not _WHOLE.fullmatch(value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _login(login: str, reference: str) -> str:
    if REFERENCE.search(login):
        return login
    remember(login)
    remember(login.partition(":")[2])
    return reference


def bare(data: Any, *, secret: bool = False, named: bool = True) -> Any:
    """Plain data without its secrets, whether written out or references: what two configs are compared by."""
    if isinstance(data, dict):
        return {
            name: bare(value, secret=_secret(name, value, secret, named), named=named) for name, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [bare(value, secret=secret, named=named) for value in data]
    if secret and data not in (None, "") and not isinstance(data, bool):
        return HIDDEN
    return re.sub(r"(?<=://)[^\s/]+(?=@)", HIDDEN, data) if isinstance(data, str) else data


def revealed(data: Any, where: str) -> Any:
    """A copy of plain data with every `${NAME}` replaced by the variable; the values are remembered.

    Raises:
        EnvError: a variable that is not set; names it and the place.
    """
    if isinstance(data, dict):
        return {name: revealed(value, f"{where}.{name}") for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [revealed(value, f"{where}.{i}") for i, value in enumerate(data)]
    if not isinstance(data, str):
        return data

    def value_of(reference: re.Match[str]) -> str:
        value = os.environ.get(reference[1])
        if not value:
            why = " (a secret that was written out, which no run stores)" if "RLSD_SECRET_" in reference[1] else ""
            raise EnvError(f"{where} is read from the environment variable {reference[1]}{why}: set it first")
        remember(value)
        return value

    return REFERENCE.sub(value_of, data)

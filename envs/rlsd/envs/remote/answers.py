"""The size limit of what a server or a worker process may answer: a small answer may unpack to gigabytes."""

from __future__ import annotations

from rlsd.envs.errors import EnvError

MAX_BYTES = 64 << 20
"""Largest answer, unpacked."""


class AnswerTooLarge(EnvError):
    """The answer of a remote environment exceeds the size limit, unpacked."""

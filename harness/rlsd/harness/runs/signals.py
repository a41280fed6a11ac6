"""SIGTERM ends a run as Ctrl-C does, so that it unwinds wherever it is."""

from __future__ import annotations

import signal
from typing import Any


def on_stop(received: list[int]) -> Any:
    """Let SIGTERM raise KeyboardInterrupt, which event loops know how to unwind, and note it in `received`; the
    handler that stood before."""

    def handle(number: int, _: Any) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    return signal.signal(signal.SIGTERM, handle)

"""SIGTERM ends a run like Ctrl-C does, so that it cleans up from any point."""

from __future__ import annotations

import signal
from typing import Any


def on_stop(received: list[int]) -> Any:
    """Make SIGTERM raise KeyboardInterrupt, which event loops handle, and append it to `received`; returns the previous
    handler."""

    def handle(number: int, _: Any) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts its background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return signal.signal(signal.SIGTERM, handle)

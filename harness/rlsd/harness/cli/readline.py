"""A line of input with completion and history, where the terminal has them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence


class Prompt:
    """Reads lines; TAB completes to one of `commands`. Without a terminal or readline it is plain `input`."""

    def __init__(self) -> None:
        self.commands: tuple[str, ...] = ()
        if not sys.stdin.isatty():
            return
        with contextlib.suppress(ImportError):  # no readline on this system: lines without completion
            import readline

            readline.set_completer(self.complete)
            readline.set_completer_delims("")  # a command is completed as a whole, blanks included
            libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")

    def __call__(self, prompt: str) -> str:
        """One line.

        Raises:
            EOFError: the input has ended.
        """
        return input(prompt)

    def complete(self, text: str, state: int) -> str | None:
        """Readline's protocol: match number `state` of `text`, or None after the last."""
        matches = completions(text, self.commands)
        return matches[state] if state < len(matches) else None


def completions(text: str, commands: Sequence[str]) -> list[str]:
    """Commands that begin with `text`; where none does, those whose words begin with its words, in order.

    >>> completions("t m", ["take mug 1 from shelf 2", "take pen 1 from shelf 2", "examine shelf 2"])
    ['take mug 1 from shelf 2']
    """
    wanted = text.lower().lstrip()
    direct = [c for c in commands if c.lower().startswith(wanted)]
    return direct or [c for c in commands if _abbreviates(wanted.split(), c.lower().split())]


def _abbreviates(short: list[str], words: list[str]) -> bool:
    rest = iter(words)
    return bool(short) and all(any(word.startswith(part) for word in rest) for part in short)

"""A user's own prompt: a Jinja2 template, in a file or as it stands, that renders the user message of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlsd.agents.formats import FormatError
from rlsd.envs.errors import closest

VARIABLES = (
    "goal",
    "observation",
    "observations",
    "actions",
    "step",
    "admissible",
    "instructions",
    "history_turns",
)


def is_inline(source: str | Path) -> bool:
    """Whether a prompt is a template itself, and not the name of a file: it has several lines, or a Jinja tag."""
    return isinstance(source, str) and any(mark in source for mark in ("\n", "{{", "{%"))


def read_prompt(path: str | Path, *, key: str) -> str:
    """The text of a prompt file.

    Raises:
        FormatError: it cannot be read; names `key`, the setting it comes from.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise FormatError(f"{key}: cannot read {str(path)!r}: {reason}") from error


class PromptFile:
    """A template for user messages, sandboxed: it can format its variables and access nothing else.

    Args:
        source: a text file in UTF-8, relative to the working directory, or the template itself (see `is_inline`).
        key: the setting it comes from, for errors.

    Raises:
        FormatError: it cannot be read, is not a template, or uses an unknown variable (the message has the closest).
    """

    def __init__(self, source: str | Path, *, key: str = "agent.prompt") -> None:
        self.key, self.path = key, "the template" if is_inline(source) else str(source)
        sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        try:
            text = str(source) if is_inline(source) else read_prompt(source, key=key)
            unknown = meta.find_undeclared_variables(sandbox.parse(text)) - set(VARIABLES)
            self._template = sandbox.from_string(text)
        except TemplateSyntaxError as error:
            raise FormatError(f"{key}: {self.path}, line {error.lineno}: {error.message}") from error
        for name in sorted(unknown):
            raise FormatError(f"{key}: {self.path} uses {name!r}{closest(name, VARIABLES)}")

    def render(
        self,
        *,
        goal: str,
        observations: Sequence[str],
        actions: Sequence[str],
        admissible: Sequence[str] | None,
        instructions: str,
        history_turns: int,
    ) -> str:
        """The user message at turn `len(actions)`.

        Args:
            observations: so far, the present one last; `observation` is the present one, `step` its number from 1.
            actions: texts of the actions so far, one fewer than observations.
            admissible: commands the environment accepts now, or None.

        Raises:
            FormatError: the template cannot be rendered with these values.
        """
        values: dict[str, Any] = {
            "goal": goal,
            "observation": observations[-1],
            "observations": list(observations),
            "actions": list(actions),
            "step": len(actions) + 1,
            "admissible": None if admissible is None else list(admissible),
            "instructions": instructions,
            "history_turns": history_turns,
        }
        try:
            return self._template.render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise FormatError(f"{self.key}: {self.path}: {type(error).__name__}: {error}") from error

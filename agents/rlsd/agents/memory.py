"""Memories: how a history becomes chat messages, with the format's instructions and the goal.

Both stand in the prompt of every turn: `FullHistory` and `Appended` drop nothing and have them in the first message,
`LastTurns` repeats them. A prompt that does not fit into the context ends the episode; it is never cut.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rlsd.agents.formats import ResponseFormat
from rlsd.agents.prompt_file import PromptFile
from rlsd.agents.types import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A user message, or the place of the policy's own response number `response` (text in `text`)."""

    role: Literal["user", "assistant"]
    text: str
    response: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullHistory:
    """Every turn is a message of its own, so each prompt extends the one before: one training row per episode."""

    format: ResponseFormat
    template: PromptFile | None = None
    """Renders the first message; it gets only the first observation."""
    later: PromptFile | None = None
    """Renders each later message, as the history stood then; else it is the observation."""
    list_commands: bool | None = None
    """Whether each message gets the commands that worked then; None: no."""

    def messages(self, history: History) -> list[Message]:
        out: list[Message] = []
        for k in range(len(history.observations)):
            out.append(Message(role="user", text=self.user_text(history, k)))
            if k < len(history.actions):
                out.append(Message(role="assistant", text=history.actions[k].response, response=k))
        return out

    def user_text(self, history: History, turn: int) -> str:
        """Text of user message `turn`: the observation; the first one has the instructions before it, and the goal
        unless the observation says it. The text must not depend on later turns, or rows would not merge."""
        commands = admissible_at(history, turn) if self.list_commands else None
        template = self.later if turn else self.template
        if template is not None:
            return template.render(
                goal=history.goal,
                observations=history.observations[: turn + 1],
                actions=[action.text for action in history.actions[:turn]],
                admissible=commands,
                instructions=self.format.instructions,
                history_turns=turn,
            )
        text = history.observations[turn].strip()
        task = "" if turn or shows(text, history.goal) else f"Task: {history.goal.strip()}"
        instructions = "" if turn else self.format.instructions
        return "\n\n".join(part for part in (instructions, task, text, *listed(commands)) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended(FullHistory):
    """One message; every later observation is written into the policy's own text, which goes on behind it. No chat
    endpoint takes that. `later` renders what is written."""

    def user_text(self, history: History, turn: int) -> str:
        if turn and self.later is None:
            return history.observations[turn]  # spaces and all
        return FullHistory.user_text(self, history, turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTurns:
    """One user message per turn: the task, the last `history_turns` pairs of observation and action, the present
    observation, and the admissible commands."""

    format: ResponseFormat
    history_turns: int = 2
    template: PromptFile | None = None
    """Renders the message instead."""
    later: PromptFile | None = None
    """Renders the message of every turn but the first; None: `template` does."""
    list_commands: bool | None = None
    """Whether commands are listed; None: a template gets them, else as the format has it."""

    def messages(self, history: History) -> list[Message]:
        return [Message(role="user", text=self.user_text(history))]

    def user_text(self, history: History) -> str:
        """Task, step count, recent pairs, observation and commands: the standard information, in our own wording."""
        template = self.later if history.turn and self.later is not None else self.template
        if template is not None:
            return template.render(
                goal=history.goal,
                observations=history.observations,
                actions=[action.text for action in history.actions],
                admissible=None if self.list_commands is False else history.admissible,
                instructions=self.format.instructions,
                history_turns=self.history_turns,
            )
        parts: list[str] = []
        if self.format.instructions:
            parts.append(self.format.instructions)
        parts.append(f"Task: {history.goal}")
        done = history.turn
        if done:
            first = max(0, done - self.history_turns)
            parts.append(f"Steps taken so far: {done}. The last {done - first}:")
            parts += [
                f"[{k + 1}] saw: {history.observations[k].strip()}\n[{k + 1}] did: {history.actions[k].text}"
                for k in range(first, done)
            ]
        parts.append(f"Now (step {done + 1}): {history.observations[-1].strip()}")
        wanted = self.format.lists_commands if self.list_commands is None else self.list_commands
        parts += listed(history.admissible if wanted else None)
        return "\n".join(parts)


def admissible_at(history: History, turn: int) -> tuple[str, ...] | None:
    """The commands that worked at observation `turn`, None where that is not known."""
    if turn == history.turn:
        return history.admissible
    return history.admissible_before[turn] if turn < len(history.admissible_before) else None


def listed(commands: tuple[str, ...] | None) -> list[str]:
    """The list of commands as a part of a message; [] if there is none."""
    if commands is None:
        return []
    lines = "\n".join(c for c in commands if c != "help")
    return [f"Commands that work now:\n{lines}"]


@lru_cache(maxsize=128)  # every turn of every sibling asks it of the same first observation
def shows(observation: str, goal: str) -> bool:
    """Whether `goal` stands in `observation`: its words in their order, in any case, in HTML too; an empty one does.

    >>> shows("Your task is: Put a mug  in shelf!", "put a mug in shelf.")
    True
    """
    if not goal.strip():
        return True
    wanted = _folded(goal).rstrip(".!?")
    texts = (observation, html.unescape(observation)) if "&" in observation else (observation,)
    return any(_stands_in(_folded(text), wanted) for text in texts)


def _stands_in(text: str, wanted: str) -> bool:
    """As whole words; `str.find` is many times faster than a pattern with word boundaries."""
    at = text.find(wanted)
    while at >= 0:
        if not _of_a_word(text[at - 1 : at]) and not _of_a_word(text[at + len(wanted) : at + len(wanted) + 1]):
            return True
        at = text.find(wanted, at + 1)
    return False


def _of_a_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


Memory = FullHistory | Appended | LastTurns

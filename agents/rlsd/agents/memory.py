"""Memories: how a history becomes chat messages, with the format's instructions and the goal.

Both stand in the prompt of every turn: `FullHistory` drops nothing and has them in its first message, `LastTurns`
repeats them. A prompt that does not fit into the context ends the episode; it is never cut.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
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
    """Renders the first message; it gets only the first observation, and no commands."""

    def messages(self, history: History) -> list[Message]:
        out: list[Message] = []
        for k in range(len(history.observations)):
            out.append(Message(role="user", text=self.user_text(history, k)))
            if k < len(history.actions):
                out.append(Message(role="assistant", text=history.actions[k].response, response=k))
        return out

    def user_text(self, history: History, turn: int) -> str:
        """Text of user message `turn`: the observation; the first one has the instructions before it, and the goal
        unless the observation says it. The text must not depend on later turns, or rows would not merge. So only
        `LastTurns` lists commands, which are valid for one turn only."""
        if turn == 0 and self.template is not None:
            return self.template.render(
                goal=history.goal,
                observations=history.observations[:1],
                actions=(),
                admissible=None,
                instructions=self.format.instructions,
                history_turns=0,
            )
        text = history.observations[turn].strip()
        if turn:
            return text
        task = "" if shows(text, history.goal) else f"Task: {history.goal.strip()}"
        return "\n\n".join(part for part in (self.format.instructions, task, text) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTurns:
    """One user message per turn: the task, the last `history_turns` pairs of observation and action, the present
    observation, and the admissible commands."""

    format: ResponseFormat
    history_turns: int = 2
    template: PromptFile | None = None
    """Renders the message instead."""

    def messages(self, history: History) -> list[Message]:
        return [Message(role="user", text=self.user_text(history))]

    def user_text(self, history: History) -> str:
        """Task, step count, recent pairs, observation and commands: the standard information, in our own wording."""
        if self.template is not None:
            return self.template.render(
                goal=history.goal,
                observations=history.observations,
                actions=[action.text for action in history.actions],
                admissible=history.admissible,
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
        if history.admissible is not None and self.format.lists_commands:
            commands = "\n".join(c for c in history.admissible if c != "help")
            parts.append(f"Commands that work now:\n{commands}")
        return "\n".join(parts)


def shows(observation: str, goal: str) -> bool:
    """Whether `goal` stands in `observation`: its words in their order, in any case, in HTML too; an empty one does.

    >>> shows("Your task is: Put a mug  in shelf!", "put a mug in shelf.")
    True
    """
    wanted = re.compile(rf"(?<!\w){re.escape(_folded(goal).rstrip('.!?'))}(?!\w)")
    return not goal.strip() or any(wanted.search(_folded(text)) for text in (observation, html.unescape(observation)))


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


Memory = FullHistory | LastTurns

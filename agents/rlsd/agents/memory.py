"""Memories: how a history becomes chat messages, with the format's instructions."""

from __future__ import annotations

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
        """Text of user message `turn`: the observation. It must not depend on later turns, or rows would not merge.
        So only `LastTurns` lists commands, which are valid for one turn only."""
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
        return f"{self.format.instructions}\n\n{text}" if self.format.instructions and turn == 0 else text


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


Memory = FullHistory | LastTurns

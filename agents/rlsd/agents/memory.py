"""What an agent remembers: how a history becomes chat messages. The wording here is the whole prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlsd.agents.parsing import Style
from rlsd.agents.types import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A user message, or the place of the policy's own response number `response` (text in `text`)."""

    role: Literal["user", "assistant"]
    text: str
    response: int | None = None


INSTRUCTIONS: dict[Style, str] = {
    "think": (
        "You control an agent in a text world. Each turn, think about the task inside <think> </think>, "
        "then give exactly one command inside <action> </action>."
    ),
    "search": (
        "Answer the question below. Each turn, first reason inside <think> </think>. If something is still missing, "
        "put one short query inside <search> </search>; the best passages come back inside <information> "
        "</information>, and you may search again. As soon as you know the answer, put it inside <answer> </answer>: "
        "a name, a date, a number or a few words, with no explanation."
    ),
    "tool": (
        "Answer the question below with the help of two tools. Each turn, first reason inside <think> </think>, then "
        "call one tool as JSON inside <tool_call> </tool_call>.\n"
        'To search: {"name": "search", "arguments": {"query": "a short query"}}. The best passages come back '
        "inside <tool_response> </tool_response>, and you may search again.\n"
        'To answer: {"name": "answer", "arguments": {"answer": "a name, a date, a number or a few words"}}.'
    ),
    "shop": (
        "You shop online for a customer. Find a product that fits the instruction in kind, attributes, options and "
        "price, choose its options, and buy it; buying ends the task. Each turn, first reason inside <think> </think>, "
        "then give exactly one action inside <action> </action>: search[words] to search the shop, or click[label] "
        "with the label of a button, a product id or an option on the page, as in click[buy now]."
    ),
}
"""What stands before everything else, by the style of the responses; `compact` models are told nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullHistory:
    """Every turn is a message of its own, so each prompt extends the one before: one training row an episode."""

    style: Style

    def messages(self, history: History) -> list[Message]:
        out: list[Message] = []
        for k in range(len(history.observations)):
            out.append(Message(role="user", text=self.user_text(history, k)))
            if k < len(history.actions):
                out.append(Message(role="assistant", text=history.actions[k].response, response=k))
        return out

    def user_text(self, history: History, turn: int) -> str:
        """Text of user message `turn`: what the world said. It may not depend on later turns, or rows would not
        merge; so commands, which are true for one turn only, are listed by the last-k memory alone."""
        text = history.observations[turn].strip()
        return f"{INSTRUCTIONS[self.style]}\n\n{text}" if self.style in INSTRUCTIONS and turn == 0 else text


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTurns:
    """One user message a turn: the task, the last `keep` observation and action pairs, what is seen and allowed now."""

    style: Style
    keep: int = 2

    def messages(self, history: History) -> list[Message]:
        return [Message(role="user", text=self.user_text(history))]

    def user_text(self, history: History) -> str:
        """The field's information (task, step count, recent pairs, present view, commands) in our own words."""
        parts: list[str] = []
        if self.style in INSTRUCTIONS:
            parts.append(INSTRUCTIONS[self.style])
        parts.append(f"Task: {history.goal}")
        done = history.turn
        if done:
            first = max(0, done - self.keep)
            parts.append(f"Steps taken so far: {done}. The last {done - first}:")
            parts += [
                f"[{k + 1}] saw: {history.observations[k].strip()}\n[{k + 1}] did: {history.actions[k].text}"
                for k in range(first, done)
            ]
        parts.append(f"Now (step {done + 1}): {history.observations[-1].strip()}")
        if history.admissible is not None and self.style in ("think", "shop"):
            commands = "\n".join(c for c in history.admissible if c != "help")
            parts.append(f"Commands that work now:\n{commands}")
        return "\n".join(parts)


Memory = FullHistory | LastTurns

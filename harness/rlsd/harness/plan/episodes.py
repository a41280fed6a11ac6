"""The longest episodes that a config allows, as rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.algorithms import needs_teacher
from rlsd.harness.config import RunConfig
from rlsd.harness.iteration.parts import context_names
from rlsd.harness.scoring.sequences import Branch, Place, Row

TURNS = 30
"""Turns of an episode where the config leaves them to the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Longest:
    """An episode whose every turn is as long as it may be, in tokens."""

    row: int
    """Prompts and responses of one row."""
    turns: int
    """Turns of an episode."""
    turns_in_row: int
    """1 where every turn is a row of its own."""
    response: int
    hindsight: int
    """Of a turn; 0 where none is read."""

    @property
    def rows(self) -> int:
        """Rows of an episode."""
        return -(-self.turns // self.turns_in_row)

    @property
    def first_prompt(self) -> int:
        """Tokens before the first response: what siblings share."""
        return self.row - self.turns_in_row * self.response - (self.turns_in_row - 1)

    def student(self) -> Row:
        """The student view of a row."""
        return Row(ids=(0,) * self.row, places=self._places())

    def both(self) -> Row:
        """The same with a branch of hindsight and response for every turn."""
        if not self.hindsight:
            return self.student()
        places, branches, width = list(self._places()), [], self.row
        for place in self._places():
            stop = width + self.hindsight + self.response
            branches.append(Branch(start=width, stop=stop, fork=place.column))
            places.append(Place(column=width + self.hindsight, flat=place.flat, count=self.response))
            width = stop
        return Row(ids=(0,) * width, places=tuple(places), branches=tuple(branches))

    def _places(self) -> tuple[Place, ...]:
        starts = (self.first_prompt + k * (self.response + 1) for k in range(self.turns_in_row))
        return tuple(Place(column=s, flat=k * self.response, count=self.response) for k, s in enumerate(starts))


def longest(config: RunConfig, *, context: int, row: int | None = None, turns: int | None = None) -> Longest:
    """The longest episode of a run.

    Args:
        context: longest sequence in tokens, the model's or `agent.context`.
        row: tokens of a row instead of `context`.
        turns: turns of an episode instead of `rollout.max_turns`.

    Raises:
        ValueError: a row has no room for a response.
    """
    length = min(row or context, context)
    response = min(config.agent.max_new_tokens, length - 1)
    if response < 1:
        raise ValueError(f"a row of {length} tokens has no room for a prompt and a response")
    count = turns or config.rollout.max_turns or TURNS
    merged = config.agent.memory != "last" and config.learner.merge_turns
    within = max(1, min(count, (length - 1) // (response + 1))) if merged else 1
    reads = bool(context_names(config)) and (needs_teacher(config.algorithm, 0) or config.algorithm.imitates)
    return Longest(
        row=length,
        turns=count,
        turns_in_row=within,
        response=response,
        hindsight=config.hindsight.max_tokens if reads else 0,
    )

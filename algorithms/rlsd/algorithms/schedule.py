"""Schedules: a number as a pure function of the iteration, so a resumed run needs no state.

    value(i) = start · i / warmup                                             while i < warmup
             = start                                                          for `hold` further iterations
             = start + (end − start) · min(1, (i − warmup − hold) / decay)    afterwards
             = start for ever                                                 if decay = 0

with i the iteration and the three lengths `warmup_iterations`, `hold_iterations`, `decay_iterations`.

RLSD (arXiv 2604.03128): start .5, end 0, decay 50. A plain number in a config is a constant.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from rlsd.algorithms.errors import Settings


class Schedule(Settings):
    """Warm up to `start`, hold it, then decay linearly to `end`. `lam: 0.3` is short for `start: 0.3`."""

    start: float = Field(default=0.0, ge=0.0)
    """Value at iteration 0, or after the warm-up."""
    end: float = Field(default=0.0, ge=0.0)
    """Value after the decay; not reached when `decay_iterations` is 0."""
    warmup_iterations: int = Field(default=0, ge=0)
    """Iterations from 0 to `start`."""
    hold_iterations: int = Field(default=0, ge=0)
    """Iterations at `start` between warm-up and decay."""
    decay_iterations: int = Field(default=0, ge=0)
    """Iterations from `start` to `end`; 0 keeps `start` for ever."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        return {"start": data} if is_number else data

    def value(self, step: int) -> float:
        """Return the value at iteration `step`, counted from 0."""
        if step < self.warmup_iterations:
            return self.start * step / self.warmup_iterations
        if self.decay_iterations == 0:
            return self.start
        past = min(max(step - self.warmup_iterations - self.hold_iterations, 0) / self.decay_iterations, 1.0)
        return self.start + (self.end - self.start) * past


def constant(value: float) -> Schedule:
    """Return the schedule that is `value` at every iteration."""
    return Schedule(start=value)


def linear(start: float, end: float, iterations: int) -> Schedule:
    """Return the straight line from `start` at iteration 0 to `end` at iteration `iterations`, `end` afterwards."""
    return Schedule(start=start, end=end, decay_iterations=iterations)

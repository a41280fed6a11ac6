"""Schedules: a number as a pure function of the update step, so a resumed run needs no state.

    value(u) = start · u / warmup                                             while u < warmup
             = start                                                          for `hold` further steps
             = start + (end − start) · min(1, (u − warmup − hold) / decay)    afterwards
             = start for ever                                                 if decay = 0

RLSD (arXiv 2604.03128): start 0.5, end 0, decay 50. A plain number in a config is a constant.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from rlsd.algorithms.errors import Settings


class Schedule(Settings):
    """Warm up to `start`, hold it, then decay linearly to `end`. `lam: 0.3` is short for `start: 0.3`."""

    start: float = Field(default=0.0, ge=0.0)
    """Value at step 0, or after the warm-up."""
    end: float = Field(default=0.0, ge=0.0)
    """Value after the decay; not reached when `decay` is 0."""
    warmup: int = Field(default=0, ge=0)
    """Update steps from 0 to `start`."""
    hold: int = Field(default=0, ge=0)
    """Update steps at `start` between warm-up and decay."""
    decay: int = Field(default=0, ge=0)
    """Update steps from `start` to `end`; 0 keeps `start` forever."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        return {"start": data} if is_number else data

    def value(self, step: int) -> float:
        """Return the value at update `step`, counted from 0."""
        if step < self.warmup:
            return self.start * step / self.warmup
        if self.decay == 0:
            return self.start
        past = min(max(step - self.warmup - self.hold, 0) / self.decay, 1.0)
        return self.start + (self.end - self.start) * past


def constant(value: float) -> Schedule:
    """Return a schedule that is `value` at every step."""
    return Schedule(start=value)


def linear(start: float, end: float, steps: int) -> Schedule:
    """Return a linear schedule from `start` at step 0 to `end` at `steps`, then `end`."""
    return Schedule(start=start, end=end, decay=steps)

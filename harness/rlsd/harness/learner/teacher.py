"""The teacher's weights: live, frozen initial ones, a moving average, a periodic hard copy, or another model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from rlsd.harness.distributed import held, put
from rlsd.harness.scoring.token_model import TokenModel

TeacherKind = Literal["live", "initial", "ema", "sync", "external"]


class Teacher:
    """Holds the teacher's weights beside the student's.

    Args:
        student: copied unless the teacher is live or equals the student with its adapter switched off.
        kind: `live` = the student itself; `initial` = as it was at the start; `ema` = θ_T ← (1−τ)θ_T + τθ after each
            iteration; `sync` = a hard copy every `every` iterations (0: never); `external` = another model's, for ever.
        replica: makes the copy (`Learner.replica`), or wraps the other model.
        tau: τ of `ema`.
        every: N of `sync`.
    """

    def __init__(
        self,
        student: TokenModel,
        kind: TeacherKind,
        *,
        replica: Callable[[], TokenModel],
        tau: float = 0.05,
        every: int = 10,
    ) -> None:
        self.student = student
        self.kind = kind
        self.tau = tau
        self.every = every
        self._switch_off = kind == "initial" and hasattr(student.model, "disable_adapter")
        self._copy = None if kind == "live" or self._switch_off else replica()

    @contextmanager
    def weights(self) -> Iterator[TokenModel]:
        """The model with the teacher's weights."""
        if self._copy is not None:
            yield self._copy
        elif self._switch_off:
            with self.student.model.disable_adapter():
                yield self.student
        else:
            yield self.student

    @torch.no_grad()
    def after_iteration(self, iterations: int) -> None:
        """Move the weights on; `iterations` are done, however many optimizer steps each took."""
        if self._copy is None:
            return
        if self.kind == "ema":
            for mine, theirs in zip(self._copy.parameters(), self.student.parameters()):
                held(mine)[0].lerp_(held(theirs)[0], self.tau)
        elif self.kind == "sync" and self.every > 0 and iterations % self.every == 0:
            for mine, theirs in zip(self._copy.parameters(), self.student.parameters()):
                held(mine)[0].copy_(held(theirs)[0])

    def state(self) -> dict[str, Tensor]:
        """Weights that no other file has; empty for `live` and `external`."""
        return {} if self._copy is None or self.kind == "external" else dict(self._copy.model.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`.

        Raises:
            KeyError: a weight is missing.
        """
        for name, value in self.state().items():
            put(value, state[name])

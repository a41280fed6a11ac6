"""What each sampled token of an iteration earned: one safetensors file beside the iteration's trajectories.

rollouts/step-000010.tokens.safetensors holds flat tables of M tokens, K turns and N trajectories, in the order of
step-000010.jsonl.gz; failed episodes stand at the end there, and are not in it.

    episode_start  (N + 1,) int32    first turn of each trajectory; the last number is K
    turn_start     (K + 1,) int32    first token of each turn; the last number is M
    action_span    (K, 2)   int32    half-open range of the turn's tokens that spells the action
    thought_span   (K, 2)   int32    the same of the thought
    ids            (M,)     int32    sampled tokens
    sampler_logp   (M,)     float32  log-prob in nats when the token was drawn
    student_logp   (M,)     float32  under the learner's weights, as the policy saw the episode; `sampler_logp` where
                                     nothing reads it before the update, which then scores nothing
    teacher_logp   (M,)     float32  with hindsight; NaN where the turn had none, or none was needed
    against_0 …    (M,)     float32  with wrong hindsight (`algorithm.against`); NaN where there is none
    gap            (M,)     float32  Δ = teacher − student; 0 without hindsight
    base           (M,)     float32  A, the advantage before hindsight
    weight         (M,)     float32  m
    advantage      (M,)     float32  Â, as the loss takes it: A · m, where credit multiplies

32 bytes a token, 4 more for each view with wrong hindsight, and 20 a turn. The header's one entry, "rlsd", is JSON: the
text of each token id (`pieces`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rlsd.agents.token_texts import token_texts
from rlsd.algorithms import Credit, TokenBatch
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.rundir import RunError

HEADER = "rlsd"
VALUES = ("sampler_logp", "student_logp", "teacher_logp", "gap", "base", "weight", "advantage")
"""Columns of one float a token that every file has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCredit:
    """An iteration's tables, before they are written; trajectories in the batch's order."""

    trajectories: Sequence[Trajectory]
    batch: TokenBatch
    credit: Credit

    def columns(self) -> dict[str, Tensor]:
        """The file's columns, as the module's head lists them."""
        actions = [turn.action for t in self.trajectories for turn in t.turns]
        batch, credit = self.batch, self.credit
        against = {f"against_{i}": view for i, view in enumerate(batch.against)}
        floats = {
            "sampler_logp": batch.sampler_logp,
            "student_logp": batch.student_logp,
            "teacher_logp": torch.where(batch.hinted, batch.teacher_logp, torch.nan),
            **against,
            "gap": batch.gap,
            "base": credit.base,
            "weight": credit.weight,
            "advantage": credit.advantage,
        }
        return {
            "episode_start": _starts([len(t.turns) for t in self.trajectories]),
            "turn_start": _starts([len(a.token_ids) for a in actions]),
            "action_span": torch.tensor([a.action_span for a in actions], dtype=torch.int32).reshape(-1, 2),
            "thought_span": torch.tensor([a.thought_span for a in actions], dtype=torch.int32).reshape(-1, 2),
            "ids": torch.tensor([i for a in actions for i in a.token_ids], dtype=torch.int32),
            **{name: value.detach().float().cpu().clone() for name, value in floats.items()},
        }

    def write(self, path: Path, tokenizer: Any) -> None:
        """Write the file, whole or not at all."""
        columns = self.columns()
        pieces = token_texts(tokenizer, columns["ids"].tolist())
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(save(columns, {HEADER: json.dumps({"pieces": pieces})}))
        os.replace(partial, path)


class TokenFile:
    """The tables of a written file; an episode's rows are read when they are asked for.

    Raises:
        RunError: the file cannot be read; names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="np")
            names = list(self._file.keys())
            self.names = tuple(name for name in names if name in VALUES or name.startswith("against_"))
            self._header = (self._file.metadata() or {})[HEADER]
            self.episode_start: np.ndarray = self._file.get_tensor("episode_start")
            self.turn_start: np.ndarray = self._file.get_tensor("turn_start")
            self._check()
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())}); delete it to see the "
                "episodes without their tokens' credit"
            ) from error

    @cached_property
    def pieces(self) -> dict[int, str]:
        """Text of each token id."""
        return {int(i): str(text) for i, text in json.loads(self._header)["pieces"].items()}

    @property
    def episodes(self) -> int:
        """Trajectories that have rows here."""
        return len(self.episode_start) - 1

    def turns(self, episode: int) -> list[dict[str, np.ndarray]]:
        """Of each turn of trajectory number `episode`: its columns by name, and `ids`."""
        first, last = (int(i) for i in self.episode_start[episode : episode + 2])
        starts = self.turn_start[first : last + 1]
        begin, end = (int(starts[0]), int(starts[-1])) if last > first else (0, 0)
        columns = {name: self._file.get_slice(name)[begin:end] for name in ("ids", *self.names)}
        places = [(int(a) - begin, int(b) - begin) for a, b in pairwise(starts)]
        return [{name: column[a:b] for name, column in columns.items()} for a, b in places]

    def column(self, name: str) -> np.ndarray:
        """(M,) one whole column."""
        return self._file.get_tensor(name)

    def _check(self) -> None:
        missing = set(VALUES) - set(self.names)
        tokens = self._file.get_slice("ids").get_shape()[0]
        wrong = [name for name in self.names if self._file.get_slice(name).get_shape() != [tokens]]
        sound = int(self.turn_start[-1]) == tokens and int(self.episode_start[-1]) == len(self.turn_start) - 1
        if missing or wrong or not sound:
            raise ValueError(f"its tables do not fit together {sorted({*missing, *wrong})[:1]}")


def tokens_path(rollouts: Path) -> Path:
    """Where the tokens of the trajectories in `rollouts` stand.

    >>> tokens_path(Path("rollouts/step-000010.jsonl.gz")).name
    'step-000010.tokens.safetensors'
    """
    return rollouts.with_name(rollouts.name.removesuffix(".jsonl.gz") + ".tokens.safetensors")


def _starts(counts: Sequence[int]) -> Tensor:
    return torch.tensor([0, *accumulate(counts)], dtype=torch.int32)

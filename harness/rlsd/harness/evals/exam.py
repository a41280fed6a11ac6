"""The credit exam: how good is the gradient that a method makes of a small batch? Measured without training.

    play B batches → score both views once → each method's credit on the same tables → its first gradient

A gradient is that of the method's loss before any step (ratio 1), over all trained weights and the whole batch. It is
held against the policy gradient that the other batches suggest (`truth`), which no method computes: it needs many
episodes, and facts that the policy does not see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlsd.harness.config import ConfigError
from rlsd.harness.config.load import import_function
from rlsd.harness.evals.exam_methods import ExamMethod, check_environment
from rlsd.harness.evals.exam_tables import Examined, examine
from rlsd.harness.evals.gradient_quality import Marks, Truth, summary
from rlsd.harness.evals.truth import fitted_values, true_credit
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.learner.gradients import Gradients, Sketch
from rlsd.harness.rollout.environments import env_maker, rollout_settings
from rlsd.harness.rollout.rollout import Rollout
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.tables import flatten

BATCHES = 12
"""Batches by default."""
LEAST = 4
"""Batches that an exam needs: the truth is never of the batch that is held against it, and it is halved."""
EXACT = 2**28
"""Numbers of all batches' gradients that are kept exactly; above, they are sketched."""
DIMS = 2**18
"""Dimensions of a sketch."""

T = TypeVar("T")


class Exam:
    """Plays and scores once; the rest is one backward pass for each batch and method.

    Args:
        parts: a run; its weights stay as they are.
        methods: the first is what the others are compared with.
        batches: number of batches, each as large as an iteration of the run.
        dims: of the sketch; 0: exact; None: exact if it fits.

    Raises:
        ConfigError: too few batches, or a method that the environment cannot serve.
    """

    def __init__(
        self,
        parts: Parts,
        methods: Sequence[ExamMethod],
        *,
        batches: int = BATCHES,
        dims: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        size = parts.config.rollout.tasks_per_iteration * parts.config.rollout.group_size
        if batches < LEAST:
            raise ConfigError(
                f"an exam needs at least {LEAST} batches of {size} episodes, {LEAST * size} in all, given {batches} "
                "batches; play more, or make batches smaller: --set rollout.tasks_per_iteration=4"
            )
        env = env_maker(parts.config.env, "train")()
        check_environment(methods, env, parts.tasks)
        env.close()
        self.parts = parts
        self.methods = list(methods)
        self.count = batches
        self.progress = progress or Progress(quiet=True)
        weights = Gradients(parts.learner, Sketch(0)).size
        auto = 0 if batches * weights <= EXACT else DIMS
        self.sketch = Sketch(auto if dims is None else dims, seed=parts.config.seed)
        self.gradients = Gradients(parts.learner, self.sketch)

    def run(self) -> dict[str, Any]:
        """JSON-able: `methods` (a row each), `truth`, `gradient`, and what was played."""
        started = time.perf_counter()
        groups = self.play()
        examined = self._score(groups)
        values, explained = fitted_values([e.plain for e in examined])
        truth, own = self._truth(examined, values)
        marks = self._marks(examined, truth)
        half, ceiling = truth.reliability(seed=self.parts.config.seed)
        episodes = [t for batch in groups for t in flatten(batch)]
        return {
            "batches": self.count,
            "episodes": len(episodes),
            "success": sum(t.success for t in episodes) / len(episodes),
            "turns": sum(len(t.turns) for t in episodes) / len(episodes),
            "tokens": sum(len(e.plain.turn) for e in examined),
            "gradient": {
                "weights": self.gradients.size,
                "sketch": self.sketch.dims,
                "sketch_error": self.gradients.sketch_error(examined[0].rows, examined[0].credits(self.methods)),
            },
            "truth": {
                "value_r2": explained,
                "split_half": half,
                "most": ceiling,
                **summary(own, marks[0]),
            },
            "methods": [
                {"method": m.name, "control": m.control, **summary(mark, marks[0])}
                for m, mark in zip(self.methods, marks, strict=True)
            ],
            "seconds": time.perf_counter() - started,
        }

    # ------------------------------------------------------------------ episodes and tables

    def play(self) -> list[list[Group]]:
        """The groups of every batch, with the facts of each turn."""
        config = self.parts.config
        reward = None if config.reward is None else import_function(config.reward, "reward")
        self.parts.sampler.connect()
        if self.parts.sampler.version != self.parts.learner.updates:
            self.parts.sampler.refresh(self.parts.learner.updates)
        size = config.rollout.tasks_per_iteration * config.rollout.group_size
        with self.progress.bar("episodes", self.count * size) as advance:
            rollout = Rollout(
                env_maker(config.env, "train"),
                self.parts.agent,
                rollout_settings(config.rollout, hindsight=True, seed=config.seed),
                reward=reward,
                on_episode=lambda _: advance(),
            )
            try:
                return [
                    rollout.groups(self.parts.tasks_of(i), config.rollout.group_size, stream="exam", iteration=i)
                    for i in range(self.count)
                ]
            finally:
                rollout.close()

    def _score(self, groups: Sequence[Sequence[Group]]) -> list[Examined]:
        found = []
        with self.progress.bar("score both views", self.count) as advance:
            for batch in groups:
                found.append(examine(self.parts, batch, self.methods))
                advance()
        return found

    # ------------------------------------------------------------------ gradients

    def _truth(self, examined: Sequence[Examined], values: Sequence[Tensor]) -> tuple[Truth, Marks]:
        """The truth, and the marks of its own credit on single batches."""

        def gradients(number: int) -> Tensor:
            one = examined[number]
            tokens = len(one.plain.turn)
            credit = true_credit(one.plain, values[number], self.methods[0].algorithm.loss)
            found = self.gradients.policy_and_entropy(one.rows, credit[None], torch.full((tokens,), 1.0 / tokens))
            advance()
            return found

        with self.progress.bar("truth", self.count) as advance:
            found = _each(gradients, self.count)
        truth = Truth(torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found]).double().sum(dim=0))
        return truth, truth.marks([f[0] for f in found])

    def _marks(self, examined: Sequence[Examined], truth: Truth) -> list[Marks]:
        def marks(number: int) -> list[tuple[float, float, float]]:
            one = examined[number]
            found = [truth.mark(g, number) for g in self.gradients.policy(one.rows, one.credits(self.methods))]
            advance()
            return found

        with self.progress.bar("gradients", self.count) as advance:
            by_batch = _each(marks, self.count)
        return [Marks.of(rows) for rows in zip(*by_batch, strict=True)]


def _each(function: Callable[[int], T], count: int) -> list[T]:
    """`function` of 0 … count − 1. Batches, not matrix products, are spread over the CPU's threads: that scales better,
    and what comes out does not depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(1 if torch.cuda.is_available() else threads, initializer=_one_thread) as pool:
            return list(pool.map(function, range(count)))
    finally:
        torch.set_num_threads(threads)


def _one_thread() -> None:
    torch.set_num_threads(1)

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
from rlsd.harness.evals.rerolls import RerollSettings, check_rewinds, reroll
from rlsd.harness.evals.truth import fitted_values, true_credit, weighted
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
        rerolls: take the truth from re-rolls, not from a fitted value.

    Raises:
        ConfigError: too few batches, or an environment that cannot serve a method, or cannot rewind.
    """

    def __init__(
        self,
        parts: Parts,
        methods: Sequence[ExamMethod],
        *,
        batches: int = BATCHES,
        dims: int | None = None,
        rerolls: RerollSettings | None = None,
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
        if rerolls is not None:
            check_rewinds(env_maker(parts.config.env, "train"), parts.tasks[0])
        self.parts = parts
        self.rerolls = rerolls
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
        advantages = None if self.rerolls is None else self._reroll(groups, self.rerolls)
        truths = self._truths(examined, values, advantages)
        (truth, own), fitted = truths[-1], truths[0][0]
        marks = self._marks(examined, truth)
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
                **self._reliability(truth),
                **self._beside(truth, fitted),
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

    def _reroll(self, groups: Sequence[Sequence[Group]], rerolls: RerollSettings) -> list[Tensor]:
        """(K,) Q − V of the turns of each batch, from re-rolls."""
        config = self.parts.config
        reward = None if config.reward is None else import_function(config.reward, "reward")
        with self.progress.bar("re-rolls", self.count * rerolls.turns * rerolls.each * 2) as advance:
            return [
                reroll(
                    batch,
                    self.parts.agent,
                    env_maker(config.env, "train"),
                    rollout_settings(config.rollout, hindsight=False, seed=config.seed),
                    rerolls,
                    batch=number,
                    reward=reward,
                    on_episode=lambda _: advance(),
                )
                for number, batch in enumerate(groups)
            ]

    def _score(self, groups: Sequence[Sequence[Group]]) -> list[Examined]:
        def scored(number: int) -> Examined:
            found = examine(self.parts, groups[number], self.methods)
            advance()
            return found

        with self.progress.bar("score both views", self.count) as advance:
            return _each(scored, self.count)

    # ------------------------------------------------------------------ gradients

    def _truths(
        self, examined: Sequence[Examined], values: Sequence[Tensor], advantages: Sequence[Tensor] | None
    ) -> list[tuple[Truth, Marks]]:
        """The fitted truth, then that of re-rolls if there are any, each with the marks of its own credit on single
        batches."""
        loss = self.methods[0].algorithm.loss

        def gradients(number: int) -> Tensor:
            one = examined[number]
            tokens = len(one.plain.turn)
            credits = [true_credit(one.plain, values[number], loss)]
            if advantages is not None:
                credits.append(weighted(one.plain, advantages[number], loss))
            found = self.gradients.policy_and_entropy(
                one.rows, torch.stack(credits), torch.full((tokens,), 1.0 / tokens)
            )
            advance()
            return found

        with self.progress.bar("truth", self.count) as advance:
            found = torch.stack(_each(gradients, self.count))
        entropy = found[:, -1].double().sum(dim=0)
        truths = [Truth(found[:, i], entropy) for i in range(found.shape[1] - 1)]
        return [(truth, truth.marks(list(truth.gradients))) for truth in truths]

    def _reliability(self, truth: Truth) -> dict[str, float]:
        half, ceiling = truth.reliability(seed=self.parts.config.seed)
        return {"split_half": half, "most": ceiling}

    def _beside(self, truth: Truth, fitted: Truth) -> dict[str, Any]:
        """What re-rolls took, and how the fitted truth compares."""
        if self.rerolls is None:
            return {"kind": "fitted"}
        alike = float(torch.nn.functional.cosine_similarity(truth.whole, fitted.whole, dim=0, eps=1e-30))
        return {
            "kind": "rerolls",
            "rerolls": self.rerolls.each,
            "turns": self.rerolls.turns,
            "fitted": {**self._reliability(fitted), "cos": alike},
        }

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

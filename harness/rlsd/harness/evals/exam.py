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
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlsd.algorithms import AlgorithmConfig, LossInputs, TokenBatch, assign, token_loss, token_weights
from rlsd.harness.config import ConfigError
from rlsd.harness.config.load import import_function
from rlsd.harness.evals.exam_methods import ExamMethod, check_environment
from rlsd.harness.evals.gradient_quality import Marks, Truth, summary
from rlsd.harness.evals.truth import fitted_values, true_credit
from rlsd.harness.hindsight.hints import Hinter
from rlsd.harness.iteration.parts import Parts, make_hinter
from rlsd.harness.learner.gradients import Gradients, Sketch
from rlsd.harness.rollout.environments import env_maker, rollout_settings
from rlsd.harness.rollout.rollout import Rollout
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.runs.progress import Progress
from rlsd.harness.scoring.sequences import Row, distinct, fill_in, student_rows, teacher_rows
from rlsd.harness.scoring.tables import flatten, token_batch, with_teacher
from rlsd.harness.scoring.token_model import plain

BATCHES = 12
"""Batches by default."""
LEAST = 4
"""Batches that an exam needs: the truth is never of the batch that is held against it, and it is halved."""
EXACT = 2**28
"""Numbers of all batches' gradients that are kept exactly; above, they are sketched."""
DIMS = 2**18
"""Dimensions of a sketch."""

T = TypeVar("T")
View = tuple[tuple[str, ...], tuple[str, ...], str]
"""Contexts, contexts of wrong hindsight, and whose hindsight it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One batch: its tables under every view, and the rows to differentiate."""

    tables: dict[View, TokenBatch]
    rows: list[Row]

    @property
    def plain(self) -> TokenBatch:
        """The table without hindsight."""
        return next(iter(self.tables.values()))


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
        groups = self._play()
        with self.progress.bar("score both views", self.count) as advance:
            examined = [self._score(g, advance) for g in groups]
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
                "sketch_error": self._sketch_error(examined[0]),
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

    def _play(self) -> list[list[Group]]:
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

    def _score(self, groups: Sequence[Group], advance: Any) -> Examined:
        """Student log-probs once, and teacher log-probs once for each different view."""
        trajectories, merge = flatten(groups), self.parts.config.learner.merge_turns
        rows = student_rows(trajectories, merge=merge)
        batch = token_batch(groups)
        student = self.parts.scorer.logprobs(rows, len(batch.turn))
        batch = replace(batch, student_logp=student.logp, teacher_logp=student.logp, entropy=student.entropy)
        blank: View = ((), (), "own")
        tables: dict[View, TokenBatch] = {blank: batch}
        for method in self.methods:
            view = _view(method)
            if view not in tables:
                tables[view] = self._hinted(batch, groups, view)
        advance()
        return Examined(tables=tables, rows=rows)

    def _hinted(self, batch: TokenBatch, groups: Sequence[Group], view: View) -> TokenBatch:
        contexts, against, source = view
        teacher, entropy, hinted = self._teacher(groups, self._hinter(contexts, source), None)
        wrong = tuple(self._teacher(groups, self._hinter((name,), "own"), hinted)[0] for name in against)
        return with_teacher(replace(batch, teacher_entropy=entropy, against=wrong), teacher)

    def _hinter(self, contexts: tuple[str, ...], source: str) -> Hinter:
        context = self.parts.hinter.context
        hindsight = self.parts.config.hindsight.model_copy(update={"source": source})
        config = self.parts.config.model_copy(update={"hindsight": hindsight})
        return make_hinter(config, self.parts.agent.chat, context=context, names=contexts)

    def _teacher(
        self, groups: Sequence[Group], hinter: Hinter, only: set[tuple[int, int]] | None
    ) -> tuple[Tensor, Tensor, set[tuple[int, int]]]:
        """(M,) log-probs and entropies with hindsight, NaN where there is none; and the hinted turns."""
        trajectories, settings = flatten(groups), self.parts.config.learner
        made = hinter.build(groups).insertions
        made = {place: hint for place, hint in made.items() if only is None or place in only}
        kept, copies = distinct(trajectories, made)
        rows = teacher_rows(trajectories, kept, merge=settings.merge_turns)
        total = sum(len(turn.action.token_ids) for t in trajectories for turn in t.turns)
        found = self.parts.scorer.logprobs(
            rows if settings.prefix_sharing else plain(rows), total, kinds=("teacher", "teacher")
        )
        return fill_in(found.logp, copies), fill_in(found.entropy, copies), set(made)

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
            found = [truth.mark(g, number) for g in self.gradients.policy(one.rows, self._credits(one))]
            advance()
            return found

        with self.progress.bar("gradients", self.count) as advance:
            by_batch = _each(marks, self.count)
        return [Marks.of(rows) for rows in zip(*by_batch, strict=True)]

    def _credits(self, one: Examined) -> Tensor:
        """(C, M) credit of every method."""
        return torch.stack([loss_credit(one.tables[_view(m)], m.algorithm) for m in self.methods])

    def _sketch_error(self, one: Examined) -> float:
        return self.gradients.sketch_error(one.rows, self._credits(one))


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


def loss_credit(batch: TokenBatch, algorithm: AlgorithmConfig, *, step: int = 0) -> Tensor:
    """(M,) what each token's log-prob counts in the loss of iteration `step` before the first update: −∂L / ∂ log π.

    For a policy loss alone this is the token weight times the final advantage. Reference weights are the present ones.
    """
    credit = assign(batch, algorithm, step=step)
    weights = token_weights(batch, algorithm.loss.aggregation, constant_tokens=algorithm.loss.constant_tokens)
    logp = batch.student_logp.detach().clone().requires_grad_()
    inputs = LossInputs(
        new_logp=logp,
        old_logp=batch.student_logp,
        advantage=credit.advantage,
        turn=batch.turn,
        sampler_logp=batch.sampler_logp,
        reference_logp=batch.student_logp,
        teacher_logp=batch.teacher_logp,
        hinted=batch.hinted,
    )
    loss = (weights * token_loss(inputs, algorithm.loss, step=step).total).sum()
    if not loss.requires_grad:
        return torch.zeros_like(batch.student_logp)
    return -torch.autograd.grad(loss, logp)[0]


def _view(method: ExamMethod) -> View:
    """What the method's teacher reads; nothing if it has none."""
    algorithm = method.algorithm
    contexts = tuple(c for c in algorithm.contexts if c != "none")
    if not contexts:
        return (), (), "own"
    return contexts, algorithm.against, method.source

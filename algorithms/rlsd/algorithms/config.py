"""The five parts of an algorithm: base advantage, hindsight contexts, teacher weights, credit, loss.

The trainer reads only this config about a method. Contexts and teachers are names here; the harness holds their texts
and weights.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from rlsd.algorithms.advantage import ALONE, AdvantageConfig, base_advantage
from rlsd.algorithms.batch import Credit, TokenBatch
from rlsd.algorithms.credit import credit
from rlsd.algorithms.errors import Settings, closest
from rlsd.algorithms.loss import LossConfig
from rlsd.algorithms.rlsd import CreditConfig

CONTEXTS = (
    "answer",
    "demonstration",
    "successful_sibling",
    "feedback",
    "verdict",
    "state_changes",
    "next_observation",
    "plan",
    "unmet_goals",
    "locations",
    "distance",
    "won",
    "failed_sibling",
    "wrong_answer",
    "none",
)
"""Shipped hindsight contexts; `module:Name` refers to your own."""


class TeacherConfig(Settings):
    """Weights of the teacher."""

    weights: Literal["live", "initial", "ema", "sync", "external"] = "live"
    """`live`: the learner itself. `initial`: frozen at step 0. `ema`: moving average. `sync`: periodic hard
    copy. `external`: another model with the same tokenizer; without contexts it reads the student's own prompt."""
    path: str | None = None
    """Folder, hub name or run directory of the `external` teacher."""
    every: int = Field(default=10, gt=0)
    """Iterations between hard copies (`sync`)."""
    tau: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of the new weights taken into the average after each iteration (`ema`)."""

    @model_validator(mode="after")
    def _path_is_external(self) -> TeacherConfig:
        if self.path is not None and self.weights != "external":
            raise ValueError(f"path names an external teacher: expected weights 'external', given {self.weights!r}.")
        return self


class DepthConfig(Settings):
    """A curriculum of depth: the first iteration plays `start` turns of an episode, every `every`-th one turn more
    (TCOD, arXiv 2604.24005, front to back). An episode that was cut off counts as lost."""

    start: int | None = Field(default=None, ge=1)
    """Turns in the first iteration; None: episodes are played to their end."""
    every: int = Field(default=2, ge=1)
    """Iterations until it is one turn more."""

    def turns(self, step: int, limit: int | None) -> int | None:
        """Return the most turns of an episode in iteration `step`, at most `limit`; None: no limit."""
        if self.start is None:
            return limit
        return self.start + step // self.every if limit is None else min(limit, self.start + step // self.every)


class AlgorithmConfig(Settings):
    """One algorithm. `resolve("rlsd")` returns the tested setting; every field can be overridden."""

    name: str = "rlsd"
    """Name of the preset, for logs."""
    advantage: AdvantageConfig = AdvantageConfig()
    """Base advantage from the outcome."""
    contexts: tuple[str, ...] = ()
    """Hindsight for the teacher, in this order; `none` gives it none (a control)."""
    against: tuple[str, ...] = ()
    """Contexts of wrong hindsight, one more view each, for signal `contrast`."""
    teacher: TeacherConfig = TeacherConfig()
    """Weights of the teacher."""
    credit: CreditConfig = CreditConfig(rule="none")
    """How hindsight spreads the outcome over tokens."""
    loss: LossConfig = LossConfig()
    """The loss."""
    depth: DepthConfig = DepthConfig()
    """How far training episodes are played."""

    @property
    def imitates(self) -> bool:
        """Demonstrations are imitated; nothing is sampled."""
        return self.loss.policy == "sft"

    @property
    def reads_own_prompt(self) -> bool:
        """The teacher reads what the student reads and nothing more: another model needs no hindsight."""
        return self.teacher.weights == "external" and not self.contexts

    @property
    def needs_siblings(self) -> bool:
        """All that it learns comes from comparing an episode with others of its group."""
        more = self.credit.adds or self.loss.distill.kind != "none" or self.imitates
        return self.advantage.method not in ALONE and not more

    @field_validator("contexts", "against")
    @classmethod
    def _contexts_are_known(cls, contexts: tuple[str, ...]) -> tuple[str, ...]:
        for context in contexts:
            if context not in CONTEXTS and ":" not in context:
                raise ValueError(f"unknown context {context!r}{closest(context, CONTEXTS)}")
        if len(set(contexts)) < len(contexts):
            raise ValueError(f"expected each context once, given {', '.join(contexts)}.")
        if "none" in contexts and len(contexts) > 1:
            raise ValueError(f"'none' cannot be combined with other contexts, given {', '.join(contexts)}.")
        return contexts

    @model_validator(mode="after")
    def _hindsight_has_a_text(self) -> AlgorithmConfig:
        blocks = self.credit.rule == "hindsight" and self.credit.reads_teacher
        wants = blocks or self.loss.distill.kind != "none" or self.loss.anchor < 1.0
        if wants and not self.contexts and self.teacher.weights != "external":
            raise ValueError(
                "hindsight needs a text: expected at least one of contexts "
                f"({', '.join(CONTEXTS)}), given none; ['none'] is the control without one."
            )
        if (self.credit.rule == "hindsight" and self.credit.signal == "contrast") != bool(self.against):
            raise ValueError(
                "signal 'contrast' compares with wrong hindsight: expected contexts in `against` "
                f"(failed_sibling, wrong_answer) with that signal and only then, given {list(self.against)}."
            )
        rule = self.advantage
        if self.credit.combine == "arbitrate" and (rule.method != "gigpo" or rule.std or rule.similarity is not None):
            raise ValueError(
                "combine 'arbitrate' weighs the step part of gigpo against hindsight: expected advantage method "
                f"'gigpo' without std and similarity, given {rule.method!r} with std {rule.std} and similarity "
                f"{rule.similarity}."
            )
        return self


def needs_teacher(config: AlgorithmConfig, step: int) -> bool:
    """Return whether iteration `step` needs the teacher view; if not, the teacher pass is skipped."""
    sees = bool(config.contexts) or config.reads_own_prompt
    credit = sees and config.credit.reads_teacher and config.credit.active(step)
    return credit or loss_reads_teacher(config, step)


def loss_reads_teacher(config: AlgorithmConfig, step: int) -> bool:
    """Return whether the loss of iteration `step` reads the teacher view of every turn, whatever its credit."""
    return config.loss.distill.active(step) or (config.loss.anchor < 1.0 and config.loss.policy_coef > 0.0)


def reads_logps(config: AlgorithmConfig, step: int) -> bool:
    """Return whether iteration `step` needs the policy's log-probs before its first update: a view is compared with
    them, the credit reads them, or they weigh tokens that another policy drew."""
    credit = config.credit.reads_logps and config.credit.active(step)
    return credit or needs_teacher(config, step) or config.loss.tis_cap is not None


def adds_credit(config: AlgorithmConfig, step: int) -> bool:
    """Return whether tokens with base advantage 0 may get credit in iteration `step`."""
    return config.credit.adds and config.credit.active(step)


def needs_divergence(config: AlgorithmConfig, step: int) -> bool:
    """Return whether iteration `step` needs hidden states of both views for a full-vocabulary term."""
    return config.loss.distill.active(step) and config.loss.distill.full_vocabulary


def needs_reference(config: AlgorithmConfig) -> bool:
    """Return whether log-probs under the reference weights are needed."""
    return config.loss.kl_coef > 0.0


def assign(batch: TokenBatch, config: AlgorithmConfig, *, step: int) -> Credit:
    """Return the credit of a whole iteration: base advantage, then hindsight."""
    return credit(batch, base_advantage(batch, config.advantage), config.credit, step=step)

"""The five parts of an algorithm, named: base advantage, hindsight contexts, teacher weights, credit, loss.

The trainer reads this and nothing else about a method. Contexts and teachers are names here; the texts and
the weights behind them live where trajectories and models are.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from rlsd.algorithms.advantage import AdvantageConfig, base_advantage
from rlsd.algorithms.batch import Credit, TokenBatch
from rlsd.algorithms.credit import credit
from rlsd.algorithms.credit_config import CreditConfig
from rlsd.algorithms.errors import Settings, closest
from rlsd.algorithms.loss import LossConfig

CONTEXTS = (
    "answer",
    "demonstration",
    "successful_sibling",
    "feedback",
    "state_changes",
    "next_observation",
    "plan",
    "unmet_goals",
    "locations",
    "distance",
    "none",
)
"""Hindsight texts that come with rlsd; `module:Name` points at one of your own."""


class TeacherConfig(Settings):
    """Whose weights look back."""

    weights: Literal["live", "initial", "ema", "sync"] = "live"
    """`live`: the learner itself. `initial`: frozen at step 0. `ema`: moving average. `sync`: hard copy now
    and then."""
    every: int = Field(default=10, gt=0)
    """Update steps between hard copies (`sync`)."""
    tau: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of the new weights taken into the average at each update (`ema`)."""


class AlgorithmConfig(Settings):
    """One algorithm. `resolve("rlsd")` gives the vetted setting; every field can be overridden."""

    name: str = "rlsd"
    """Preset it started from, for logs."""
    advantage: AdvantageConfig = AdvantageConfig()
    """What the outcome says."""
    contexts: tuple[str, ...] = ()
    """What only the teacher reads, in this order; `none` is a teacher that reads nothing more (a control)."""
    teacher: TeacherConfig = TeacherConfig()
    """Whose weights look back."""
    credit: CreditConfig = CreditConfig(method="none")
    """How hindsight spreads the outcome over tokens."""
    loss: LossConfig = LossConfig()
    """What is minimised."""

    @property
    def imitates(self) -> bool:
        """Demonstrations are imitated; nothing is sampled."""
        return self.loss.policy == "sft"

    @field_validator("contexts")
    @classmethod
    def _contexts_are_known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name not in CONTEXTS and ":" not in name:
                raise ValueError(f"unknown context {name!r}.{closest(name, CONTEXTS)}")
        if len(set(given)) < len(given):
            raise ValueError(f"expected each context once, given {', '.join(given)}.")
        if "none" in given and len(given) > 1:
            raise ValueError(f"'none' stands alone, given {', '.join(given)}.")
        return given

    @model_validator(mode="after")
    def _hindsight_has_a_text(self) -> AlgorithmConfig:
        wants = self.credit.method != "none" or self.loss.distill.kind != "none"
        if wants and not self.contexts:
            raise ValueError(
                "hindsight needs a text: expected at least one of contexts "
                f"({', '.join(CONTEXTS)}), given none; ['none'] is the control without one."
            )
        return self


def needs_teacher(config: AlgorithmConfig, step: int) -> bool:
    """Return whether iteration `step` reads the hindsight view at all; if not, the pass is skipped."""
    return config.credit.active(step) or config.loss.distill.active(step)


def needs_divergence(config: AlgorithmConfig, step: int) -> bool:
    """Return whether iteration `step` wants hidden states of both views for a full-vocabulary term."""
    return config.loss.distill.active(step) and config.loss.distill.full_vocabulary


def needs_reference(config: AlgorithmConfig) -> bool:
    """Return whether log-probs under the reference weights are wanted."""
    return config.loss.kl_coef > 0.0


def assign(batch: TokenBatch, config: AlgorithmConfig, *, step: int) -> Credit:
    """Return the credit of a whole iteration: base advantage, then hindsight."""
    return credit(batch, base_advantage(batch, config.advantage), config.credit, step=step)

"""Settings of `credit`, apart from it so that the rules in `rlsd` can read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rlsd.algorithms.errors import Settings
from rlsd.algorithms.schedule import Schedule, linear


class CreditConfig(Settings):
    """How hindsight spreads a base advantage over tokens."""

    method: Literal["none", "rlsd", "belief"] = "rlsd"
    """`none`: m = 1. `rlsd`: exp and clip of Δ at a level. `belief`: AgentOPSD's turn weights."""
    level: Literal["token", "span", "turn", "turn_token", "trajectory"] = "turn_token"
    """Unit that shares one piece of evidence (`rlsd`)."""
    lam: Schedule = linear(0.5, 0.0, 50)
    """λ: share of the hindsight weight in m, by iteration; a number is a constant. At 0 no teacher pass is
    made."""
    clip: float = Field(default=0.2, gt=0.0, le=1.0)
    """ε: the weight stays in [1 − ε, 1 + ε]; h of AgentOPSD."""
    applies_to: Literal["both", "positive", "negative", "success"] = "both"
    """Where m may leave 1: any token, those with A > 0, those with A < 0, or those of successful trajectories
    (RLRT)."""
    tokens: Literal["all", "action"] = "all"
    """Tokens that get a weight; with level `token`, `action` is SERL (arXiv 2605.19447)."""
    evidence: Literal["action", "turn"] = "action"
    """Tokens whose Δ speaks for a turn or trajectory: the action span, or every sampled token."""
    reduce: Literal["mean", "sum"] = "mean"
    """How a unit's Δ are pooled; a sum grows with the length of the action."""
    normalize: Literal["none", "turn", "trajectory"] = "none"
    """Divide the weights by their mean over the turn or trajectory, so they only move credit (FACTOR, arXiv
    2608.07118)."""
    invert: bool = False
    """Turn the ratio upside down (RLRT, arXiv 2605.10781)."""
    pessimistic: bool = False
    """min(w A, clip(w) A), Eq. 16 as printed; no upper bound where A < 0."""
    gamma: float = Field(default=0.95, ge=0.0, le=1.0)
    """Discount of earlier evidence (`belief`)."""

    @model_validator(mode="after")
    def _mean_one_leaves_something(self) -> CreditConfig:
        useless = {"turn": {"span", "turn", "turn_token", "trajectory"}, "trajectory": {"trajectory"}}
        if self.method == "rlsd" and self.level in useless.get(self.normalize, set()):
            raise ValueError(
                f"normalize {self.normalize!r} cancels what level {self.level!r} says about each {self.normalize}; "
                "use level 'token', or 'normalize: none'."
            )
        if self.lam.start > 1.0 or self.lam.end > 1.0:
            raise ValueError(f"lam is a share: expected at most 1, given {max(self.lam.start, self.lam.end)}.")
        return self

    def active(self, step: int) -> bool:
        """Return whether m can differ from 1 in iteration `step`; if not, no teacher log-probs are read."""
        return self.method != "none" and self.lam.value(step) > 0.0

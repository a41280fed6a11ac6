"""RLSD's weight m, from the hindsight gap Δ, at five levels; and the general rule it is one setting of.

    c(x) = clip(exp(s · x), 1 − ε, 1 + ε),   s = sign(A)                  RLSD, arXiv 2604.03128, §3
    token        m_t = (1 − λ) + λ c(Δ_t)                                 the paper
    turn         m_t = (1 − λ) + λ c(e_k) for every token of turn k,
                 e_k = mean of Δ over the action tokens of the turn
    turn_token   m_t = (1 − λ) + λ c(e_k) c(Δ_t) / mean_{u∈k} c(Δ_u):
                 the mean of m over the turn is exactly its turn value
    span         as turn, but only action tokens get the weight; the others keep m = 1
    trajectory   as turn, with e = mean of Δ over the action tokens of the whole trajectory

Three token sets decide everything, all inside `hinted`:
    evidence   tokens whose Δ enters e: the action span (or the whole turn, `evidence: turn`)
    covered    tokens that get a weight: all sampled tokens (action tokens only for `span` or
               `tokens: action`); the mean below `turn_token` runs over the covered tokens of the turn
    the rest   keeps m = 1: un-hinted tokens, and turns or trajectories without one evidence token, such
               as a turn whose action could not be parsed (level `token` needs no evidence)

Bounds of the weight (m at λ = 1): [1 − ε, 1 + ε]; divided by a mean of such numbers, as under `normalize`,
[(1 − ε) / (1 + ε), (1 + ε) / (1 − ε)]; for `turn_token`, which is that times c(e_k),
[(1 − ε)² / (1 + ε), (1 + ε)² / (1 − ε)].

In general Δ is a `signal`, e is scaled (`scale`), exp is a `squash`, and the steps are, for every unit:

    x = direction · slope · (scaled e − shift)  →  w = squash(x), w(0) = 1  →  w − 1 scaled again (`rescale`)  →  clip

What differs and why: the paper prints min(w A, clip(w) A) in Eq. 16 while its code clips plainly; plain is
the default, `pessimistic` gives the printed form (unbounded for A < 0). exp's argument is limited to ±20, as
in SERL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from rlsd.algorithms.batch import TokenBatch
from rlsd.algorithms.blocks import OVERS, SQUASHES, Over, Units, mean_one, parents, scale, softmax_weight, units
from rlsd.algorithms.errors import Settings, closest
from rlsd.algorithms.gates import GATES
from rlsd.algorithms.schedule import Schedule, linear
from rlsd.algorithms.segment_ops import segment_count, segment_mean, segment_sum
from rlsd.algorithms.signals import SIGNALS

SCALES = tuple(f"{kind}:{over}" for kind in ("centre", "z", "mean_abs", "min_max") for over in OVERS)


class CreditConfig(Settings):
    """How hindsight spreads a base advantage over tokens."""

    rule: str = "hindsight"
    """`none`: the base advantage itself. `hindsight`: the settings below. `module:function`: your own weight."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of your own rule."""
    signal: Literal[
        "gap",
        "contrast",
        "belief",
        "token_belief",
        "margin",
        "calibrated",
        "spikes",
        "progress",
        "farther",
        "teacher_prob",
        "student_prob",
    ] = "gap"
    """Evidence; definitions at the top of `rlsd.algorithms.signals`."""
    level: Literal["token", "span", "turn", "turn_token", "trajectory"] = "turn_token"
    """Unit that shares one piece of evidence."""
    lam: Schedule = linear(0.5, 0.0, 50)
    """λ: share of the hindsight weight in m, by iteration; a number is a constant. At 0 there is no teacher
    pass."""
    combine: Literal["multiply", "add", "replace", "arbitrate"] = "multiply"
    """multiply: A (1 + λ g (w − 1)). add: A + λ g gain (w − 1). replace: sign(A) |w − 1|. g: the product of `gates`.
    arbitrate: the step part of A (gigpo without std) gives way to hindsight where the two agree, see
    `rlsd.algorithms.uni_opsd`."""
    clip: float | None = Field(default=0.2, gt=0.0)
    """ε: the weight stays in [1 − ε, 1 + ε]; h of AgentOPSD. None: no bound."""
    clip_below: bool = True
    """False: the weight has no lower bound (SSPO, arXiv 2608.12764)."""
    squash: Literal["exp", "logistic", "tanh", "linear", "softplus", "softmax"] = "exp"
    """From evidence to weight: see `rlsd.algorithms.blocks`."""
    slope: float = Field(default=1.0)
    """Factor of the evidence before the squash."""
    shift: float = 0.0
    """Subtracted from the evidence before the slope."""
    gain: float = 1.0
    """Factor of w − 1 where it is added; may be negative (AntiSD, arXiv 2605.11609)."""
    deadband: float = Field(default=0.0, ge=0.0)
    """Token evidence smaller than this counts as 0 (TASPO's κ)."""
    scale: tuple[str, ...] = ()
    """Scaling of the pooled evidence over the units of a scope, in this order: `z:trajectory`, `centre:group`, …"""
    rescale: tuple[str, ...] = ()
    """The same for w − 1, after the squash and before the clip (GRSD, TASPO)."""
    direction: Literal["outcome", "against_outcome", "teacher"] = "outcome"
    """Sign of the evidence: times sign(A), times −sign(A) (RLRT, arXiv 2605.10781), or as the teacher has it."""
    gates: tuple[str, ...] = ()
    """Factors of w − 1, multiplied; see `rlsd.algorithms.gates`."""
    applies_to: Literal["both", "positive", "negative", "success", "failure"] = "both"
    """Where credit may leave A: any token, those with A > 0, those with A < 0, or those of successful or failed
    trajectories."""
    tokens: Literal["all", "action"] = "all"
    """Tokens that get a weight; with level `token`, `action` is SERL (arXiv 2605.19447)."""
    evidence: Literal["action", "turn"] = "action"
    """Tokens whose Δ is the evidence for a turn or trajectory: the action span, or every sampled token."""
    reduce: Literal["mean", "sum"] = "mean"
    """How a unit's Δ are pooled; a sum grows with the length of the action."""
    normalize: Literal["none", "turn", "trajectory"] = "none"
    """Divide the weights by their mean over the turn or trajectory, so that they only redistribute credit (FACTOR,
    arXiv 2608.07118)."""
    floor: float | None = Field(default=None, ge=0.0)
    """Smallest m (`multiply`)."""
    keep_sign: bool = False
    """Credit that would cross 0 becomes 0 (`add`; RLCSD, arXiv 2606.11709)."""
    pessimistic: bool = False
    """min(w A, clip(w) A), Eq. 16 as printed; no upper bound where A < 0."""
    control: Literal["none", "shuffled"] = "none"
    """`shuffled`: each turn gets the evidence of another turn of the batch; a control that no hindsight survives."""
    gamma: float = Field(default=0.95, ge=0.0, le=1.0)
    """Discount of earlier evidence (signal `belief`), or of step returns (`arbitrate`)."""

    @field_validator("rule")
    @classmethod
    def _rule_is_known(cls, rule: str) -> str:
        if rule not in ("none", "hindsight") and ":" not in rule:
            raise ValueError(f"unknown rule {rule!r}{closest(rule, ['none', 'hindsight', 'module:function'])}")
        return rule

    @field_validator("scale", "rescale")
    @classmethod
    def _scales_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SCALES:
                raise ValueError(f"unknown scaling {name!r}{closest(name, SCALES)}")
        return names

    @field_validator("gates")
    @classmethod
    def _gates_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in GATES:
                raise ValueError(f"unknown gate {name!r}{closest(name, GATES)}")
        return names

    @model_validator(mode="after")
    def _blocks_fit(self) -> CreditConfig:
        useless = {"turn": {"span", "turn", "turn_token", "trajectory"}, "trajectory": {"trajectory"}}
        if self.rule == "hindsight" and self.level in useless.get(self.normalize, set()):
            raise ValueError(
                f"normalize {self.normalize!r} cancels the weights of level {self.level!r} in each {self.normalize}; "
                "use level 'token', or 'normalize: none'."
            )
        if self.combine == "multiply" and max(self.lam.start, self.lam.end) > 1.0:
            raise ValueError(f"lam is a share: expected at most 1, given {max(self.lam.start, self.lam.end)}.")
        may_turn = self.squash == "linear" or self.rescale
        if self.combine == "multiply" and may_turn and self.floor is None and (self.clip is None or self.clip > 1.0):
            raise ValueError(f"the weight could turn the sign of A: expected clip ≤ 1 or a floor, given {self.clip}.")
        if SIGNALS[self.signal].unit == "turn" and self.level not in ("turn", "span"):
            raise ValueError(
                f"signal {self.signal!r} is one number a turn: expected level turn or span, given {self.level!r}."
            )
        if self.squash == "softmax" and self.level != "token":
            raise ValueError(
                f"squash 'softmax' shares out a turn's tokens: expected level token, given {self.level!r}."
            )
        if self.level == "trajectory" and self.rescale:
            raise ValueError("rescale needs units with one sign of A: expected a level below trajectory.")
        return self

    def active(self, step: int) -> bool:
        """Return whether credit can differ from A in iteration `step`."""
        always = self.combine in ("replace", "arbitrate")
        return self.rule != "none" and (always or self.lam.value(step) > 0.0)

    @property
    def adds(self) -> bool:
        """Whether tokens with base advantage 0 may get credit."""
        return self.combine in ("add", "arbitrate")

    @property
    def reads_teacher(self) -> bool:
        """Whether the rule reads the teacher view; your own rule may."""
        blocks = SIGNALS[self.signal].teacher or any(GATES[g].teacher for g in self.gates)
        return self.rule != "none" and (self.rule != "hindsight" or blocks)

    @property
    def reads_facts(self) -> bool:
        """Whether the rule reads what the environment knows of a turn, such as the distance to the goal."""
        return self.rule not in ("none", "hindsight") or (self.rule == "hindsight" and SIGNALS[self.signal].facts)

    @property
    def reads_logps(self) -> bool:
        """Whether the rule may read log-probs, of any view."""
        facts = self.rule == "hindsight" and SIGNALS[self.signal].facts and not self.gates
        return self.rule != "none" and not facts

    @property
    def action_only(self) -> bool:
        """Whether only action tokens get a weight."""
        return self.level == "span" or self.tokens == "action"

    @property
    def couples(self) -> Over:
        """Scope inside which one turn's hindsight changes another turn's credit."""
        scopes: list[str] = ["turn", SIGNALS[self.signal].couples]
        if self.level == "trajectory" or self.normalize == "trajectory":
            scopes.append("trajectory")
        scopes += [GATES[g].couples for g in self.gates]
        scopes += [name.partition(":")[2] for name in (*self.scale, *self.rescale)]
        if self.rule != "hindsight" or self.control == "shuffled" or self.combine == "arbitrate":
            scopes.append("batch")
        widest: list[Over] = [over for over in OVERS if over in scopes]
        return widest[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Squashed:
    """The result of a credit rule, before it is mixed with 1."""

    weight: Tensor
    """(M,) float: c, the full hindsight weight (m at λ = 1); meaningless where `applies` is False."""
    applies: Tensor
    """(M,) bool: the token has hindsight evidence."""
    clipped: Tensor
    """(M,) bool: the clip changed the token's weight, or its turn's."""


def hindsight_weight(batch: TokenBatch, sign: Tensor, config: CreditConfig) -> Squashed:
    """Return the full hindsight weight of every token; `sign` (M,) is the sign of each token's base advantage."""
    signal = SIGNALS[config.signal]
    values, known = signal.read(batch, config.gamma)
    unit = units(batch, "turn" if signal.unit == "turn" else config.level)
    covered = known[unit.id] if signal.unit == "turn" else known
    covered = covered & batch.action_span if config.action_only else covered
    if signal.unit == "turn":
        pooled, has = values.double(), known
    else:
        values = torch.where(values.abs() < config.deadband, 0.0, values) if config.deadband else values
        pooled, has = _pool(batch, values, known, covered, unit, config)
    if config.control == "shuffled":
        pooled, has = _shuffled(pooled, has)
    for name in config.scale:
        kind, _, over = name.partition(":")
        pooled = scale(kind, pooled.double(), has, *parents(batch, unit, over))  # type: ignore[arg-type]
    dtype = batch.student_logp.dtype
    applies = covered & has[unit.id]
    weight, clipped = _squash(batch, unit.spread(pooled, dtype), sign, applies, unit, has, config)
    if config.level == "turn_token":
        share, share_clipped = _squash(batch, values.to(dtype), sign, applies, unit, has, config)
        mean = segment_mean(share, unit.id, unit.count, covered)
        weight = weight * share / unit.spread(mean, dtype).clamp_min(1e-30)
        clipped = clipped | share_clipped
    if config.normalize != "none":
        scope = units(batch, config.normalize)
        weight = mean_one(weight, scope.id, scope.count, applies)
    return Squashed(weight=weight, applies=applies, clipped=clipped)


def _pool(
    batch: TokenBatch, values: Tensor, known: Tensor, covered: Tensor, unit: Units, config: CreditConfig
) -> tuple[Tensor, Tensor]:
    """Return each unit's evidence (U,) and whether it has any (U,) bool."""
    if config.level == "token":
        return values, covered
    evidence = known & batch.action_span if config.evidence == "action" else known
    pool = segment_mean if config.reduce == "mean" else segment_sum
    return pool(values, unit.id, unit.count, evidence), segment_count(unit.id, unit.count, evidence) > 0


def _shuffled(x: Tensor, has: Tensor) -> tuple[Tensor, Tensor]:
    """Deal the evidence of all units that have some anew, from a seed that the evidence itself determines."""
    where = torch.nonzero(has).squeeze(1)
    seed = int((x[where].double().abs().sum() * 1e6).nan_to_num().item()) % (2**31)
    order = torch.randperm(where.shape[0], generator=torch.Generator().manual_seed(seed)).to(where.device)
    out = x.clone()
    out[where] = x[where[order]]
    return out, has


def _squash(
    batch: TokenBatch, x: Tensor, sign: Tensor, applies: Tensor, unit: Units, has: Tensor, config: CreditConfig
) -> tuple[Tensor, Tensor]:
    """Return the weight of evidence `x` (M,), clipped, and whether the clip changed it."""
    if config.shift:
        x = x - config.shift
    if config.slope != 1.0:
        x = x * config.slope
    if config.direction != "teacher":
        x = (-sign if config.direction == "against_outcome" else sign) * x
    if config.squash == "softmax":
        free = softmax_weight(x, batch.turn, batch.trajectory.shape[0], applies)
    else:
        free = SQUASHES[config.squash](x)
    for name in config.rescale:
        kind, _, over = name.partition(":")
        part = torch.zeros(unit.count, dtype=torch.float64, device=x.device)
        part[has] = (free[unit.first[has]] - 1.0).double()
        free = 1.0 + unit.spread(scale(kind, part, has, *parents(batch, unit, over)), x.dtype)  # type: ignore[arg-type]
    if config.clip is None:
        return free, torch.zeros_like(free, dtype=torch.bool)
    low = 1.0 - config.clip if config.clip_below else None
    bounded = free.clamp(low, 1.0 + config.clip)
    if config.pessimistic:
        bounded = torch.where(sign < 0, torch.maximum(free, bounded), torch.minimum(free, bounded))
    return bounded, bounded != free

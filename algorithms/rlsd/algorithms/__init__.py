"""Credit and losses as pure functions over tensors; `batch` defines the tables they read.

algorithm = resolve("rlsd")
credit = assign(batch, algorithm, step=0)                     # Credit: one final advantage per token
weights = token_weights(batch, algorithm.loss.aggregation)    # loss = Σ weights · token_loss(…).total
"""

from rlsd.algorithms.advantage import AdvantageConfig, CriticConfig, base_advantage, value_targets
from rlsd.algorithms.batch import Credit, TokenBatch
from rlsd.algorithms.config import (
    CONTEXTS,
    AlgorithmConfig,
    TeacherConfig,
    adds_credit,
    assign,
    loss_reads_teacher,
    needs_divergence,
    needs_reference,
    needs_teacher,
    reads_logps,
)
from rlsd.algorithms.credit import credit, load_rule, turns_that_matter
from rlsd.algorithms.distill import DistillConfig, distill_loss
from rlsd.algorithms.divergence import DIVERGENCES, chunked_divergence, divergence
from rlsd.algorithms.errors import AlgorithmError
from rlsd.algorithms.logprobs import chunked_logprobs
from rlsd.algorithms.loss import (
    LossConfig,
    LossInputs,
    LossTerms,
    clipped_share,
    denominator,
    importance_ratio,
    kl_k3,
    policy_loss,
    sampler_weights,
    token_loss,
)
from rlsd.algorithms.overrides import resolve
from rlsd.algorithms.presets import METHODS, PRESETS, Method
from rlsd.algorithms.rlsd import CreditConfig
from rlsd.algorithms.sampler_weight import masked, sampler_ratio, truncated
from rlsd.algorithms.schedule import Schedule, constant, linear
from rlsd.algorithms.targets import Target
from rlsd.algorithms.token_shares import distill_shares
from rlsd.algorithms.token_weights import AGGREGATIONS, token_weights

__all__ = [
    "AGGREGATIONS",
    "CONTEXTS",
    "DIVERGENCES",
    "METHODS",
    "PRESETS",
    "AdvantageConfig",
    "AlgorithmConfig",
    "AlgorithmError",
    "Credit",
    "CreditConfig",
    "CriticConfig",
    "DistillConfig",
    "LossConfig",
    "LossInputs",
    "LossTerms",
    "Method",
    "Schedule",
    "Target",
    "TeacherConfig",
    "TokenBatch",
    "adds_credit",
    "assign",
    "base_advantage",
    "chunked_divergence",
    "chunked_logprobs",
    "clipped_share",
    "constant",
    "credit",
    "denominator",
    "distill_loss",
    "distill_shares",
    "divergence",
    "importance_ratio",
    "kl_k3",
    "linear",
    "load_rule",
    "loss_reads_teacher",
    "masked",
    "needs_divergence",
    "needs_reference",
    "needs_teacher",
    "policy_loss",
    "reads_logps",
    "resolve",
    "sampler_ratio",
    "sampler_weights",
    "token_loss",
    "token_weights",
    "truncated",
    "turns_that_matter",
    "value_targets",
]

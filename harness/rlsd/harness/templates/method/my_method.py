"""my_method: GRPO whose advantage is weighted by hindsight, in turns that brought the goal nearer.

With A the advantage of an episode, Δ the mean over a turn's tokens of log π_teacher − log π_student, and s = sign(A):

    weight = 1 + tanh(s · Δ / τ)   in turns after which the environment's distance to the goal is smaller
    weight = 1                     in all other turns

The trainer mixes it in, m = 1 + λ (weight − 1), so m = 1 + λ tanh(s · Δ / τ), and a token's advantage is A · m.
"""

import torch

from rlsd.algorithms import Method, resolve
from rlsd.algorithms.segment_ops import segment_mean


def weigh(batch, advantage, tau=0.5):
    """The weight of each token.

    Args:
        batch: the iteration's tables (`rlsd.algorithms.batch.TokenBatch`): M tokens, K turns.
        advantage: (M,) of the tokens, before hindsight.
        tau: Δ in nats at which tanh has 76 % of its limit.

    Returns:
        (M,) weights, 1 where this rule has nothing to say.
    """
    gap = segment_mean(batch.gap, batch.turn, len(batch.trajectory))  # (K,) nats
    nearer = (batch.distance_after < batch.distance_before)[batch.turn]  # (M,)
    weight = 1 + torch.tanh(advantage.sign() * gap[batch.turn] / tau)
    return torch.where(nearer, weight.to(advantage.dtype), torch.ones_like(advantage))


METHOD = Method(
    summary="GRPO, weighted by hindsight in turns that brought the goal nearer",
    source="-",
    differs="-",
    test="test_my_method.py",
    config=resolve(
        {
            "name": "grpo",
            "contexts": ["plan"],
            "credit": {"rule": f"{__name__}:weigh", "options": {"tau": 0.5}, "lam": 1.0},
        }
    ),
)

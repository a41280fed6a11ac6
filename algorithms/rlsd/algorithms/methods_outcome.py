"""Methods that differ in what the outcome alone says of a turn: each a rule of `rlsd.algorithms.advantage`.

"Reconstruction" in `differs`: a part of the formula is not printed in the source; it says what stands in its place.
"""

from __future__ import annotations

from rlsd.algorithms.advantage import AdvantageConfig
from rlsd.algorithms.config import AlgorithmConfig
from rlsd.algorithms.loss import LossConfig
from rlsd.algorithms.method import NO_CREDIT, Method
from rlsd.algorithms.rlsd import CreditConfig
from rlsd.algorithms.schedule import constant

TEST = "tests/golden/test_methods_outcome.py"
TURN_MEAN = LossConfig(aggregation="turn", dual_clip=3.0)
AS_GIGPO = (
    "episode statistics over trajectories, theirs over turns; turn mean, theirs token mean; no reference KL (theirs "
    ".01), no penalty for invalid actions (theirs .1 on the row)"
)


def _row(name: str, advantage: AdvantageConfig, loss: LossConfig = TURN_MEAN) -> AlgorithmConfig:
    return AlgorithmConfig(name=name, advantage=advantage, credit=NO_CREDIT, loss=loss)


METHODS: dict[str, Method] = {
    "gigpo_similar": Method(
        summary="GiGPO whose states are observations that are nearly equal, for search and long pages",
        source="arXiv 2505.10978",
        differs="similarity .9 of the paper and of the search script, .95 by default in the code "
        "(advantage.similarity); episode statistics over trajectories, theirs over turns; turn mean, theirs token "
        "mean; no reference KL (theirs .001), no penalty for invalid actions (theirs .01 on the row)",
        test=TEST,
        config=_row("gigpo_similar", AdvantageConfig(method="gigpo", similarity=0.9)),
    ),
    "g2po": Method(
        summary="values of states pooled over the group; turns compared by where they lead and by what they gain",
        source="arXiv 2606.22995, Nala-YN/G2PO",
        differs=f"{AS_GIGPO}; a win pays its own return, theirs 10",
        test=TEST,
        config=_row("g2po", AdvantageConfig(method="g2po")),
    ),
    "gagpo": Method(
        summary="generalised advantages over turns, with the group's own visits to a state as its value",
        source="arXiv 2605.13217",
        differs="reconstruction: γ .95 and λ .95 are ours, theirs were not seen, and so are clip .2/.2, turn mean and "
        "no reference KL; their ratio of an action is GSPO's with a turn as its sequence",
        test=TEST,
        config=_row("gagpo", AdvantageConfig(method="gagpo"), LossConfig(policy="gspo", aggregation="turn")),
    ),
    "graph_hca": Method(
        summary="turns rewarded for raising the odds of success of the state they lead to, on a graph of the group",
        source="arXiv 2609.35084",
        differs="reconstruction: the potential and its standardised gain are printed; that it is added to the episode "
        "advantage with weight 1, the unbiased deviation, turn mean and no dual clip are ours",
        test=TEST,
        config=_row("graph_hca", AdvantageConfig(method="graph_hca"), LossConfig(aggregation="turn")),
    ),
    "beacon": Method(
        summary="turns rewarded for nearing the next milestone, among siblings with as many milestones behind them",
        source="arXiv 2605.06078, ZJU-REAL/BEACON",
        differs=f"{AS_GIGPO}; milestones are the environment's goal facts, theirs an expert's actions or flags; a "
        "milestone pays 1 as a win does, theirs 10 for both; γ .9 and weight 10 of their ALFWorld script: WebShop has "
        ".95 and 1",
        test=TEST,
        config=_row("beacon", AdvantageConfig(method="beacon", std=False, gamma=0.9, step_weight=10.0)),
    ),
    "proxmo": Method(
        summary="GiGPO with soft states: every turn of the group counts by how alike the observations are",
        source="arXiv 2602.19225, GithubX-F/ProxMO-RL",
        differs=f"{AS_GIGPO}; range .05 and α 4 of their scripts, .2 and 5 by default in the code; share of wins over "
        "trajectories, theirs a mean score over turns",
        test=TEST,
        config=_row("proxmo", AdvantageConfig(method="proxmo", std=False, modulation=0.05)),
    ),
    "ppo": Method(
        summary="generalised advantages over turns from a critic, a small head on the policy's hidden states",
        source="arXiv 1707.06347, arXiv 1506.02438",
        differs="values of turns from a linear head on detached hidden states, theirs of tokens from a model of its "
        "own; Monte-Carlo returns as targets, theirs λ-returns with a clip; γ .95 and λ .95 are ours, 1 and 1 in verl; "
        "turn mean, verl's token mean; no reference KL; dual clip 3 as in verl",
        test=TEST,
        config=_row("ppo", AdvantageConfig(method="gae")),
    ),
    "coars": Method(
        summary="plain REINFORCE on the rewards that follow, plus a bounded tenth of what hindsight says of a token",
        source="arXiv 2604.10029",
        differs="reconstruction: reward plus .1 times the clipped gap is printed; a sibling's win as hindsight stands "
        "for their interaction history, a single agent for their pair; undiscounted rewards are ours",
        test=TEST,
        config=AlgorithmConfig(
            name="coars",
            advantage=AdvantageConfig(method="reinforce", gamma=1.0),
            contexts=("successful_sibling",),
            credit=CreditConfig(
                level="token", combine="add", direction="teacher", squash="linear", clip=1.0, lam=constant(0.1)
            ),
            loss=LossConfig(policy="reinforce", aggregation="turn"),
        ),
    ),
}
"""Rows of `rlsd methods`."""

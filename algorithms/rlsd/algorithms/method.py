"""A named method, and settings that several of them share."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.algorithms.config import AlgorithmConfig, TeacherConfig
from rlsd.algorithms.loss import LossConfig
from rlsd.algorithms.rlsd import CreditConfig
from rlsd.algorithms.schedule import linear

NO_CREDIT = CreditConfig(rule="none")
RLSD_LAMBDA = linear(0.5, 0.0, 50)
VERL = LossConfig(dual_clip=3.0)
RLSD_PAPER = LossConfig(clip_low=0.2, clip_high=0.28, dual_clip=3.0)
SYNC_10 = TeacherConfig(weights="sync", every=10)

CREDIT_TEST = "tests/golden/test_credit_golden.py"
LOSS_TEST = "tests/algorithms/test_loss.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row of `rlsd methods`."""

    summary: str
    """One line."""
    source: str
    """Paper, by arXiv id."""
    differs: str
    """Differences from the source, and why; empty if there are none."""
    test: str
    """Test file, from the repository root."""
    config: AlgorithmConfig

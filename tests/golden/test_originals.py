"""Our functions equal the originals' on random tensors, to 1e-5 or better.

`originals.json` holds numbers alone: random batches, and what the released code of each method returned for them.
Commits: xlan156/verl-agent 8ca3a46 (HGPO, GiGPO, verl's losses), iie-ycx/RLSD 93e46f7 (RLSD, EasyR1's losses),
OliverLeeXZ/SERL 5a2a85b, ZethWang/AgentOPSD 0c478b2, ZJU-REAL/SDAR 8b85c23, siyan-zhao/OPSD 590ec26 (its element clip:
8ae338d).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import (
    AdvantageConfig,
    DistillConfig,
    LossConfig,
    LossInputs,
    TokenBatch,
    base_advantage,
    credit,
    divergence,
    resolve,
    token_loss,
)
from rlsd.algorithms.testing import toy_batch

ORIGINALS: dict[str, Any] = json.loads((Path(__file__).parent / "originals.json").read_text())
TOLERANCE = 1e-5


def batch_of(case: dict[str, Any]) -> TokenBatch:
    columns = dict(ORIGINALS["batches"][case["batch"]])
    columns["valid"] = case.get("valid", columns["valid"])
    return toy_batch(columns.pop("gaps"), **columns)


def cases(*kinds: str) -> list[Any]:
    chosen = [case for case in ORIGINALS["cases"] if case["kind"] in kinds]
    return [pytest.param(c, id=f"{c['kind']}-{c['batch']}-{c['settings']}") for c in chosen]


@pytest.mark.parametrize("case", cases("advantage"))
def test_base_advantages(case: dict[str, Any]) -> None:
    got = base_advantage(batch_of(case), AdvantageConfig.model_validate(case["settings"]))
    assert got.tolist() == pytest.approx(case["want"], abs=TOLERANCE), case["source"]


@pytest.mark.parametrize("case", cases("rlsd_token", "serl", "agent_opsd"))
def test_credit(case: dict[str, Any]) -> None:
    settings = dict(case["settings"])
    step = settings.pop("step", 0)
    config = resolve({"name": case["kind"], "credit": settings}).credit
    batch = batch_of(case)
    got = credit(batch, base_advantage(batch, AdvantageConfig()), config, step=step).advantage
    assert got.tolist() == pytest.approx(case["want"], abs=TOLERANCE), case["source"]


def column(name: str) -> Tensor:
    return torch.tensor(ORIGINALS["tokens"][name], dtype=torch.float64)


def losses(config: LossConfig, old: str = "old") -> tuple[float, list[float]]:
    """Return the token mean and its gradient in log π_new."""
    new = column("new").requires_grad_()
    inputs = LossInputs(
        new_logp=new,
        old_logp=column(old),
        advantage=column("advantage"),
        turn=column("turn").long(),
        reference_logp=column("reference"),
        teacher_logp=column("teacher"),
    )
    value = token_loss(inputs, config, step=0).total.mean()
    (gradient,) = torch.autograd.grad(value, new)
    return value.item(), gradient.tolist()


@pytest.mark.parametrize("case", ORIGINALS["losses"], ids=lambda case: case["source"])
def test_policy_losses_and_reference_kl(case: dict[str, Any]) -> None:
    value, gradient = losses(LossConfig.model_validate(case["settings"]))
    assert value == pytest.approx(case["value"], abs=1e-6)
    assert gradient == pytest.approx(case["gradient"], abs=1e-6)


def test_gate_of_sdar() -> None:
    """Its gate reads the current log-probs, ours those before the update: equal at the first step."""
    config = LossConfig(policy_coef=0.0, distill=DistillConfig.model_validate({"kind": "gate", "coef": 1.0}))
    value, gradient = losses(config, old="new")
    assert value == pytest.approx(ORIGINALS["sdar"]["value"], abs=1e-6)
    assert gradient == pytest.approx(ORIGINALS["sdar"]["gradient"], abs=1e-6)


@pytest.mark.parametrize("case", ORIGINALS["divergences"], ids=lambda c: f"{c['kind']}-{c['beta']}-{c['element_clip']}")
def test_divergences(case: dict[str, Any]) -> None:
    student, teacher = (torch.tensor(ORIGINALS["logits"][v], dtype=torch.float64) for v in ("student", "teacher"))
    student.requires_grad_()
    got = divergence(student, teacher, case["kind"], beta=case["beta"], element_clip=case["element_clip"])
    (gradient,) = torch.autograd.grad(got.sum(), student)
    assert got.tolist() == pytest.approx(case["value"], abs=1e-6)
    for row, want in zip(gradient.tolist(), case["gradient"], strict=True):
        assert row == pytest.approx(want, abs=1e-6)

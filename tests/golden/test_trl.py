"""Our distillation terms equal those of TRL's experimental SDPO and SDFT trainers, which share one file, to 1e-5.

`trl.json` holds numbers alone: tensors, and what TRL 1.16.0 returned for them. With the extra `trl`
installed its own functions are run too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsd.algorithms import DistillConfig, chunked_divergence, chunked_logprobs, distill_loss

TRL: dict[str, Any] = json.loads((Path(__file__).parent / "trl.json").read_text())
STUDENT, TEACHER, OLD = (torch.tensor(TRL[name], dtype=torch.float64) for name in ("student", "teacher", "old_logp"))
IDS = torch.tensor(TRL["ids"])
CASES = [
    pytest.param(c, id=f"{c['mode']}-{c['alpha']}-{'tail' if c['tail'] else 'renormalised'}-{c['ratio_cap']}")
    for c in TRL["cases"]
]


def config_of(case: dict[str, Any]) -> DistillConfig:
    cap = {"ratio_cap": case["ratio_cap"]}
    if case["mode"] == "sampled_token":
        return DistillConfig.model_validate({"kind": "sampled", **cap})
    ends = {0.0: "forward_kl", 1.0: "reverse_kl"}
    kind = {"kind": ends[case["alpha"]]} if case["alpha"] in ends else {"kind": "jsd", "beta": case["alpha"]}
    support = {"top_k": TRL["top_k"], "tail": case["tail"]} if case["mode"] == "topk_logits" else {}
    return DistillConfig.model_validate({**kind, **support, **cap})


def ours(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Losses (m,) and their gradient in the student's logits (m, V), through the chunks that training uses."""
    config, student = config_of(case), STUDENT.clone().requires_grad_()
    head = torch.nn.Identity()
    new = chunked_logprobs(student, head, IDS, chunk=4)[0]
    apart = None
    if config.full_vocabulary:
        kind: Any = config.kind
        apart = chunked_divergence(
            student, TEACHER, head, head, chunk=4, kind=kind, beta=config.beta, target=config.target
        )
    teacher = chunked_logprobs(TEACHER, head, IDS)[0]
    if config.kind == "sampled":  # TRL's factor is the present log-ratio, ours the one before the update
        config, old = config.model_copy(update={"ratio_cap": None}), new.detach()
        cap = 1.0 if case["ratio_cap"] is None else (new.detach() - OLD).exp().clamp_max(case["ratio_cap"])
    else:
        old, cap = OLD, 1.0
    loss = cap * distill_loss(config, new_logp=new, old_logp=old, teacher_logp=teacher, divergence=apart, hinted=None)
    return loss, torch.autograd.grad(loss.sum(), student)[0]


@pytest.mark.parametrize("case", CASES)
def test_recorded_numbers(case: dict[str, Any]) -> None:
    loss, gradient = ours(case)
    assert loss.tolist() == pytest.approx(case["loss"], abs=1e-5)
    wanted = torch.tensor(case["gradient"], dtype=torch.float64)
    torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("trainer", ["sdpo", "sdft"])
@pytest.mark.parametrize("case", CASES)
def test_the_installed_trl(case: dict[str, Any], trainer: str) -> None:
    trl = pytest.importorskip(f"trl.experimental.{trainer}.loss_utils")
    student, alpha = STUDENT[None].clone().requires_grad_(), case["alpha"]
    if case["mode"] == "topk_logits":
        loss = trl.compute_topk_self_distillation_loss(
            student,
            TEACHER[None],
            distillation_topk=TRL["top_k"],
            distillation_alpha=alpha,
            distillation_add_tail=case["tail"],
        )
    elif case["mode"] == "full_logits":
        loss = trl.compute_full_logit_self_distillation_loss(student, TEACHER[None], distillation_alpha=alpha)
    else:
        loss = trl.compute_sampled_token_self_distillation_loss(
            student, TEACHER[None], IDS[None], distillation_alpha=alpha
        )
    if case["ratio_cap"] is not None:
        new = student.log_softmax(-1).gather(-1, IDS[None, :, None]).squeeze(-1)
        loss = trl.apply_importance_sampling_clipping(loss, new, OLD[None], case["ratio_cap"])
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    mine = ours(case)
    torch.testing.assert_close(loss[0], mine[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient[0], mine[1], atol=1e-5, rtol=0)

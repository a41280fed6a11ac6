"""Updates, scores and checkpoints of a learner whose layers are split over processes, beside those of one process; run
by torchrun, tells the largest differences as one line of JSON.

python -m torch.distributed.run --nproc_per_node 2 -m tests.support.split_layers FOLDER TENSOR_PARALLEL CASE...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from rlsd.agents.hf.models import Policy, parameters
from rlsd.harness.config import LearnerConfig, LoraConfig
from rlsd.harness.distributed import Ranks, held, open_ranks, whole
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.iteration.policies import with_lora
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.teacher import Teacher
from rlsd.harness.runs import checkpoint
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import Row, joint_rows, numbered_from, student_rows
from rlsd.harness.scoring.tables import token_count
from tests.support.worlds import Played

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LORA = LoraConfig(rank=4, alpha=8)
CASES: dict[str, tuple[Any, dict[str, Any], LoraConfig | None, dict[str, Any]]] = {
    "llama": (LlamaConfig, {"tie_word_embeddings": True}, None, {}),
    "llama-biases-recompute": (LlamaConfig, {"attention_bias": True}, None, {"gradient_checkpointing": True}),
    "qwen2": (Qwen2Config, {"tie_word_embeddings": False}, None, {"cpu_offload": True}),
    "qwen3": (Qwen3Config, {"head_dim": 16, "tie_word_embeddings": True}, None, {"packing": True}),
    "llama-lora": (LlamaConfig, {"tie_word_embeddings": True}, LORA, {}),
    "qwen3-lora": (Qwen3Config, {"head_dim": 16}, LoraConfig(rank=4, targets=["q_proj", "o_proj", "gate_proj"]), {}),
    "low": (LlamaConfig, {}, None, {"precision": "bfloat16"}),
}
"""Class, its settings beside `SIZES`, adapter, the learner's settings."""


def policy_of(played: Played, case: str) -> Policy:
    """A model of two key-value heads for four heads, biases and norms not at their initial values."""
    kind, shape, lora, _ = CASES[case]
    tokenizer = played.policy.tokenizer
    shape = {**SIZES, "num_key_value_heads": 2, "max_position_embeddings": 4096, **shape}
    torch.manual_seed(4)
    config = kind(vocab_size=len(tokenizer), **shape)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    policy = with_lora(replace(played.policy, model=model.eval()), lora, seed=0)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return policy


def learner_of(played: Played, case: str, ranks: Ranks, **settings: Any) -> Learner:
    made = LearnerConfig.model_validate({"lr": 1e-3, "micro_batch_tokens": 600, "grad_clip": 0.05, **settings})
    return Learner(policy_of(played, case), made, temperature=1.3, ranks=ranks)


def updated(learner: Learner, rows: Sequence[Row], total: int) -> list[tuple[float, float]]:
    """Loss and gradient norm of two updates."""
    weights = torch.linspace(-1, 1, total) / 30
    done = [learner.update(rows, lambda part: (weights[part.flat] * part.logp).sum()) for _ in range(2)]
    return [(stats.loss, stats.grad_norm) for stats in done]


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: whole(p.grad) for name, p in learner.model.named_parameters() if p.grad is not None}


def apart(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert mine.keys() == theirs.keys()
    return max(float((whole(mine[name]) - theirs[name]).abs().max()) for name in theirs)


def compared(played: Played, case: str, size: int, folder: Path, ranks: Ranks) -> dict[str, Any]:
    total, trajectories = token_count(played.trajectories), played.trajectories
    rows = student_rows(trajectories)
    hints = HintSettings(contexts=("plan",), max_tokens=400)
    made = Hinter(hints, played.format, context=4096, max_new_tokens=8).build(played.groups).insertions
    hinted = joint_rows(trajectories, numbered_from(total, trajectories, made))
    split = {**CASES[case][3], "parallel": "fsdp2", "tensor_parallel": size, "processes": ranks.world}
    one, many = learner_of(played, case, Ranks()), learner_of(played, case, ranks, **split)
    teachers = [Teacher(x.tokens, "ema", replica=x.replica, tau=0.3) for x in (one, many)]
    want, got = updated(one, rows, total), updated(many, rows[many.data.rank :: many.data.world], total)
    for teacher in teachers:
        teacher.after_iteration(1)
    many.publish()
    plain = dict(many.policy.model.named_parameters())
    scored = Scorer(many.tokens, many.settings, many.data).logprobs(hinted, 2 * total).logp
    expected = Scorer(one.tokens, one.settings, one.ranks).logprobs(hinted, 2 * total).logp
    assert bool((scored.isnan() == expected.isnan()).all())
    moments, counts = many.optimizer_state()
    state = {"model": many.weights(), "optimizer": moments, "teacher": teachers[1].state()}
    checkpoint.save(folder / case, state, {"counts": counts}, ranks)
    stored, _ = checkpoint.load(folder / case, ranks)
    again = learner_of(played, case, ranks, **split)
    again.load(stored["model"], stored["optimizer"], counts)
    with torch.no_grad():
        parts = [(held(value)[0], dict(again.weights())[name]) for name, value in many.weights().items()]
    return {
        "loss": max(abs(a[0] - b[0]) for a, b in zip(want, got)),
        "norm": max(abs(a[1] / b[1] - 1) for a, b in zip(want, got)),
        "clipped": min(norm for _, norm in want) > one.settings.grad_clip,
        "gradients": apart(gradients(many), gradients(one)),
        "weights": apart(many.weights(), one.weights()),
        "moments": apart(moments, one.optimizer_state()[0]),
        "teacher": apart(teachers[1].state(), teachers[0].state()),
        "logp": float((scored - expected).abs().nan_to_num().max()),
        "published": all(torch.equal(plain[name], whole(value)) for name, value in many.weights().items()),
        "stored": all(torch.equal(stored["model"][name], whole(value)) for name, value in many.weights().items())
        and all(torch.equal(stored["optimizer"][name], whole(value)) for name, value in moments.items()),
        "restored": all(torch.equal(mine, held(other)[0]) for mine, other in parts),
        "trained": sorted(many.weights()) == sorted(one.weights()),
        "sharded": all(isinstance(p, DTensor) for p in many.model.parameters()),
        "share": sum(held(p)[0].numel() for p in many.model.parameters()) / parameters(one.model),
    }


def main() -> None:
    folder, size, cases = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ranks = open_ranks("cpu", processes=None, timeout_s=300)
    played = Played("compact", memory="full", siblings=2)
    found = ranks.gather({case: compared(played, case, size, folder, ranks) for case in cases})
    if ranks.main:
        print(json.dumps(found))
    ranks.close()


if __name__ == "__main__":
    main()

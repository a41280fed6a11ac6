"""The in-process sampler as configs ask for it: a copy in lower precision, models it cannot do, memory that is full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from rlsd.agents.hf.abilities import sliding_window
from rlsd.agents.hf.models import save_policy, split_head
from rlsd.agents.hf.out_of_memory import MemoryFull
from rlsd.agents.hf.sampler import HFSampler
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration
from tests.support.plain_worlds import odd_tokens
from tests.support.smallest_run import small_run

BASE = small_run(
    model={"tiny": {"layers": 2, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}},
)


def parts_of(**blocks: Any) -> Parts:
    return build(parse_config({**BASE, **blocks}))


def test_a_copy_in_half_precision_follows_the_weights() -> None:
    parts = parts_of(sampler={"dtype": "bfloat16"})
    sampler = parts.sampler
    assert isinstance(sampler, HFSampler)
    assert {p.dtype for p in sampler.model.parameters()} == {torch.bfloat16}
    assert {b.dtype for n, b in sampler.model.named_buffers() if "inv_freq" in n} == {torch.float32}
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    for step in range(2):
        metrics = iteration.run(step).metrics
        assert metrics["updates"] == 1
        assert 1e-5 < metrics["sampler_gap_mean"] < 0.05, "rounded, and of the present weights"
        assert metrics["staleness"]["max"] == 0
    iteration.close()
    assert {p.dtype for p in parts.policy.model.parameters()} == {torch.float32}
    for mine, theirs in zip(sampler.model.parameters(), parts.policy.model.parameters(), strict=True):
        assert torch.equal(mine, theirs.to(torch.bfloat16))


def sliding(folder: Path, window: int) -> Path:
    """A model whose layers look back `window` tokens."""
    policy = parts_of().policy
    c = policy.model.config
    config = MistralConfig(
        vocab_size=c.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=window,
        bos_token_id=None,
        eos_token_id=c.eos_token_id,
        pad_token_id=c.pad_token_id,
    )
    save_policy(replace(policy, model=MistralForCausalLM(config)), folder)
    return folder


def test_a_window_shorter_than_the_context_is_refused(tmp_path: Path) -> None:
    folder = sliding(tmp_path, 256)
    with pytest.raises(ConfigError, match=r"slides over 256 tokens.*context of 512: set agent\.context=256 or sampler"):
        parts_of(model={"path": str(folder)})
    short = parts_of(model={"path": str(folder)}, agent={**BASE["agent"], "context": 256})
    assert sliding_window(short.policy.model) == 256
    assert sliding_window(parts_of().policy.model) is None
    with pytest.raises(ConfigError, match="slides over 256 tokens"):
        run_eval(
            EvalRequest(env="rlsd/ALFWorld-v0", agent=f"hf:{folder}", env_kwargs={"games": "gen-tiny"}), quiet=True
        )


def test_sampling_that_does_not_fit_is_one_clear_error() -> None:
    parts = parts_of()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    split_head(parts.policy.model)[0].register_forward_pre_hook(full)
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    with pytest.raises(
        MemoryFull, match=r"sampling: 8 slots with 4 requests .*lower rollout\.max_concurrent or agent\.context"
    ):
        iteration.run(0)
    iteration.close()


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(ConfigError, match="--device is 'cuda' but torch sees no CUDA device"):
        run_eval(EvalRequest(env="rlsd/ALFWorld-v0", agent="hf:checkpoints/warm_tiny", device="cuda"), quiet=True)
    with pytest.raises(ConfigError, match="--device is for agents that run here"):
        run_eval(EvalRequest(env="rlsd/ALFWorld-v0", agent="random", device="cpu"), quiet=True)

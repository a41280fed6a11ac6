"""The probe when a model loads: log-probs that would be wrong are refused in one line, others are left alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from benchmarks.tiny_architectures import ARCHITECTURES, CONTEXT, tiny
from rlsd.agents.hf.models import ModelError, save_policy
from rlsd.envs.errors import RlsdError
from rlsd.harness.config import ConfigError, LearnerConfig, parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.scoring.fit import check_sampler, fit_learner
from rlsd.harness.scoring.masks import collate
from rlsd.harness.scoring.probe import cache_folder, probe
from rlsd.harness.scoring.sequences import Branch, Place, Row
from rlsd.harness.scoring.small_model import CUTS, make_small, small_config
from rlsd.harness.scoring.ways import LONGEST, WAYS, play
from tests.support.smallest_run import small_run

ROOT = Path(__file__).resolve().parents[3]
EVERY, NONE, ALONE = set(WAYS), set[str](), {"plain", "packing"}
EXACT = {
    "Llama": EVERY,
    "GPT-2": EVERY,
    "DeepSeek V3 (MLA)": EVERY,
    "Llama, dynamic RoPE": EVERY,
    "Phi-3, longrope, context below its switch": EVERY,
    "Phi-3, longrope, context above its switch": NONE,
    "Mistral, window as long as the context": EVERY,
    "Gemma 3, multimodal": ALONE,
    "GPT-Neo": {"plain"},
    "BLOOM": {"plain"},
    "Mamba-2": {"plain"},
    "Doge": NONE,
}
"""Ways that are exact, by architecture; the whole table is `benchmarks/architectures.py`."""


@pytest.mark.parametrize("name", EXACT)
def test_what_the_probe_says_is_what_the_model_itself_measures(name: str) -> None:
    model = tiny(ARCHITECTURES[name])
    said, measured = probe(model, context=CONTEXT), play(model, seed=3)
    assert {way for way in WAYS if said[way].exact} == EXACT[name]
    assert {way for way in WAYS if measured[way].exact} >= EXACT[name], "nothing passes that is silently wrong"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "Gemma 3, multimodal",
            r"slides over 32 tokens.*context of 128: set agent\.context=32 or sampler",
        ),
        ("Mamba-2", r"not work with Mamba2ForCausalLM: .*; set sampler\.backend=vllm$"),
        ("GPT-Neo", r"not work with GPTNeoForCausalLM: .*; set sampler\.backend=vllm$"),
        ("Qwen3.5", r"not work with Qwen3_5ForCausalLM: it has layers with a recurrent state"),
        ("RWKV", r"not work with RwkvForCausalLM: up to \d\S* nats off; set sampler\.backend=vllm$"),
    ],
)
def test_a_model_that_the_sampler_gets_wrong_is_refused_with_what_works(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        check_sampler(tiny(ARCHITECTURES[name]), context=CONTEXT)
    assert "\n" not in str(refused.value)


def test_what_is_recommended_instead_works() -> None:
    check_sampler(tiny(ARCHITECTURES["Gemma 3, multimodal"]), context=32)
    fit = fit_learner(tiny(ARCHITECTURES["Doge"]), LearnerConfig(), context=32)
    assert fit.masks
    assert not fit.notes


def test_a_model_whose_batches_are_wrong_cannot_be_trained() -> None:
    model = tiny(ARCHITECTURES["Phi-3, longrope, context above its switch"])
    with pytest.raises(ModelError, match=r"Phi3ForCausalLM cannot be trained.*nats off\); set agent\.context=64$"):
        fit_learner(model, LearnerConfig(), context=CONTEXT)
    with pytest.raises(ModelError, match=r"Gemma2ForCausalLM cannot be trained.*nats off\); take another model$"):
        fit_learner(tiny(ARCHITECTURES["Gemma 2, capped logits"]), LearnerConfig(), context=CONTEXT)


def test_rows_that_mix_up_their_views_are_taken_apart_and_one_line_says_so() -> None:
    model = tiny(ARCHITECTURES["Mistral, window"])
    fit = fit_learner(model, LearnerConfig(), context=CONTEXT)
    assert not fit.masks
    assert not fit.settings.prefix_sharing
    (note,) = fit.notes
    assert note.startswith("MistralForCausalLM does not keep the views in one row apart (up to ")
    assert fit_learner(model, LearnerConfig(), context=32).settings == LearnerConfig(), (
        "no view is longer than the window"
    )
    assert not fit_learner(tiny(ARCHITECTURES["Llama"]), LearnerConfig(), context=CONTEXT).notes


def test_packing_is_refused_where_pieces_mix() -> None:
    with pytest.raises(
        ConfigError, match=r"packing does not work with Mamba2ForCausalLM: .*; set learner\.packing=false"
    ):
        fit_learner(tiny(ARCHITECTURES["Mamba-2"]), LearnerConfig(packing=True), context=CONTEXT)
    fit = fit_learner(tiny(ARCHITECTURES["Mistral, window"]), LearnerConfig(packing=True), context=CONTEXT)
    assert fit.settings.packing


def test_a_run_with_a_recurrent_model_is_refused_before_it_starts(tmp_path: Path) -> None:
    policy = build(parse_config(small_run())).policy
    size = len(policy.tokenizer)
    model = tiny(ARCHITECTURES["Mamba-2"], vocab_size=size, eos_token_id=policy.tokenizer.eos_token_id)
    save_policy(replace(policy, model=model), tmp_path)
    with pytest.raises(ConfigError, match=r"sampler in this process does not work with Mamba2ForCausalLM"):
        build(parse_config(small_run(model={"tiny": None, "path": str(tmp_path), "attention": "eager"})))


def test_the_probe_uses_no_random_state_of_others_and_leaves_the_model_alone() -> None:
    model = tiny(ARCHITECTURES["Llama"]).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    play(model)
    small = make_small(model, small_config(model, CONTEXT, ("layers",)), "sdpa")
    again = make_small(model, small_config(model, CONTEXT, ("layers",)), "sdpa")
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for mine, theirs in zip(small.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_small_model_has_every_kind_of_layer_and_little_else() -> None:
    config = {"hidden_size": 768, "intermediate_size": 4096, "vocab_size": 5000, "num_attention_heads": 12}
    config |= {"num_key_value_heads": 4, "num_hidden_layers": 6, "head_dim": 64}
    kinds = ["sliding_attention"] * 3 + ["full_attention"] + ["sliding_attention"] * 2
    model = tiny(ARCHITECTURES["OLMo 3"], layer_types=kinds, **config)
    small = make_small(model, small_config(model, CONTEXT, CUTS[0]), "sdpa").config
    assert small.layer_types == kinds[:4]
    assert small.sliding_window == 16
    assert (small.num_attention_heads, small.num_key_value_heads, small.hidden_size) == (4, 2, 128)
    assert (small.vocab_size, small.intermediate_size, small.max_position_embeddings) == (160, 64, LONGEST)


def test_a_result_is_read_again_and_a_damaged_one_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh(folder: str) -> Path:
        monkeypatch.setenv("RLSD_CACHE", str(tmp_path / folder))
        return tmp_path / folder / "probe"

    model, found = tiny(ARCHITECTURES["Llama"]), fresh("first")
    truth = probe(model, context=CONTEXT)
    (file,) = found.iterdir()
    kept = json.loads(file.read_text())
    for name, text in (("hit", json.dumps({**kept, "shared": {"largest": 7.0, "error": None}})), ("damaged", '{"sam')):
        fresh(name).mkdir(parents=True)
        copy = fresh(name) / file.name
        copy.write_text(text)
        assert probe(model, context=CONTEXT)["shared"].largest == (7.0 if name == "hit" else truth["shared"].largest)
        assert (json.loads(copy.read_text()) == kept) == (name == "damaged")
    (tmp_path / "file").write_text("")
    fresh("file/under")
    assert probe(model, context=CONTEXT) == truth, "a folder that cannot be written is no error"
    assert cache_folder() == tmp_path / "file" / "under"


def test_models_of_other_sizes_share_a_result_and_other_kinds_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLSD_CACHE", str(tmp_path))
    for changes in ({}, {"vocab_size": 999, "intermediate_size": 128, "max_position_embeddings": 4096}):
        probe(tiny(ARCHITECTURES["Llama"], **changes), context=CONTEXT)
    assert len(list((tmp_path / "probe").iterdir())) == 1
    probe(tiny(ARCHITECTURES["Llama, eager"]), context=CONTEXT)
    assert len(list((tmp_path / "probe").iterdir())) == 2


def test_padding_has_the_position_of_the_last_token() -> None:
    short = Row(ids=(1, 2, 3), places=(Place(column=2, flat=0, count=1),))
    branch = Branch(start=4, stop=6, fork=2)
    long = Row(ids=(1, 2, 3, 4, 5, 6), places=(Place(column=5, flat=1, count=1),), branches=(branch,))
    assert collate([short, long])[1].tolist() == [[0, 1, 2, 2, 2, 2], [0, 1, 2, 3, 2, 3]]
    assert collate([short, replace(long, branches=())])[1].tolist() == [[0, 1, 2, 3, 4, 5]] * 2, (
        "plain causal attention"
    )


def test_a_model_with_learned_positions_is_exact_up_to_its_last_one() -> None:
    def made(positions: int) -> Any:
        return GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=1, n_head=2, n_positions=positions)).eval()

    assert all(way.exact for way in play(made(LONGEST)).values())
    with pytest.raises(IndexError):
        play(made(LONGEST - 1))


def test_a_model_that_cannot_run_at_all_is_one_line() -> None:
    class Broken(LlamaForCausalLM):
        def forward(self, *_: object, **__: object) -> Any:
            raise ValueError("no\nway")

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with pytest.raises(RlsdError, match=r"^Broken cannot be tried out: its forward pass raises ValueError: no way"):
        probe(Broken(config), context=64)


class Rounding(LlamaForCausalLM):
    """A model whose hidden states depend on the size of the batch by some thousand times the rounding of its dtype."""

    strength = 3e3

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model.register_forward_hook(self.rounded)

    def rounded(self, _: object, __: object, output: Any) -> Any:
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden * (1 + self.strength * torch.finfo(hidden.dtype).eps * len(hidden))
        return output


class Wrong(Rounding):
    strength = 3e6


def test_a_small_difference_that_float64_removes_is_rounding() -> None:
    config = LlamaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    assert (
        play(make_small(Rounding(config), small_config(Rounding(config), 64, CUTS[0]), "sdpa"))["plain"].largest > 1e-4
    )
    assert probe(Rounding(config), context=64)["plain"].exact
    assert not probe(Wrong(config), context=64)["plain"].exact


@pytest.mark.slow
def test_no_architecture_is_silently_wrong() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/architectures.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, result["silently_wrong"], result["tracebacks"]) == (0, 0, 0), done.stdout
    assert result["architectures"] >= 40
    assert result["exact_in_every_way"] >= 40

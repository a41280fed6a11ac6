"""The policy of a run: a model folder, another run's best weights or a tiny model made for it, with any adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlsd.agents.hf.models import ModelError, Policy, load_policy
from rlsd.agents.seeding import derive
from rlsd.envs.errors import closest
from rlsd.harness import manifest
from rlsd.harness.config import ConfigError, LoraConfig, RunConfig
from rlsd.harness.tiny_model import tiny_model


def load_or_make(config: RunConfig, model_path: str | None = None, *, device: str) -> Policy:
    """The policy a config names.

    Raises:
        ModelError: it cannot be loaded; a run's best weights are not those that were written.
    """
    path = model_path or config.model.path
    if path is not None:
        place = model_place(path)
        check_weights(place)
        return load_policy(
            place,
            dtype=config.model.dtype,
            device=device,
            attention=config.model.attention,
            four_bits=config.model.lora is not None and config.model.lora.quantize is not None,
        )
    assert config.model.tiny is not None
    return tiny_model(config.model.tiny, config.env, expert=config.sft.expert, seed=config.seed, device=device)


def model_place(path: str) -> str | Path:
    """The folder that `model.path` means, or a hub name."""
    folder = Path(path)
    if (folder / "config.yaml").is_file():  # a run directory
        folder = folder / "best" if (folder / "best").is_dir() else folder
    return folder if folder.exists() else path


def check_weights(folder: str | Path, *, name: Path | None = None) -> None:
    """Compare a folder with its manifest, if it has one, as a run's best/ does from 0.3 on.

    Args:
        name: what errors call the folder.

    Raises:
        ModelError: a file differs.
    """
    folder = Path(folder).expanduser()
    if (folder / manifest.MANIFEST).exists() and (found := manifest.problem(folder)):
        raise ModelError(
            f"{name or folder} {found}; `rlsd export RUN FOLDER --last` writes the newest checkpoint's weights instead"
        )


def with_lora(policy: Policy, lora: LoraConfig | None, *, seed: int) -> Policy:
    """The policy with a new adapter; as it is without `lora`.

    Raises:
        ConfigError: peft is missing; a target that the model does not have, or that shares its weights with another
            layer, where an adapter cannot be merged.
    """
    if lora is None:
        return policy
    try:
        import peft
    except ImportError as error:
        raise ConfigError("model.lora needs the package peft: pip install 'rlsd[lora]'") from error
    torch.manual_seed(derive(seed, "lora"))
    settings = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM")
    _check_targets(policy.model, lora)
    wrapped = peft.get_peft_model(policy.model, settings)
    return Policy(model=wrapped, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context)


def _check_targets(model: Any, lora: LoraConfig) -> None:
    """PEFT gives an adapter to every layer whose name is a target, or ends with a dot and one."""
    if lora.targets == "all-linear":
        return  # leaves the output embedding out
    layers = {name: layer for name, layer in model.named_modules() if name}
    embeddings = [model.get_input_embeddings(), model.get_output_embeddings()]
    tied = embeddings[0].weight is embeddings[1].weight
    for target in lora.targets:
        chosen = [layer for name, layer in layers.items() if f".{name}".endswith(f".{target}")]
        if not chosen:
            known = {name.rpartition(".")[2] for name, layer in layers.items() if hasattr(layer, "weight")}
            raise ConfigError(f"model.lora.targets: the model has no layer {target!r}{closest(target, known)}")
        if tied and any(layer is embedding for layer in chosen for embedding in embeddings):
            raise ConfigError(
                f"model.lora.targets: {target!r} is an embedding that this model ties to the other one "
                "(tie_word_embeddings), so that an adapter of one could not be merged: leave it out"
            )

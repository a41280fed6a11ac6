"""A teacher that is another model: it must read the student's token ids as the student does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlsd.agents.hf.models import Policy, load_policy, load_tokenizer
from rlsd.harness.config import ConfigError, RunConfig

KEY = "algorithm.teacher.path"


def check_external(teacher: str | Path | None, student: str | Path | None) -> None:
    """Refuse an external teacher that cannot be used, as far as one can tell before a model loads.

    Args:
        teacher: where its model lies; None if the config names none.
        student: likewise; None for a model made from scratch.

    Raises:
        ConfigError: no path, nothing to read there, or another tokenizer than the student's.
    """
    if teacher is None:
        raise ConfigError(f"algorithm.teacher.weights is external: name its model, --set {KEY}=FOLDER")
    theirs = load_tokenizer(teacher)
    if theirs is None:
        raise ConfigError(
            f"{KEY}: no tokenizer can be read from {str(teacher)!r}; give a transformers folder, a hub name or a run "
            "directory"
        )
    ours = None if student is None else load_tokenizer(student)
    if ours is not None:
        _same_tokenizer(ours, theirs, str(teacher))


def load_external(
    config: RunConfig, student: Policy, teacher: str | Path, *, context: int, device: str | torch.device
) -> Any:
    """The external teacher's causal LM.

    Args:
        context: longest sequence in tokens that it must take.

    Raises:
        ConfigError: another tokenizer than the student's, a shorter context, or, where whole distributions are
            compared, another number of logits.
        ModelError: it cannot be loaded.
    """
    _same_tokenizer(student.tokenizer, load_tokenizer(teacher), str(teacher))
    model = config.model
    policy = load_policy(teacher, dtype=model.dtype, device=device, attention=model.attention)
    if policy.context < context:
        raise ConfigError(
            f"{KEY}: {str(teacher)!r} takes {policy.context} tokens, but episodes may have {context}; set "
            f"agent.context={policy.context}"
        )
    ours, theirs = _logits(student.model), _logits(policy.model)
    if ours != theirs and config.algorithm.loss.distill.full_vocabulary:
        raise ConfigError(
            f"{KEY}: {str(teacher)!r} has {theirs} logits and the student {ours}: whole distributions cannot be "
            "compared; use a distill.kind of sampled tokens, or credit"
        )
    return policy.model


def _logits(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _same_tokenizer(ours: Any, theirs: Any, path: str) -> None:
    mine, other = ours.get_vocab(), theirs.get_vocab()
    different = sorted(token for token in mine.keys() | other.keys() if mine.get(token) != other.get(token))
    if different:
        token = different[0]
        raise ConfigError(
            f"{KEY}: {path!r} has another tokenizer: {len(different)} of {len(mine)} tokens differ, e.g. {token!r} is "
            f"{mine.get(token, 'absent')} for the student and {other.get(token, 'absent')} there; the teacher reads "
            "the student's token ids, so give a model with the same vocabulary"
        )

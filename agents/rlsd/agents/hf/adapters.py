"""Folders that hold a PEFT adapter alone: loaded onto its base model, and merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rlsd.agents.hf.policy import ModelError, Policy

ADAPTER = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter and no whole model."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """The folder (or hub name) of the model that the adapter in `folder` belongs to. A relative one is looked up in
    `folder` first.

    Raises:
        ModelError: the adapter does not say, or there is no such folder.
    """
    try:
        named = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / ADAPTER} cannot be read: {error}") from error
    if not named:
        raise ModelError(
            f"{folder} is an adapter without the name of its base model: set base_model_name_or_path in {ADAPTER}, "
            "or export the run without --adapter"
        )
    inside = folder / str(named)
    if inside.is_dir():
        return str(inside)
    if str(named).startswith((".", "/", "~")) and not Path(named).expanduser().is_dir():
        raise ModelError(
            f"{folder} is an adapter of {named}, which is not there: set base_model_name_or_path in {ADAPTER} to "
            "where that model is, or export the run without --adapter"
        )
    return str(named)


def merged(base: Policy, folder: Path) -> Policy:
    """The policy `base` with the adapter in `folder` merged into its weights.

    Raises:
        ModelError: peft is missing, or the adapter does not fit.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(f"{folder} is an adapter, which needs the package peft: pip install 'rlsd[lora]'") from error
    try:
        adapted = PeftModel.from_pretrained(base.model, folder, trust_remote_code=False)
        return replace(base, model=adapted.merge_and_unload().eval())
    except Exception as error:  # whatever peft raises about a damaged or foreign adapter
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ModelError(f"cannot load the adapter in {folder}: {reason}") from error

"""The policy's weights as a plain transformers folder, with a note of how its agent was prompted."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from rlsd.agents.hf import quantized
from rlsd.agents.hf.models import Policy, save_policy
from rlsd.agents.prompt_file import is_inline
from rlsd.harness.config import AgentConfig
from rlsd.harness.config.profile import NOTE, PROMPTS, read_note
from rlsd.harness.learner.finite import broken_weight
from rlsd.harness.learner.step import WeightError

ENDING = ".jinja"
"""Of the copies of the run's prompt files, which are called as their settings."""


def save_merged(policy: Policy, folder: Path, agent: AgentConfig, *, step: int | None = None) -> None:
    """Write the policy with any LoRA adapter merged into its weights, and 4-bit ones as the numbers they stand for; the
    policy itself is unchanged.

    Raises:
        WeightError: a weight is infinite or NaN; nothing is written.
    """
    model = policy.model
    if getattr(model, "is_loaded_in_4bit", False):
        model = quantized.dense(model)
    elif hasattr(model, "merge_adapter"):
        model = copy.deepcopy(model).merge_and_unload()
    if broken := broken_weight(model):
        raise WeightError(f"a weight is infinite or NaN: {broken}")
    save_policy(
        Policy(model=model, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context),
        folder,
    )
    write_note(agent, folder, step=step)


def write_note(agent: AgentConfig, folder: Path, *, step: int | None = None) -> None:
    """Record in `NOTE` how these weights were prompted, for whatever plays them, and how long they were trained."""
    values = {"format": agent.format, **agent.model_dump(exclude_defaults=True)}
    for key in PROMPTS:
        if key in values and not is_inline(values[key]):
            shutil.copyfile(values[key], folder / (key + ENDING))
            values[key] = key + ENDING
    note = {"agent": values} if step is None else {"agent": values, "step": step}
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def noted_step(folder: str | Path) -> int | None:
    """Iterations that the weights in `folder` were trained, if their note says so."""
    try:
        return int(json.loads((Path(folder) / NOTE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def noted_agent(folder: str | Path) -> dict[str, Any]:
    """Settings of the `agent` block that the weights in `folder` were trained with; {} without a note.

    Raises:
        ConfigError: the note cannot be read.
    """
    try:
        return read_note(Path(folder) / NOTE)
    except (FileNotFoundError, NotADirectoryError):
        return {}

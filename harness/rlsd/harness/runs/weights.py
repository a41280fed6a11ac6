"""The policy's weights as a plain transformers folder, with a note of how its agent was prompted."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from rlsd.agents.hf.models import Policy, save_policy
from rlsd.harness.config import ConfigError
from rlsd.harness.config.blocks import AgentConfig
from rlsd.harness.learner.finite import broken_weight
from rlsd.harness.learner.step import WeightError

NOTE = "rlsd.json"
"""File in a folder of weights: {"agent": the format, and every other setting of their run's
`agent` block that differs from the default, "step": iterations of training, if known}."""
PROMPT = "prompt.jinja"
"""Name of the copy of the run's prompt file."""


def save_merged(policy: Policy, folder: Path, agent: AgentConfig, *, step: int | None = None) -> None:
    """Write the policy with any LoRA adapter merged into its weights; the policy itself is unchanged.

    Raises:
        WeightError: a weight is infinite or NaN; nothing is written.
    """
    model = policy.model
    if hasattr(model, "merge_adapter"):
        model = copy.deepcopy(model).merge_and_unload()
    if broken := broken_weight(model):
        raise WeightError(f"a weight is infinite or NaN: {broken}")
    save_policy(
        Policy(model=model, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context),
        folder,
    )
    write_note(agent, folder, step=step)


def write_note(agent: AgentConfig, folder: Path, *, step: int | None = None) -> None:
    """Record how these weights were prompted, for whatever plays them, and how many iterations they were trained."""
    values = {"format": agent.format, **agent.model_dump(exclude_defaults=True)}
    if agent.prompt is not None:
        shutil.copyfile(agent.prompt, folder / PROMPT)
        values["prompt"] = PROMPT
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
    path = Path(folder) / NOTE
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); fix it, or delete it and give --set agent.…") from error
    agent = note.get("agent") if isinstance(note, dict) else None
    if not isinstance(agent, dict):
        raise ConfigError(f'{path} is not a note of rlsd: expected {{"agent": {{…}}}}; fix or delete it')
    if "format" not in agent and "style" not in agent:
        agent = {"format": "think", **agent}  # the default of the version that left it out
    if "prompt" in agent:
        agent = {**agent, "prompt": str(path.with_name(str(agent["prompt"])))}
    return agent

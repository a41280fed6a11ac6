"""A run's weights as a plain transformers folder, with a note of how its agent was prompted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rlsd.agents.hf.models import Policy, save_policy
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.config.blocks import AgentConfig
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.rundir import RunDir, RunError, load_run_config

NOTE = "rlsd.json"
"""File in a folder of weights: {"agent": the format, and every other setting of their run's
`agent` block that differs from the default}."""
PROMPT = "prompt.jinja"
"""Name of the copy of the run's prompt file."""


def export_run(run: Path, folder: Path, *, adapter: bool = False, last: bool = False) -> None:
    """Write the best weights of `run` (or the newest checkpoint's) to `folder`.

    Raises:
        RunError: `folder` exists, or the run does not have these weights.
    """
    config = load_run_config(run)
    if folder.exists():
        raise RunError(f"{folder} exists already; give a new folder")
    if adapter and config.model.lora is None:
        raise RunError(f"{run} was not trained with LoRA; leave --adapter out")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if last or adapter:
        newest = checkpoint.latest(RunDir(run).checkpoints)
        if newest is None:
            raise RunError(f"{run} has no checkpoint yet")
        tensors, _ = checkpoint.load(newest)
        parts = build(_anywhere(config))
        parts.learner.load(tensors["model"], {}, {})
        if adapter:
            parts.policy.model.save_pretrained(partial)
            parts.policy.tokenizer.save_pretrained(partial)
            write_note(parts.config.agent, partial)
        else:
            save_merged(parts.policy, partial, parts.config.agent)
    else:
        best = RunDir(run).best
        if not best.is_dir():
            raise RunError(f"{run} has no best weights (eval.every was 0); use --last")
        shutil.copytree(best, partial)
        if not (partial / NOTE).exists():  # a run of an older version
            write_note(config.agent, partial)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)


def _anywhere(config: RunConfig) -> RunConfig:
    """The config without settings that need a GPU, so that weights trained on one can be written on a CPU."""
    attention = config.model.attention
    attention = "sdpa" if attention == "flash_attention_2" else attention
    return config.model_copy(
        update={
            "learner": config.learner.model_copy(update={"device": "cpu", "liger": False}),
            "model": config.model.model_copy(update={"attention": attention}),
        }
    )


def save_merged(policy: Policy, folder: Path, agent: AgentConfig) -> None:
    """Write the policy with any LoRA adapter merged into its weights; the policy itself is unchanged."""
    model = policy.model
    if hasattr(model, "merge_adapter"):
        import copy

        model = copy.deepcopy(model).merge_and_unload()
    save_policy(
        Policy(model=model, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context),
        folder,
    )
    write_note(agent, folder)


def write_note(agent: AgentConfig, folder: Path) -> None:
    """Record how these weights were prompted, for whatever plays them."""
    values = {"format": agent.format, **agent.model_dump(exclude_defaults=True)}
    if agent.prompt is not None:
        shutil.copyfile(agent.prompt, folder / PROMPT)
        values["prompt"] = PROMPT
    note = {"agent": values}
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


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

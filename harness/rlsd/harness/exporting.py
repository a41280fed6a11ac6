"""A run's weights as a plain transformers folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlsd.agents.models import Policy, save_policy
from rlsd.harness import checkpoint
from rlsd.harness.config import RunConfig
from rlsd.harness.rundir import RunDir, RunError, load_run_config
from rlsd.harness.setup import build


def export_run(run: Path, folder: Path, *, adapter: bool = False, last: bool = False) -> None:
    """Write the best weights of `run` (or the newest checkpoint's) to `folder`.

    Raises:
        RunError: `folder` exists, or the run has no such weights.
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
        else:
            save_merged(parts.policy, partial)
    else:
        best = RunDir(run).best
        if not best.is_dir():
            raise RunError(f"{run} has no best weights (eval.every was 0); use --last")
        shutil.copytree(best, partial)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)


def _anywhere(config: RunConfig) -> RunConfig:
    """The config without what needs a GPU: weights trained on one are written wherever there is memory for them."""
    return config.model_copy(
        update={
            "learner": config.learner.model_copy(update={"device": "cpu", "liger": False}),
            "model": config.model.model_copy(update={"attention": "sdpa"}),
        }
    )


def save_merged(policy: Policy, folder: Path) -> None:
    """Write the policy with any LoRA adapter merged into its weights; the policy itself is left as it is."""
    model = policy.model
    if hasattr(model, "merge_adapter"):
        import copy

        model = copy.deepcopy(model).merge_and_unload()
    save_policy(
        Policy(model=model, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context),
        folder,
    )

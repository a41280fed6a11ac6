"""From a config's blocks to environments and rollout settings."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.answers import told
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.errors import EnvError
from rlsd.envs.redact import revealed
from rlsd.envs.registry import make
from rlsd.envs.remote.processes import shared_pool
from rlsd.harness.config.blocks import EnvConfig, RolloutConfig
from rlsd.harness.config.masked import masked
from rlsd.harness.rollout.rollout import RolloutSettings


def rollout_settings(block: RolloutConfig, *, hindsight: bool, seed: int) -> RolloutSettings:
    return RolloutSettings(
        slots=block.max_concurrent,
        max_turns=block.max_turns,
        step_timeout_s=block.step_timeout_s,
        retries=block.retries,
        hindsight=hindsight,
        seed=seed,
    )


def env_maker(block: EnvConfig, split: str) -> Callable[[], TextEnv]:
    """A function that opens one environment of a split: "train", "valid" or "test".

    Raises:
        EnvError: an argument refers to an environment variable that is not set.
    """
    name = {"train": block.train_split, "valid": block.valid_split, "test": block.test_split}[split]
    of = "kwargs" if split == "train" or block.eval_kwargs is None else "eval_kwargs"
    masked({"env": block.model_dump()})  # secrets that are written out are known from here on, too
    env_id, kwargs = revealed(block.id, "env.id"), revealed(getattr(block, of), f"env.{of}")
    if block.workers:
        pool = shared_pool(block.workers)
        return lambda: pool.open(env_id, split=name, **kwargs)
    return lambda: make(env_id, split=name, **kwargs)


def open_valid(block: EnvConfig) -> TextEnv:
    """One environment of the validation split.

    Raises:
        EnvError: an environment that opens other splits, and not this one; names one and the setting.
    """
    try:
        return env_maker(block, "valid")()
    except Exception as error:  # whatever a class does with a split that it does not know
        if not _opens(block, block.train_split):
            raise  # the split is not what is wrong
        wrong = f"{block.id} cannot open its split {block.valid_split!r} ({told(error)})"
        if block.test_split != block.valid_split and _opens(block, block.test_split):
            way = f"or evaluate on another while training: --set env.valid_split={block.test_split}"
        else:
            way = f"or --set env.valid_split={block.train_split} --set eval.on_training_tasks=true"
        raise EnvError(f"{wrong}: write one, {way}") from error


def _opens(block: EnvConfig, name: str) -> bool:
    try:
        env_maker(block.model_copy(update={"valid_split": name}), "valid")().close()
    except Exception:
        return False
    return True


def tasks_of(make_env: Callable[[], TextEnv]) -> list[Task]:
    """The tasks that an environment lists."""
    env = make_env()
    tasks = list(env.tasks())
    env.close()
    return tasks

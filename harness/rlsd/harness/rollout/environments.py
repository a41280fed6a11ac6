"""From a config's blocks to environments and rollout settings."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.core import Task, TextEnv
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


def tasks_of(make_env: Callable[[], TextEnv]) -> list[Task]:
    """The tasks that an environment lists."""
    env = make_env()
    tasks = list(env.tasks())
    env.close()
    return tasks

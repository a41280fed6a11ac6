"""A run whose method needs facts that the environment never gives is refused before a model loads."""

from __future__ import annotations

import pytest

from rlsd.algorithms import resolve
from rlsd.envs.key_door import KeysEnv
from rlsd.harness.config import ConfigError
from rlsd.harness.hindsight.facts import check_facts
from tests.support.plain_worlds import Plain


def test_milestones_need_unmet_goal_facts() -> None:
    env = Plain()
    with pytest.raises(ConfigError, match=r"does not give hindsight\.missing, which 'advantage beacon' reads, in t0"):
        check_facts(resolve("beacon"), (), env, env.tasks())
    check_facts(resolve("g2po"), (), env, env.tasks())


def test_a_world_that_lists_unmet_goal_facts_has_milestones() -> None:
    env = KeysEnv()
    check_facts(resolve("beacon"), (), env, env.tasks())


def test_a_fact_that_a_method_cannot_do_without_is_named_first() -> None:
    """A context may say nothing where others do; milestones may not."""
    env = Plain()
    with pytest.raises(ConfigError, match="'advantage beacon' reads"):
        check_facts(resolve({"name": "beacon", "contexts": ["plan"]}), ("plan",), env, env.tasks())

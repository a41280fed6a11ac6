"""Hindsight contexts: the names a config may give and the texts behind them."""

from __future__ import annotations

from rlsd.algorithms import config
from rlsd.harness.hindsight import contexts


def test_the_names_a_config_accepts_are_the_contexts_there_are() -> None:
    """Two lists, because algorithms know nothing of the harness; `none` is a teacher without any text."""
    assert sorted(config.CONTEXTS) == sorted([*contexts.CONTEXTS, "none"])

"""Shared fixtures: tiny models and tokenizers of four kinds, toy worlds, real data where it is present."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlsd.envs.hiding import forget

torch.set_num_threads(1)

TEXT = (
    "You are in the middle of a room. Looking quickly around you, you see a drawer 1, a shelf 2, and a fridge 1. "
    "Your task is to: put some mug in shelf. go to drawer 1 open drawer 1 take mug 1 from drawer 1 plan: missing: "
    "You arrive at shelf 2. On the shelf 2, you see nothing. <think>Next: go to shelf 2.</think><action>look</action>"
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests find out about models is kept for the session, not for the user."""
    os.environ["RLSD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests() -> Iterator[None]:
    """A key that one test sets, such as "secret", must not be hidden in the errors of the next."""
    yield
    forget()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data; tests that need it skip without RLSD_DATA."""
    folder = os.environ.get("RLSD_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set RLSD_DATA to a folder that holds alfworld/")
    return Path(folder)

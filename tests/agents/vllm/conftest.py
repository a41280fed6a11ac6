"""vLLM's stand-in, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.hf.models import save_policy
from rlsd.agents.vllm.fake.server import FakeVLLM
from tests.support.vllm_servers import Fake, small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the server starts from it."""
    folder = tmp_path_factory.mktemp("model")
    save_policy(small(), folder)
    return folder


@pytest.fixture
def fake(folder: Path) -> Iterator[Fake]:
    """Starts stand-ins; all are gone at the end."""
    running: list[FakeVLLM] = []

    def start(place: Path = folder, **arguments: Any) -> FakeVLLM:
        running.append(FakeVLLM(place, **arguments))
        return running[-1]

    yield start
    for server in running:
        server.stop()

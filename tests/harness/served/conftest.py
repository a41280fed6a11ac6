"""A tiny model's folder, and a stand-in for a vLLM server that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsd.agents.hf.models import save_policy
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from tests.support.served_runs import BASE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_policy(build(parse_config(BASE)).policy, folder)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FakeVLLM]:
    fake = FakeVLLM(folder)
    yield fake
    fake.stop()

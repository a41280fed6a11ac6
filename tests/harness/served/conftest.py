"""A tiny model's folder and a stand-in for a vLLM server that serves it; a real model and a live server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsd.agents.hf.models import save_policy
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import build
from tests.support.live_server import Live
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


@pytest.fixture(scope="module")
def model() -> Path:
    folder = Path(os.environ.get("RLSD_VLLM_MODEL", "models/smollm2"))
    if not (folder / "config.json").is_file():
        pytest.skip(f"needs a model in {folder}: rlsd fetch smollm2, or set RLSD_VLLM_MODEL")
    return folder.resolve()


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Live]:
    python = os.environ.get("RLSD_VLLM_PYTHON")
    if not python:
        pytest.skip("needs RLSD_VLLM_PYTHON, a Python that has vLLM: make test-vllm sets it")
    port = 8732 + os.getpid() % 1000
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    server = Live(python, model, port, log, context=getattr(request.module, "CONTEXT", 1024))
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()
        server.close()

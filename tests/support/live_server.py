"""A vLLM server in a process of its own, for tests marked `vllm`."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import torch

from rlsd.agents.vllm.client import VLLMServer
from rlsd.harness.serve.policy import policy_command

TRANSFER = "nccl" if torch.cuda.is_available() else "gloo"
START_S = 1800.0
"""vLLM's CPU build takes minutes to start, more on a busy machine."""


class Live:
    """A vLLM server in a process of its own."""

    def __init__(self, python: str, model: Path, port: int, log: Path, *, context: int = 1024) -> None:
        more = ("--max-model-len", str(context), "--max-lora-rank", "16")
        variables: dict[str, str] = {}
        if not torch.cuda.is_available():
            more = (*more, "--dtype", "float32", "--enforce-eager")
            variables = {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "TORCHDYNAMO_DISABLE": "1",  # it would compile C++ for minutes at the first request
                "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "1800",
            }
        command = policy_command(
            model, host="127.0.0.1", port=port, lora=True, transfer=TRANSFER, python=python, more=more
        )
        self._words = list(command.words)
        self._variables = {**os.environ, **command.variables, **variables, "PYTHONPATH": ""}
        self._log = log.open("ab")
        self.server = VLLMServer(f"http://127.0.0.1:{port}", timeout_s=1800)
        self.url = self.server.url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._words, env=self._variables, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self.server.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM did not start; see {self._log.name}")
            time.sleep(1)

    def kill(self) -> None:
        """SIGKILL for the server and all it started."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self._log.close()

"""`rlsd serve policy`: the command it runs, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from rlsd.harness.serve.guard import ServeError
from rlsd.harness.serve.policy import Command, free_port, policy_command, run_policy

MODEL = Path(__file__).parents[3] / "checkpoints" / "warm_tiny"


def test_the_command_brings_every_route_that_training_needs() -> None:
    command = policy_command(MODEL, host="127.0.0.1", port=8001, lora=True, python="py", more=("--dtype", "float32"))
    shown = command.shown()
    assert shown.startswith("VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 py -m vllm.")
    pieces = (
        "--port 8001",
        "--enable-lora",
        "processed_logprobs",
        "--generation-config vllm",
        "--no-trust-remote-code",
    )
    for piece in pieces:
        assert piece in shown
    assert shown.endswith("--dtype float32")
    plain = policy_command(MODEL, host="127.0.0.1", port=1).shown()
    assert "LORA" not in plain
    assert "weight-transfer" not in plain
    assert "--enable-sleep-mode" not in plain
    assert "--enable-sleep-mode" in policy_command(MODEL, host="127.0.0.1", port=1, sleep=True).words
    for transfer, backend in (("nccl", "nccl"), ("gloo", "rlsd_gloo")):
        words = policy_command(MODEL, host="127.0.0.1", port=1, transfer=transfer).words
        assert words[-2:] == ("--weight-transfer-config", json.dumps({"backend": backend}))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"no config\.json"):
        policy_command(tmp_path, host="127.0.0.1", port=1)
    for flag in ("--trust-remote-code", "--trust_remote_code=true"):
        with pytest.raises(ServeError, match="runs code of the model folder"):
            policy_command(MODEL, host="127.0.0.1", port=1, more=("--dtype", "float32", flag))
    with pytest.raises(ServeError, match=r"set VLLM_API_KEY to a secret here, .*sampler\.api_key_env"):
        policy_command(MODEL, host="0.0.0.0", port=1)
    assert policy_command(MODEL, host="0.0.0.0", port=1, more=("--api-key", "x")).words[-1] == "x"
    with pytest.raises(ServeError, match="'tcp', expected one of nccl, gloo"):
        policy_command(MODEL, host="127.0.0.1", port=1, transfer="tcp")
    with pytest.raises(ServeError, match="cannot run"):
        run_policy(Command(words=(str(tmp_path / "nothing"),), variables={}))


def test_python_without_vllm_and_a_server_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="has no vLLM"):
        run_policy(Command(words=(sys.executable, "-c", "pass"), variables={}))
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nexit ${CODE}\n')
    fake.chmod(0o755)
    run_policy(Command(words=(str(fake), "-m", "x"), variables={"CODE": "0"}))
    with pytest.raises(ServeError, match="exit code 3"):
        run_policy(Command(words=(str(fake), "-m", "x"), variables={"CODE": "3"}))


def test_python_without_the_plug_in_is_told_how_to_get_it(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (packages / "vllm").mkdir()
    (packages / "vllm" / "__init__.py").touch()
    plain = policy_command(MODEL, host="127.0.0.1", port=1, python=str(python))
    with pytest.raises(ServeError, match="exit code 1"):  # this vLLM has no server
        run_policy(plain)
    with pytest.raises(ServeError, match=r"not rlsd's plug-in for --transfer gloo: .* -m pip install --no-deps rlsd"):
        run_policy(policy_command(MODEL, host="127.0.0.1", port=1, transfer="gloo", python=str(python)))
    plugin = packages / "rlsd-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Name: rlsd\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[vllm.general_plugins]\nrlsd = rlsd.agents.vllm.plugin:register\n")
    with pytest.raises(ServeError, match="exit code 1"):
        run_policy(policy_command(MODEL, host="127.0.0.1", port=1, transfer="gloo", python=str(python)))


def test_a_port_that_is_taken_is_told_before_vllm_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_its_starter(tmp_path: Path, number: int) -> None:
    """`kill` reaches the starter alone; a server left behind would keep its GPU and its port."""
    fake, alive = tmp_path / "python", tmp_path / "pid"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\necho $$ > {alive}.new\nmv {alive}.new {alive}\nexec sleep 60\n'
    )
    fake.chmod(0o755)
    words = [sys.executable, "-m", "rlsd", "serve", "policy", str(MODEL), "--port", "0", "--python", str(fake)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as starter:
        while not alive.exists():
            assert starter.poll() is None
            time.sleep(0.02)
        starter.send_signal(number)
        out, errors = starter.communicate(timeout=30)
    assert b" on http://127.0.0.1:" in out
    assert (starter.returncode, errors) == (0, b"")
    with pytest.raises(ProcessLookupError):
        os.kill(int(alive.read_text()), 0)

"""`rlsd serve policy`: starts vLLM so that training can use it. vLLM is not imported, so it may live elsewhere.

Started as a module because the command `vllm serve` looks for a distribution of that name, which its CPU build is not.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.agents.vllm.plugin import BACKENDS
from rlsd.harness.manifest import MANIFEST, problem
from rlsd.harness.serve.guard import LOOPBACK, ServeError, is_loopback
from rlsd.harness.serve.listener import bind

MODULE = "vllm.entrypoints.openai.api_server"
KEY = "VLLM_API_KEY"
"""vLLM reads its API key from this variable, where no `--api-key` is given."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the server."""

NO_PLUGIN = 3
LOOK = f"""
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
if find_spec("vllm") is None:
    sys.exit(1)
named = any(e.value.startswith("rlsd.agents.vllm.plugin") for e in entry_points(group="vllm.general_plugins"))
sys.exit(0 if named or not any({BACKENDS["gloo"]!r} in word for word in sys.argv) else {NO_PLUGIN})
"""
"""What a Python must have to run a command, asked of that Python itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line and the variables it needs."""

    words: tuple[str, ...]
    variables: dict[str, str]

    def shown(self) -> str:
        """As typed in a shell."""
        return " ".join([*(f"{k}={v}" for k, v in self.variables.items()), shlex.join(self.words)])


def policy_command(
    folder: Path,
    *,
    host: str,
    port: int,
    lora: bool = False,
    sleep: bool = False,
    transfer: str | None = None,
    python: str | None = None,
    more: tuple[str, ...] = (),
) -> Command:
    """How to serve `folder` with vLLM.

    The server's log-probs must be those of the distribution it draws from, and no sampling default of the model's own
    may stand; new weights come over routes that vLLM offers in its development mode alone.

    Raises:
        ServeError: no model folder, a damaged one, an unknown transfer, code of the model's own, or an address beyond
            this machine without an API key.
    """
    if not (folder / "config.json").is_file():
        raise ServeError(f"{folder} holds no config.json: give a transformers model folder (`rlsd export` writes one)")
    if (folder / MANIFEST).exists() and (found := problem(folder)):
        raise ServeError(f"{folder} {found}; `rlsd export RUN FOLDER --last` writes the newest checkpoint's weights")
    if transfer is not None and transfer not in BACKENDS:
        raise ServeError(f"--transfer is {transfer!r}, expected one of {', '.join(BACKENDS)}")
    if not is_loopback(host) and not os.environ.get(KEY) and not any(word.startswith("--api-key") for word in more):
        raise ServeError(
            f"{host!r} can be reached from other machines, so a key is needed: set {KEY} to a secret here, and name "
            f"the learner's variable with the same secret in sampler.api_key_env; or keep --host {LOOPBACK}"
        )
    if any(word.replace("_", "-").startswith("--trust-remote-code") for word in more):
        raise ServeError("--trust-remote-code runs code of the model folder, which rlsd never does: leave it out")
    words = [python or sys.executable, "-m", MODULE, "--model", str(folder), "--host", host, "--port", str(port)]
    words += ["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm", "--no-trust-remote-code"]
    variables = {"VLLM_SERVER_DEV_MODE": "1"}
    if lora:
        words += ["--enable-lora", "--max-lora-rank", "64"]
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if sleep:
        words += ["--enable-sleep-mode"]
    if transfer is not None:
        words += ["--weight-transfer-config", json.dumps({"backend": BACKENDS[transfer]})]
    return Command(words=(*words, *more), variables=variables)


def free_port(host: str, port: int) -> int:
    """`port`, or a free one for 0. Asked before vLLM starts, which takes a quarter of a minute to find out.

    Raises:
        ServeError: the address is taken, or not this machine's.
    """
    with bind(host, port) as listening:
        return listening.getsockname()[1]


def run_policy(command: Command) -> None:
    """Run the server until it ends or is interrupted; it ends with this process, SIGKILL apart.

    Raises:
        ServeError: its Python has no vLLM or lacks rlsd's plug-in where that is asked for, or it ended with an error.
    """
    python = command.words[0]
    try:
        code = subprocess.run([python, "-c", LOOK, *command.words], check=False).returncode
    except OSError as error:
        raise ServeError(f"cannot run {python}: {error.strerror}") from error
    if code == NO_PLUGIN:
        raise ServeError(
            f"{python} has vLLM, but not rlsd's plug-in for --transfer gloo: {python} -m pip install --no-deps rlsd "
            "(or the folder of its sources)"
        )
    if code:
        raise ServeError(f"{python} has no vLLM; install it there or name another with --python")
    received: list[int] = []
    server: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: Any) -> None:
        received.append(number)
        if server is not None:
            server.terminate()

    before = {number: signal.signal(number, stop) for number in STOPS}  # first: a server must not outlive its starter
    try:
        # A session of its own: Ctrl-C would reach it a second time, which breaks vLLM's orderly end of its workers off.
        with subprocess.Popen(command.words, env={**os.environ, **command.variables}, start_new_session=True) as server:
            if received:
                server.terminate()
            code = server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code and not received:
        raise ServeError(f"the server ended with exit code {code}; its log above says why")

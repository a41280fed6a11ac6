"""The stages of `gpu_first.py`: each is given the bench and a limit in seconds, and returns its figures."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SCRIPT = Path(__file__).with_name("gpu_first.py")
ROOT = Path(__file__).parents[1]
TINY = ROOT / "checkpoints" / "warm_tiny"
WARM = ROOT / "configs" / "alfworld" / "warm_smollm2.yaml"
RL = ROOT / "configs" / "alfworld" / "rlsd_smollm2.yaml"
ONE_GPU = ROOT / "configs" / "launch" / "one_gpu.yaml"
GAMES = ["env.kwargs={games: gen-easy, max_steps: 30}", "env.valid_split=valid", "env.test_split=test"]
ENDLESS = ["iterations=1000000", "checkpoint_every=5", "keep_checkpoints=1"]
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""Nats: the largest difference of a token in float32, the mean one in bfloat16."""
GRACE_S = 40.0
"""For a run to write its checkpoint after it was told to stop."""


class Missing(Exception):
    """A stage lacks something on this machine; the message says what."""


class Failed(Exception):
    """A stage did not do what it should."""


@dataclass(kw_only=True)
class Bench:
    """One run of the script."""

    out: Path
    model: Path
    dry: bool
    ends: float
    """When the time is up, by `time.monotonic`."""
    grace_s: float = GRACE_S
    """For a command to end after it was told to stop."""
    log: Any = None
    """Where commands and their output go."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    def run(self, arguments: Sequence[object], *, limit: float, stops: bool = False) -> str:
        """The output of a Python command of this checkout.

        Args:
            limit: seconds; then it is told to stop, as Ctrl-C does.
            stops: the command runs until it is told to.

        Raises:
            Failed: another exit code than 0, or no end within the limit.
        """
        command = [sys.executable, "-W", "ignore", *map(str, arguments)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        name, stopped = " ".join(map(str, arguments[:3])), False
        try:
            text, _ = process.communicate(timeout=max(1.0, limit))
        except subprocess.TimeoutExpired:
            stopped = True
            process.send_signal(signal.SIGTERM)
            try:
                text, _ = process.communicate(timeout=self.grace_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text, _ = process.communicate()
        self.log.write(f"$ {' '.join(map(str, arguments))}\n{text}\n")
        self.log.flush()
        if stopped and not stops:
            raise Failed(f"{name} was not done within {limit:.0f} s")
        if process.returncode and not stopped:
            last = (text.strip().splitlines() or ["no output"])[-1][:300]
            raise Failed(f"{name}: exit code {process.returncode}: {last}")
        return text

    def rlsd(self, *arguments: Any, limit: float, stops: bool = False) -> str:
        """The output of a command of rlsd."""
        return self.run(["-m", "rlsd", *arguments], limit=limit, stops=stops)


def facts(bench: Bench, limit: float) -> dict[str, Any]:
    """What is there."""
    packages = ["transformers", "accelerate", "peft", "vllm", "flash_attn", "flash_attn_interface", "liger_kernel"]
    packages += ["triton", "bitsandbytes"]
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "packages": {name: importlib.util.find_spec(name) is not None for name in packages},
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["device"] = {
            "name": properties.name,
            "count": torch.cuda.device_count(),
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "bfloat16": torch.cuda.is_bf16_supported(),
            "nccl": torch.distributed.is_nccl_available(),
        }
        found["attention"] = _attention_kernels()
    elif not bench.dry:
        raise Failed("torch sees no CUDA device")
    return found


def _attention_kernels() -> dict[str, bool]:
    """Which kernels of scaled dot-product attention run, with and without a mask."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query = torch.randn(1, 4, 64, 64, device="cuda", dtype=torch.bfloat16)
    mask = torch.zeros(1, 1, 64, 64, device="cuda", dtype=torch.bfloat16)
    found: dict[str, bool] = {}
    for kernel in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        for name, seen in (("causal", None), ("masked", mask)):
            try:
                with sdpa_kernel(kernel):
                    torch.nn.functional.scaled_dot_product_attention(
                        query, query, query, attn_mask=seen, is_causal=seen is None
                    )
                works = True
            except RuntimeError:
                works = False
            found[f"{kernel.name.lower()}, {name}"] = works
    return found


def parity(bench: Bench, limit: float) -> dict[str, Any]:
    """Largest differences in nats."""
    text = bench.run(
        [SCRIPT, "--parity", bench.model, "--out", bench.out, *(["--dry-run"] if bench.dry else [])], limit=limit
    )
    found = json.loads(text.splitlines()[-1])
    bad = [way for way, value in found["ways"].items() if not isinstance(value, float) or value > TOLERANCE["float32"]]
    if bad or found["beside_cpu"] > TOLERANCE["float32"] or found["bfloat16_mean"] > TOLERANCE["bfloat16"]:
        raise Failed(f"log-probs differ: {json.dumps(found)}")
    return found


def compared(model: Path, device: str) -> dict[str, Any]:
    from rlsd.agents.hf.models import load_policy
    from rlsd.harness.scoring.ways import play

    policy = load_policy(model, device=device)
    ways = {name: way.error or way.largest for name, way in play(policy.model).items()}
    ids = torch.randint(8, policy.model.config.vocab_size, (2, 200), generator=torch.Generator().manual_seed(0))
    there = _logps(policy.model, ids, device)
    beside = _logps(load_policy(model).model, ids, "cpu")
    with torch.autocast(device, dtype=torch.bfloat16):
        low = _logps(policy.model, ids, device)
    return {
        "ways": ways,
        "beside_cpu": float((there - beside).abs().max()),
        "bfloat16_mean": float((low - there).abs().mean()),
        "tolerance": TOLERANCE,
    }


@torch.no_grad()
def _logps(model: Any, ids: torch.Tensor, device: str) -> torch.Tensor:
    logits = model(input_ids=ids.to(device)).logits[:, :-1].float()
    return torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None].to(device)).cpu()


def memory(bench: Bench, limit: float) -> dict[str, Any]:
    """Planned over measured, by config."""
    only = ["--only", "warm start"] if bench.dry else []
    text = bench.run(["benchmarks/plan.py", "--device", bench.device, *only], limit=limit)
    return {name: one["planned_over_measured"] for name, one in json.loads(text.splitlines()[-1]).items()}


def speed(bench: Bench, limit: float) -> dict[str, Any]:
    """The benchmark's own object."""
    dry = ["--dry-run"] if bench.dry else ["--model", bench.model, "--steps", "3"]
    return json.loads(bench.run(["benchmarks/gpu_smollm2.py", *dry], limit=limit).splitlines()[-1])


def transfer(bench: Bench, limit: float) -> dict[str, Any]:
    """One iteration that samples from a server; on a CPU the server is vLLM's stand-in, and weights go by gloo."""
    kind = "gloo" if bench.dry else "nccl"
    if not bench.dry and importlib.util.find_spec("vllm") is None:
        raise Missing("vLLM is not installed")
    if not bench.dry and torch.cuda.device_count() < 2:
        raise Missing("NCCL needs a GPU for the server and another for the learner; there is one")
    port = "8765"
    served = ["-m", "rlsd.agents.vllm.fake.server", bench.model, "--port", port]
    if not bench.dry:
        served = ["-m", "rlsd", "serve", "policy", bench.model, "--port", port, "--transfer", kind]
    environment = os.environ if bench.dry else {**os.environ, "CUDA_VISIBLE_DEVICES": "1"}
    server = subprocess.Popen(
        [sys.executable, *map(str, served)], cwd=ROOT, stdout=bench.log, stderr=bench.log, env=dict(environment)
    )
    try:
        _answers(f"http://127.0.0.1:{port}/health", server, limit / 2)
        served_by = [f"sampler.urls=[http://127.0.0.1:{port}]", "sampler.backend=vllm", f"sampler.weights={kind}"]
        run = bench.out / "transfer"
        bench.rlsd("train", RL, "--run", run, *_sets(bench, *SMALL, *served_by, "iterations=2"), limit=limit / 2)
    finally:
        server.terminate()
        server.wait(timeout=GRACE_S)
    last = _metrics(run)[-1]
    return {"weights": kind, "sampler_gap_mean": last["sampler_gap_mean"], "iterations": last["step"]}


def learn(bench: Bench, limit: float) -> dict[str, Any]:
    """Success by iteration of both methods from one warm start, and the curve."""
    ends = time.monotonic() + limit - GRACE_S
    warm, start = bench.out / "warm", bench.out / "start"
    imitation = [f"rollout.tasks_per_iteration={2 if bench.dry else 32}"]
    bench.rlsd("train", WARM, "--run", warm, *_sets(bench, *ENDLESS, *imitation), limit=limit * 0.25, stops=True)
    bench.rlsd("export", warm, start, "--last", limit=60)
    arms = ("grpo", "rlsd")
    found: dict[str, Any] = {"warm_start_iterations": len(_metrics(warm))}
    for number, arm in enumerate(arms):
        share = (ends - time.monotonic()) / (len(arms) - number)
        sets = _sets(
            bench, *ENDLESS, *(SMALL if bench.dry else LARGE), f"algorithm={arm}", "agent.memory=full", model=start
        )
        bench.rlsd("train", RL, "--run", bench.out / arm, *sets, limit=share - GRACE_S / 2, stops=True)
        found[arm] = [round(m["success"], 4) for m in _metrics(bench.out / arm)]
    _curve(found, arms, bench.out / "curve.png")
    return found


SMALL = ["rollout.tasks_per_iteration=2", "rollout.group_size=2", "rollout.max_turns=3", "agent.max_new_tokens=8"]
LARGE = [
    "rollout.tasks_per_iteration=16",
    "rollout.group_size=8",
    "rollout.max_concurrent=128",
    "rollout.max_turns=30",
    "eval.every=0",
]


def _sets(bench: Bench, *settings: str, model: Path | None = None) -> list[str]:
    """Options of `rlsd train` for this machine."""
    out = [] if bench.dry else ["--with", str(ONE_GPU)]
    for setting in (f"model.path={model or bench.model}", *GAMES, "agent.context=1024", *settings):
        out += ["--set", setting]
    return out


def _metrics(run: Path) -> list[dict[str, Any]]:
    """The training iterations of a run.

    Raises:
        Failed: there is none.
    """
    file = run / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    steps = [line for line in lines if "success" in line or "loss" in line]
    if not steps:
        raise Failed(f"{run.name}: not one iteration was done")
    return steps


def _answers(url: str, server: subprocess.Popen[Any], limit: float) -> None:
    ends = time.monotonic() + limit
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise Failed(f"the server did not answer at {url} within {limit:.0f} s")


def _curve(found: dict[str, Any], arms: Sequence[str], place: Path) -> None:
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(7, 4))).subplots()
    for arm in arms:
        axes.plot([100 * s for s in found[arm]], label=arm)
    axes.set(xlabel="iteration", ylabel="success of training episodes, %", ylim=(0, 100))
    axes.legend()
    figure.savefig(place, dpi=120, bbox_inches="tight")

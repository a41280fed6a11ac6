"""Time saved by several iterations in flight (`rollout.async_steps`) where a few turns take very long.

    python benchmarks/in_flight.py [--iterations 12] [--write results/in_flight.json]

A run's own player, rollout, agent and client play 16 episodes of six turns an iteration in 16 slots, against a stand-in
for a server in a process of its own. Each turn takes a time with a heavy tail, Pareto with exponent 1.3 from 50 ms on,
cut at 3 s: of the server, or of the environment. The time of a turn depends on its episode and number alone, so that
every setting plays the same turns. The learner sleeps 0.5 s an iteration, loading weights takes 50 ms. Ratios are to
`async_steps: 0` in the same run; all times are sleeps, so they hardly depend on the machine. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import client_cost

from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.envs.core import Task, TextEnv
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.iteration.play import Player
from rlsd.harness.runs.progress import Progress

TURNS = 6
SHORTEST_S, EXPONENT, LONGEST_S = 0.05, 1.3, 3.0
LEARN_S, LOAD_S = 0.5, 0.05
STEPS = (0, 1, 2, 4)


def pause(seed: Any) -> float:
    """Seconds of one turn."""
    return min(LONGEST_S, SHORTEST_S * random.Random(str(seed)).paretovariate(EXPONENT))


class Steps(TextEnv):
    """Six steps, each of which takes its time if `slow`."""

    def __init__(self, *, split: str = "train", slow: bool = False) -> None:
        super().__init__()
        self.split, self.slow, self.blocking = split, slow, slow

    def tasks(self) -> Sequence[Task]:
        return [Task(env_id="Steps", task_id=str(i), split=self.split, task_type="x") for i in range(256)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.seed, self.turn = seed, 0
        return "go on", {"goal": "walk"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        if self.slow:
            time.sleep(pause((self.seed, self.turn)))
        return "go on", 1.0, self.turn >= TURNS, False, {}


class Answers(client_cost.Answers):
    """Answers a completion after the time of its seed, or at once."""

    slow = False

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while (end := self.seen.find(b"\r\n\r\n")) >= 0:
            size = re.search(rb"content-length: *(\d+)", self.seen[:end].lower())
            whole = end + 4 + (int(size[1]) if size else 0)
            if len(self.seen) < whole:
                return
            seed = re.search(rb'"seed": *(\d+)', self.seen[:whole])
            self.seen = self.seen[whole:]
            choice = {"token_ids": [300] * 4, "logprobs": {"token_logprobs": [-1.0] * 4}, "finish_reason": "length"}
            body = json.dumps({"model": "m", "choices": [choice]}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            wait = pause(int(seed[1])) if seed and self.slow else 0.0
            asyncio.get_running_loop().call_later(wait, self.transport.write, head + body)


async def serve(slow: bool) -> None:
    Answers.slow = slow
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Loaded(client_cost.Fixed):
    """Servers that take a while to load weights."""

    version = -1

    def __init__(self, url: str) -> None:
        self.servers = (VLLMServer(url),)

    def loaded_version(self, server: VLLMServer) -> int:
        return self.version

    def push(self, version: int) -> None:
        time.sleep(LOAD_S)
        self.version = version


def parts_of(url: str, steps: int, slow_env: bool, iterations: int) -> Parts:
    config = parse_config(
        {
            "iterations": iterations,
            "algorithm": {"name": "grpo", "loss": {"tis_cap": 2.0}},
            "env": {"id": "in_flight:Steps", "kwargs": {"slow": slow_env}},
            "model": {"path": "checkpoints/warm_tiny"},
            "agent": {"format": "compact", "memory": "full", "max_new_tokens": 4},
            "rollout": {"tasks_per_iteration": 8, "group_size": 2, "max_concurrent": 16, "async_steps": steps},
            "eval": {"every": 0, "at_start": False},
        }
    )
    parts = build(config)
    sampler = VLLMSampler(Loaded(url), eos_ids=parts.policy.eos_ids, context=parts.policy.context)
    parts.sampler = parts.agent.sampler = sampler
    return parts


def run(parts: Parts, iterations: int) -> dict[str, Any]:
    """The loop of a run whose learner sleeps."""
    player = Player(parts, reward=None, progress=Progress(quiet=True))
    ages, straddling, refresh_s = [], [], 0.0
    started = time.perf_counter()
    for step in range(iterations):
        played = player.take(step)
        player.prefetch(step)
        time.sleep(LEARN_S)
        player.wait()
        parts.learner.updates += 1
        began = time.perf_counter()
        parts.sampler.refresh(parts.learner.updates)
        refresh_s += time.perf_counter() - began
        ages.append(played.staleness)
        straddling.append(played.in_flight.get("in_flight", {}).get("straddling", 0.0))
    seconds = time.perf_counter() - started
    player.close()
    return {
        "seconds": round(seconds, 2),
        "refresh_s_an_iteration": round(refresh_s / iterations, 3),
        "mean_age": round(sum(a["mean"] for a in ages) / iterations, 3),
        "largest_age": max(a["max"] for a in ages),
        "straddling_episodes": round(sum(straddling) / iterations, 3),
    }


def compare(where: str, iterations: int) -> dict[str, Any]:
    """All settings, one after the other."""
    words = [sys.executable, __file__, "--serve", where]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found: dict[str, Any] = {}
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            for steps in STEPS:
                found[str(steps)] = run(parts_of(url, steps, where == "environment", iterations), iterations)
                found[str(steps)]["over_0"] = round(found[str(steps)]["seconds"] / found["0"]["seconds"], 3)
                print(where, steps, json.dumps(found[str(steps)]), file=sys.stderr, flush=True)
        finally:
            server.kill()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--serve", choices=["server", "environment"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve == "server"))
        return
    report = {
        "iterations": arguments.iterations,
        "turn_s": {"shortest": SHORTEST_S, "exponent": EXPONENT, "longest": LONGEST_S},
        "learn_s": LEARN_S,
        "slow": {where: compare(where, arguments.iterations) for where in ("environment", "server")},
    }
    if arguments.write:
        arguments.write.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

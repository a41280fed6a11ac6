"""Time saved by several iterations in flight (`rollout.async_steps`) where a few turns take very long.

    python benchmarks/in_flight.py [--iterations 12] [--write results/in_flight.json]

A run's own player, rollout, agent and client play 16 episodes of six turns an iteration in 16 slots, against a stand-in
for a server in a process of its own. Each turn takes a time with a heavy tail, Pareto with exponent 1.3 from 50 ms on,
cut at 3 s: of the server, which makes a token every 50 ms of it, or of the environment. The time of a turn depends on
its episode and number alone, so that every setting plays the same turns. From `async_steps: 2` on a slow server plays
twice: it ends its responses for new weights (`sampler.interrupt`) and then takes the time of the tokens that are
missing, or it finishes them ("drained"). The learner sleeps 0.5 s an iteration, loading weights takes 50 ms. Ratios are
to `async_steps: 0` in the same run; all times are sleeps, so they hardly depend on the machine. Ends with one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import client_cost

from rlsd.agents.vllm.client import ABORT, COMPLETIONS, VLLMServer
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.envs.core import Task, TextEnv
from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.iteration.play import Player
from rlsd.harness.runs.progress import Progress

TURNS = 6
SHORTEST_S, EXPONENT, LONGEST_S = 0.05, 1.3, 3.0
LEARN_S, LOAD_S = 0.5, 0.05
TOKEN_S = 0.05
TOKENS = round(LONGEST_S / TOKEN_S)
FIRST_ID = 300
"""The first id of a response is this plus its number of tokens, so that who asks for its rest says how long it is."""
ALIKE = [("0", 0, False), ("1", 1, False), ("2", 2, True), ("4", 4, True)]
"""Name, `async_steps`, `sampler.interrupt`."""
SIDES = {"environment": ALIKE, "server": [*ALIKE, ("2 drained", 2, False), ("4 drained", 4, False)]}


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
    """Answers a completion after the time of its seed, or at once; `/abort_requests` ends all that wait."""

    slow = False
    under_way: ClassVar[set[Response]] = set()

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while (end := self.seen.find(b"\r\n\r\n")) >= 0:
            size = re.search(rb"content-length: *(\d+)", self.seen[:end].lower())
            whole = end + 4 + (int(size[1]) if size else 0)
            if len(self.seen) < whole:
                return
            path, body = self.seen.split(b" ", 2)[1].decode(), self.seen[end + 4 : whole]
            self.seen = self.seen[whole:]
            if path == COMPLETIONS:
                self.under_way.add(Response(json.loads(body), self))
                continue
            if path == ABORT:
                for response in list(self.under_way):
                    response.end("abort")
            self.answer({"paths": {COMPLETIONS: {}, ABORT: {}}})

    def answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)
        self.transport.write(head + data)


class Response:
    """One that takes its time, or the rest of one."""

    def __init__(self, asked: dict[str, Any], to: Answers) -> None:
        kept = TOKENS - asked["max_tokens"]
        self.to, self.began = to, time.perf_counter()
        seconds = pause(asked["seed"])
        self.left = asked["prompt"][-kept] - FIRST_ID - kept if kept else math.ceil(seconds / TOKEN_S)
        self.ids = [FIRST_ID if kept else FIRST_ID + self.left, *[FIRST_ID] * (self.left - 1)]
        wait = (self.left * TOKEN_S if kept else seconds) if to.slow else 0.0
        self.timer = asyncio.get_running_loop().call_later(wait, self.end, "length")

    def end(self, reason: str) -> None:
        """Answer with the tokens that are there by now."""
        self.timer.cancel()
        self.to.under_way.discard(self)
        made = min(self.left - 1, int((time.perf_counter() - self.began) / TOKEN_S))
        ids = self.ids[:made] if reason == "abort" else self.ids
        choice = {"token_ids": ids, "logprobs": {"token_logprobs": [-1.0] * len(ids)}, "finish_reason": reason}
        self.to.answer({"model": "m", "choices": [choice]})


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

    def abort(self) -> bool:
        return self.servers[0].abort()

    def push(self, version: int) -> None:
        time.sleep(LOAD_S)
        self.version = version


def parts_of(url: str, steps: int, slow_env: bool, iterations: int, *, interrupt: bool) -> Parts:
    config = parse_config(
        {
            "iterations": iterations,
            "algorithm": {"name": "grpo", "loss": {"tis_cap": 2.0}},
            "env": {"id": "in_flight:Steps", "kwargs": {"slow": slow_env}},
            "model": {"path": "checkpoints/warm_tiny"},
            "agent": {"format": "compact", "memory": "full", "max_new_tokens": TOKENS},
            "rollout": {"tasks_per_iteration": 8, "group_size": 2, "max_concurrent": 16, "async_steps": steps},
            "eval": {"every": 0, "at_start": False},
        }
    )
    parts = build(config)
    sampler = VLLMSampler(Loaded(url), eos_ids=parts.policy.eos_ids, context=parts.policy.context, interrupt=interrupt)
    parts.sampler = parts.agent.sampler = sampler
    return parts


def run(parts: Parts, iterations: int) -> dict[str, Any]:
    """The loop of a run whose learner sleeps."""
    player = Player(parts, reward=None, progress=Progress(quiet=True))
    ages, in_flight, refresh_s = [], [], 0.0
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
        in_flight.append(played.in_flight.get("in_flight", {}))
    seconds = time.perf_counter() - started
    player.close()

    def mean(name: str) -> float:
        return round(sum(values.get(name, 0.0) for values in in_flight) / iterations, 3)

    return {
        "seconds": round(seconds, 2),
        "refresh_s_an_iteration": round(refresh_s / iterations, 3),
        "mean_age": round(sum(a["mean"] for a in ages) / iterations, 3),
        "largest_age": max(a["max"] for a in ages),
        "straddling_episodes": mean("straddling"),
        "continued_actions": mean("continued_actions"),
        "continued_tokens": mean("continued_tokens"),
    }


def compare(where: str, iterations: int) -> dict[str, Any]:
    """All settings, one after the other."""
    words = [sys.executable, __file__, "--serve", where]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found: dict[str, Any] = {}
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            for name, steps, interrupt in SIDES[where]:
                slow_env = where == "environment"
                found[name] = run(parts_of(url, steps, slow_env, iterations, interrupt=interrupt), iterations)
                found[name]["over_0"] = round(found[name]["seconds"] / found["0"]["seconds"], 3)
                print(where, name, json.dumps(found[name]), file=sys.stderr, flush=True)
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

"""1,024 episodes of 30 turns at once against a stand-in for a server: processor time a turn, memory an episode.

    python benchmarks/many_episodes.py [--episodes 1024] [--turns 30] [--write results/many_episodes.json]

The stand-in runs in a process of its own and answers after 0.5 s or so with 30 tokens and, as vLLM does, the prompt.
The client is a run's: rollout, agent, prompts, HTTP, parsing. Its environment says a line of a given length at each
turn, in a microsecond. Processor time is the client's process, user and system. Memory is what the process has more
with all trajectories in hand. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import platform
import pstats
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import client_cost

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import load_policy
from rlsd.agents.memory import FullHistory
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.envs.core import Task, TextEnv
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings

RESPONSE = 30
"""Tokens of each response."""
LATENCY_S = (0.25, 0.75)
"""Shortest and longest time until a response."""


class Talk(TextEnv):
    """Says a line of `words` words at each turn."""

    blocking = False

    def __init__(self, turns: int, words: int) -> None:
        super().__init__()
        self.turns, self.line = turns, "you see a drawer and a desk here " * (words // 8)

    def tasks(self) -> Sequence[Task]:
        return [Task(env_id="Talk", task_id=str(i), split="x", task_type="x") for i in range(4096)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.turn = 0
        return self.line, {"goal": "talk"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        return f"{self.turn}. {self.line}", 0.0, self.turn >= self.turns, False, {}


class Answers(client_cost.Answers):
    """Answers completions after a while, with the prompt's ids."""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while (end := self.seen.find(b"\r\n\r\n")) >= 0:
            head = self.seen[:end].lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(self.seen) < end + 4 + size:
                return
            body, self.seen = self.seen[end + 4 : end + 4 + size], self.seen[end + 4 + size :]
            answer = self.answer(body) if size else b"{}"
            start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(*LATENCY_S), self.transport.write, start + answer)

    def answer(self, body: bytes) -> bytes:
        start = body.index(b'"prompt":') + len(b'"prompt":')
        prompt = body[start : body.index(b"]", start) + 1]
        drawn = [300 + i for i in range(RESPONSE)]
        choice = {"token_ids": drawn, "logprobs": {"token_logprobs": [-0.123456] * RESPONSE}, "finish_reason": "length"}
        head = json.dumps({"model": "m", "choices": [choice]}).encode()
        return head[:-3] + b', "prompt_token_ids": ' + prompt + b"}]}"


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(url: str, episodes: int, turns: int, words: int, profile: bool) -> dict[str, Any]:
    policy = load_policy("checkpoints/warm_tiny")
    chat = ChatFormat(policy.tokenizer, sorted(policy.eos_ids))
    sampler = VLLMSampler(client_cost.Fixed(url), eos_ids=policy.eos_ids, context=10**6)
    agent = PolicyAgent(
        chat=chat, memory=FullHistory(format=FORMATS["compact"]), sampler=sampler, max_new_tokens=RESPONSE
    )
    rollout = Rollout(lambda: Talk(turns, words), agent, RolloutSettings(slots=episodes, hindsight=False))
    tasks = Talk(turns, words).tasks()
    rollout.groups(tasks[:32], 1, stream="warm-up", iteration=0)
    gc.collect()
    before, began = resident(), time.process_time()
    with cProfile.Profile() if profile else open("/dev/null") as watched:
        groups = rollout.groups(tasks[:episodes], 1, stream="bench", iteration=0)
    cpu = time.process_time() - began
    gc.collect()
    held = resident() - before
    if isinstance(watched, cProfile.Profile):
        pstats.Stats(watched, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    played = [t for g in groups for t in g.trajectories]
    count = sum(len(t.turns) for t in played)
    last = played[0].turns[-1].action
    assert count == episodes * turns
    assert last.prompt is not None
    rollout.close()
    return {
        "words_a_turn": words,
        "last_prompt_tokens": len(last.prompt.ids),
        "cpu_ms_a_turn": round(1000 * cpu / count, 3),
        "memory_kb_an_episode": round(held / episodes / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--words", type=int, nargs="+", default=[16, 96], help="of an observation")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384) if most > 0 else 16384, most))
    if arguments.serve:
        asyncio.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            runs = []
            for words in arguments.words:
                runs.append(measure(url, arguments.episodes, arguments.turns, words, arguments.profile))
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        finally:
            server.kill()
    report = {
        "python": platform.python_version(),
        "episodes": arguments.episodes,
        "turns": arguments.turns,
        "response_tokens": RESPONSE,
        "runs": runs,
    }
    if arguments.write:
        arguments.write.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Streaming rollouts against lock-step on a live vLLM server, the same episodes in one run.

    rlsd serve policy checkpoints/warm_tiny --port 8000
    python benchmarks/rollout_served.py http://127.0.0.1:8000 [--episodes 48] [--slots 24] [--repeats 2]

The server's weights are not changed. Greedy, so that both schedules play the same episodes; a server whose sums depend
on the batch may still diverge at a tie (`same_episodes`). The schedules alternate, and the ratio is of medians.
Lock-step keeps every episode of a batch active until the last one ends, as in `rollout.py`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

from rollout import NEW_TOKENS, TURNS, lock_step_real

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import Policy, load_policy
from rlsd.agents.memory import FullHistory
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.vllm.checks import AsItIs
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.envs.core import TextEnv
from rlsd.envs.registry import make
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings


def open_env() -> TextEnv:
    return make("rlsd/ALFWorld-v0", games="gen-tiny", split="test", max_steps=TURNS)


def player(policy: Policy, url: str) -> tuple[PolicyAgent, VLLMSampler]:
    weights = AsItIs(VLLMServer(url), policy.tokenizer, context=policy.context)
    sampler = VLLMSampler(weights, eos_ids=policy.eos_ids, temperature=0.0, context=policy.context)
    sampler.connect()
    chat = ChatFormat(policy.tokenizer, sorted(policy.eos_ids))
    memory = FullHistory(format=FORMATS["compact"])
    return PolicyAgent(chat=chat, memory=memory, sampler=sampler, max_new_tokens=NEW_TOKENS), sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--model", type=Path, default=Path("checkpoints/warm_tiny"), help="what the server serves")
    parser.add_argument("--episodes", type=int, default=48)
    parser.add_argument("--slots", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    policy = load_policy(arguments.model)
    tasks = list(open_env().tasks())[: arguments.episodes]
    seconds: dict[str, list[float]] = {"streaming": [], "lockstep": []}
    results: dict[str, Any] = {"episodes": arguments.episodes, "slots": arguments.slots}
    for repeat in range(arguments.repeats + 1):  # the first one warms the server up
        agent, sampler = player(policy, arguments.url)
        rollout = Rollout(open_env, agent, RolloutSettings(slots=arguments.slots, hindsight=False))
        started = time.perf_counter()
        groups = rollout.groups(tasks, 1, stream="bench", iteration=0)
        streaming = time.perf_counter() - started
        rollout.close()
        played = [t for g in groups for t in g.trajectories]
        kept = sum(len(turn.action.token_ids) for t in played for turn in t.turns)
        other, lock = player(policy, arguments.url)
        started = time.perf_counter()
        lengths = asyncio.run(lock_step_real(open_env, other, lock, tasks, arguments.slots))
        lockstep = time.perf_counter() - started
        print(f"{repeat or 'warm-up'}: streaming {streaming:.1f} s, lock-step {lockstep:.1f} s", flush=True)
        if repeat:
            seconds["streaming"].append(streaming)
            seconds["lockstep"].append(lockstep)
        results |= {
            "success": sum(t.success for t in played) / len(played),
            "wasted_tokens": sampler.decoded_tokens - kept,
            "decoded_tokens_over_lockstep": sampler.decoded_tokens / lock.decoded_tokens,
            "same_episodes": lengths == [len(t.turns) for t in played],
        }
        sampler.close()
        lock.close()
    ratio = statistics.median(seconds["streaming"]) / statistics.median(seconds["lockstep"])
    print(json.dumps({**results, "seconds": seconds, "streaming_over_lockstep": ratio}))


if __name__ == "__main__":
    main()

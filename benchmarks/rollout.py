"""Streaming and lock-step rollouts on the same episodes: wall-clock time, wasted tokens, one straggler.

    python benchmarks/rollout.py [--episodes 48] [--slots 24] [--skip-real]

Lock-step is the usual schedule of agent trainers: all episodes of a batch take a turn together, the next turn begins
when the slowest has its observation, and finished episodes stay in the batch until the last one ends. Streaming is
`rlsd.harness.rollout.rollout`. Both play the same episodes: lengths are drawn once per success rate.

The simulated sampler has a cost per decoding step that grows slowly with the batch, like an accelerator; requests join
and leave between tokens. The real one is the shipped checkpoint on generated games (vLLM server: `rollout_served.py`).
Only ratios within one run are meaningful. For the real sampler, which computes in this process, the ratio of CPU time
is reported too, since wall-clock time is unreliable on a shared machine. Forward passes and prompt tokens are also
counted: with a small model the cost of a pass hardly depends on its rows, and both schedules need about as many passes.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import load_policy
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.memory import FullHistory
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.types import Action, EpisodeKey, FinishReason, History, Sampler, SampleRequest, SampleResult
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.registry import make
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings

TURNS = 20
"""A lost episode takes all turns."""
TOKENS = 8
"""Mean response length."""
TOKEN_S = 0.01
"""Simulated time of one decoding step at batch 1."""
STEP_S = 0.03
"""Mean simulated time of an environment step."""
NEW_TOKENS = 12
"""Longest response of the real samplers."""
STRAGGLER_S = 60.0
"""Duration of the straggler's step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One episode, the same for both schedules."""

    turns: int
    tokens: tuple[int, ...]
    steps_s: tuple[float, ...]


def plans(count: int, success: float, seed: int) -> list[Plan]:
    """Episodes of which `success` are won, after 3 to 10 turns; the others take all turns."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        turns = rng.randint(3, 10) if i < round(success * count) else TURNS
        tokens = tuple(rng.randint(TOKENS // 2, 3 * TOKENS // 2) for _ in range(TURNS))
        out.append(Plan(turns, tokens, tuple(rng.expovariate(1 / STEP_S) for _ in range(TURNS))))
    rng.shuffle(out)
    return out


class SimulatedDecoder:
    """Decodes token by token; a step costs `TOKEN_S` · (1 + batch / 64) and gives each live request one token."""

    def __init__(self) -> None:
        self.decoded = 0
        self._live: list[list[Any]] = []
        self._task: asyncio.Task[None] | None = None

    async def decode(self, tokens: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live.append([tokens, done])
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        await done

    async def _run(self) -> None:
        while self._live:
            await asyncio.sleep(TOKEN_S * (1 + len(self._live) / 64))
            self.decoded += len(self._live)
            for request in self._live:
                request[0] -= 1
                if request[0] <= 0 and not request[1].done():
                    request[1].set_result(None)
            self._live = [r for r in self._live if r[0] > 0]


class PlannedAgent:
    """Uses the planned number of tokens."""

    def __init__(self, planned: Sequence[Plan], decoder: SimulatedDecoder) -> None:
        self.planned, self.decoder = planned, decoder

    def begin(self, key: EpisodeKey) -> None:
        pass

    def end(self, key: EpisodeKey) -> None:
        pass

    async def act(self, history: History, key: EpisodeKey) -> Action:
        count = self.planned[key.group].tokens[history.turn]
        await self.decoder.decode(count)
        return Action(text="go", token_ids=(1,) * count, logps=(-1.0,) * count, finish=FinishReason.EOS)


class PlannedEnv(TextEnv):
    """Ends after the planned turns; a step takes the planned time, or the straggler's."""

    blocking = True

    def __init__(self, planned: Sequence[Plan], straggler: int | None = None) -> None:
        super().__init__()
        self.planned, self.straggler = planned, straggler

    def tasks(self) -> Sequence[Task]:
        return [Task(env_id="Planned", task_id=str(i), split="x", task_type="x") for i in range(len(self.planned))]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        assert options is not None
        self.number, self.turn = int(options["task"]), 0
        return "", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        plan = self.planned[self.number]
        stuck = self.number == self.straggler and self.turn == 1
        time.sleep(STRAGGLER_S if stuck else plan.steps_s[self.turn])
        self.turn += 1
        return "", 0.0, self.turn >= plan.turns, False, {}


def stream(planned: Sequence[Plan], slots: int, straggler: int | None = None) -> dict[str, Any]:
    """Seconds, decoded tokens, and the end time of each episode."""
    decoder, ends = SimulatedDecoder(), {}
    started = time.perf_counter()
    rollout = Rollout(
        lambda: PlannedEnv(planned, straggler),
        PlannedAgent(planned, decoder),
        RolloutSettings(slots=slots, hindsight=False, retries=0, step_timeout_s=2 * STRAGGLER_S),
        on_episode=lambda t: ends.__setitem__(t.key.group, time.perf_counter() - started),
    )
    groups = rollout.groups(PlannedEnv(planned).tasks(), 1, stream="bench", iteration=0)
    seconds = time.perf_counter() - started
    rollout.close()
    kept = sum(len(turn.action.token_ids) for g in groups for t in g.trajectories for turn in t.turns)
    return {
        "seconds": seconds,
        "decoded": decoder.decoded,
        "wasted": decoder.decoded - kept,
        "ends": ends,
        "slot_idle_share": rollout.usage.idle_share,
    }


def lock_step(planned: Sequence[Plan], slots: int) -> dict[str, Any]:
    """The same episodes, batch by batch, turn by turn; finished ones keep decoding."""
    decoder = SimulatedDecoder()
    needed = sum(sum(p.tokens[: p.turns]) for p in planned)

    async def run() -> None:
        for start in range(0, len(planned), slots):
            batch = planned[start : start + slots]
            for turn in range(max(p.turns for p in batch)):
                await asyncio.gather(*(decoder.decode(p.tokens[turn]) for p in batch))
                await asyncio.sleep(max(p.steps_s[turn] for p in batch if turn < p.turns))

    started = time.perf_counter()
    asyncio.run(run())
    return {"seconds": time.perf_counter() - started, "decoded": decoder.decoded, "wasted": decoder.decoded - needed}


def straggler_effect(slots: int) -> dict[str, float]:
    """Delay of the other episodes when one environment takes 60 s for a step."""
    planned = plans(slots, 0.5, seed=5)
    calm, stuck = stream(planned, slots), stream(planned, slots, straggler=0)
    others = [i for i in range(slots) if i != 0]
    late = statistics.median(stuck["ends"][i] - calm["ends"][i] for i in others)
    return {
        "straggler_s": STRAGGLER_S,
        "others_later_s": late,
        "others_later_share_of_straggler": max(0.0, late) / STRAGGLER_S,
        "others_done_before_the_straggler_answers": sum(stuck["ends"][i] < STRAGGLER_S for i in others) / len(others),
    }


class LockStepSampler:
    """A real sampler in lock-step: a batch is decoded for all slots, finished ones too, until all are done."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner
        self.last: dict[EpisodeKey, SampleRequest] = {}

    async def turn(self, requests: Sequence[SampleRequest]) -> list[SampleResult]:
        for request in requests:
            self.last[request.key] = request
        waiting = [asyncio.ensure_future(self.inner.sample(request)) for request in self.last.values()]
        results = dict(zip(self.last, await asyncio.gather(*waiting), strict=True))
        return [results[request.key] for request in requests]


def real(episodes: int, slots: int) -> dict[str, Any]:
    """Generated games with the shipped checkpoint, greedy, so that both schedules play the same episodes."""
    policy = load_policy("checkpoints/warm_tiny")

    def open_env() -> TextEnv:
        return make("rlsd/ALFWorld-v0", games="gen-tiny", split="test", max_steps=TURNS)

    tasks = list(open_env().tasks())[:episodes]

    def agent() -> tuple[PolicyAgent, HFSampler]:
        sampler = HFSampler(policy.model, eos_ids=policy.eos_ids, temperature=0.0, context=policy.context)
        chat = ChatFormat(policy.tokenizer, sorted(policy.eos_ids))
        return PolicyAgent(
            chat=chat, memory=FullHistory(format=FORMATS["compact"]), sampler=sampler, max_new_tokens=NEW_TOKENS
        ), sampler

    warm, _ = agent()
    rollout = Rollout(open_env, warm, RolloutSettings(slots=4, max_turns=2, hindsight=False))
    rollout.groups(tasks[:4], 1, stream="warm-up", iteration=0)
    rollout.close()

    player, sampler = agent()
    rollout = Rollout(open_env, player, RolloutSettings(slots=slots, hindsight=False))
    started, started_cpu = time.perf_counter(), time.process_time()
    groups = rollout.groups(tasks, 1, stream="bench", iteration=0)
    streaming_s, streaming_cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    rollout.close()
    played = [t for g in groups for t in g.trajectories]
    kept = sum(len(turn.action.token_ids) for t in played for turn in t.turns)
    wasted = sampler.decoded_tokens - kept

    player, lock = agent()
    started, started_cpu = time.perf_counter(), time.process_time()
    lengths = asyncio.run(lock_step_real(open_env, player, lock, tasks, slots))
    lock_s, lock_cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    return {
        "success": sum(t.success for t in played) / len(played),
        "wasted_tokens": wasted,
        "streaming_over_lockstep": streaming_s / lock_s,
        "streaming_over_lockstep_cpu": streaming_cpu_s / lock_cpu_s,
        "lockstep_wasted_share": 1 - kept / lock.decoded_tokens,
        "decoded_tokens_over_lockstep": sampler.decoded_tokens / lock.decoded_tokens,
        "forward_passes_over_lockstep": sampler.passes / lock.passes,
        "prompt_tokens_over_lockstep": sampler.prefilled_tokens / lock.prefilled_tokens,
        "same_episodes": lengths == [len(t.turns) for t in played],
        "sampler_busy_share": sampler.busy_s / streaming_s,
    }


async def lock_step_real(
    open_env: Callable[[], TextEnv], agent: PolicyAgent, sampler: Sampler, tasks: Sequence[Task], slots: int
) -> list[int]:
    lengths = []
    for start in range(0, len(tasks), slots):
        batch = tasks[start : start + slots]
        lock, envs = LockStepSampler(sampler), [open_env() for _ in batch]
        keys = [EpisodeKey("bench", 0, start + i, 0) for i in range(len(batch))]
        histories, live = [], set(range(len(batch)))
        for key, env, task in zip(keys, envs, batch, strict=True):
            sampler.join(key)
            observation, info = env.reset(options={"task": task.task_id})
            histories.append(History(goal=info["goal"], observations=(observation,), actions=()))
        while live:
            numbers = sorted(live)
            prompts = [agent.prompt(histories[i]) for i in numbers]
            requests = [
                SampleRequest(key=keys[i], turn=histories[i].turn, prompt_ids=p.ids, max_new_tokens=NEW_TOKENS)
                for i, p in zip(numbers, prompts, strict=True)
            ]
            results = await lock.turn(requests)
            for i, prompt, result in zip(numbers, prompts, results, strict=True):
                action = agent.read(prompt, result)
                observation, _, terminated, truncated, _ = envs[i].step(action.text)
                histories[i] = History(
                    goal=histories[i].goal,
                    observations=(*histories[i].observations, observation),
                    actions=(*histories[i].actions, action),
                )
                if terminated or truncated:
                    live.discard(i)
        for key in keys:
            sampler.leave(key)
        lengths += [h.turn for h in histories]
    return lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--episodes", type=int, default=48)
    parser.add_argument("--slots", type=int, default=24)
    parser.add_argument("--skip-real", action="store_true")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"episodes": arguments.episodes, "slots": arguments.slots, "simulated": {}}
    for percent in (50, 80, 90):
        planned = plans(arguments.episodes, percent / 100, seed=percent)
        a, b = stream(planned, arguments.slots), lock_step(planned, arguments.slots)
        report["simulated"][f"success_{percent}"] = {
            "streaming_over_lockstep": a["seconds"] / b["seconds"],
            "wasted_tokens": a["wasted"],
            "lockstep_wasted_share": b["wasted"] / b["decoded"],
            "slot_idle_share": a["slot_idle_share"],
        }
        print(f"success {percent} %:", json.dumps(report["simulated"][f"success_{percent}"]))
    report["straggler"] = straggler_effect(arguments.slots)
    print("straggler:", json.dumps(report["straggler"]))
    runs = list(report["simulated"].values())
    if not arguments.skip_real:
        report["real"] = real(arguments.episodes, arguments.slots)
        print("real:", json.dumps(report["real"]))
        runs.append(report["real"])
    report["wasted_tokens"] = sum(run["wasted_tokens"] for run in runs)
    report["streaming_over_lockstep"] = report["simulated"]["success_80"]["streaming_over_lockstep"]
    print(json.dumps(report))


if __name__ == "__main__":
    main()

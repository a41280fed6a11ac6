"""The rollout: failures are data, slots refill, and nothing depends on scheduling."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.chat import ChatFormat
from rlsd.agents.core import Action, ContextFull, EpisodeKey, FinishReason, History, SampleRequest
from rlsd.agents.hf_sampler import HFSampler
from rlsd.agents.memory import FullHistory, LastTurns
from rlsd.agents.models import tiny_policy
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.scripted import EchoAgent, ExpertAgent, ScriptedAgent
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.errors import EnvError
from rlsd.harness.batch import episode_metrics, token_batch
from rlsd.harness.evaluate import evaluate
from rlsd.harness.rollout import Rollout, RolloutError, RolloutSettings
from rlsd.harness.types import Group, StopReason, Trajectory
from tests.plain_worlds import Faulty, FaultyThreaded, Plain
from tests.tokenizers import FAMILIES

WALK = ScriptedAgent(["walk"])


def play(
    make_env: Callable[[], TextEnv],
    agent: Any = WALK,
    *,
    siblings: int = 2,
    tasks: list[Task] | None = None,
    **settings: Any,
) -> list[Group]:
    rollout = Rollout(make_env, agent, RolloutSettings(**settings))
    groups = rollout.groups(tasks or list(Plain().tasks()), siblings, stream="train", iteration=0)
    rollout.close()
    return groups


def keys(groups: list[Group]) -> list[tuple[int, int]]:
    return [(t.key.group, t.key.sibling) for g in groups for t in g.trajectories]


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "where, boundary, turns",
    [
        ("reset", "env.reset", 0),
        ("step 1", "env.step", 0),
        ("step 3", "env.step", 2),
        ("hindsight", "env.hindsight", 0),
    ],
)
def test_failing_environment_is_data_and_its_siblings_go_on(where: str, boundary: str, turns: int) -> None:
    left = {"t1": 2}
    groups = play(lambda: Faulty(where, left), slots=1, retries=0)
    assert [len(g.trajectories) for g in groups] == [2, 0, 2, 2]
    assert [len(g.failed) for g in groups] == [0, 2, 0, 0]
    for failed in groups[1].failed:
        assert failed.stop is StopReason.ERROR
        assert failed.error is not None
        assert failed.error.boundary == boundary
        assert failed.error.message.startswith("OSError: broken in")
        assert not failed.success
        assert len(failed.turns) == turns


def test_failure_is_tried_again() -> None:
    left = {"t1": 1}
    seen: list[Trajectory] = []
    rollout = Rollout(
        lambda: Faulty("step 2", left), WALK, RolloutSettings(slots=2, retries=1), on_episode=lambda t: seen.append(t)
    )
    groups = rollout.groups(Plain().tasks(), 2, stream="train", iteration=0)
    assert left == {"t1": 0}
    assert all(len(g.trajectories) == 2 and not g.failed for g in groups)
    attempts = sorted(t.key.attempt for t in groups[1].trajectories)
    assert attempts == [0, 1], "the failed episode was played again, under a key of its own"
    assert all(t.success and len(t.turns) == 3 for g in groups for t in g.trajectories)
    assert len(seen) == 8, "the failed attempt is not an episode"


def test_errored_sibling_leaves_its_group_instead_of_counting_as_zero() -> None:
    left = {"t0": 2}
    groups = play(lambda: Faulty("step 3", left), siblings=3, slots=1, retries=1)
    assert [len(g.trajectories) for g in groups] == [2, 3, 3, 3]
    assert len(groups[0].failed) == 1
    batch = token_batch(groups)
    assert batch.returns.tolist() == [1.0] * 11
    metrics = episode_metrics(groups)
    assert metrics["episodes"] == 11
    assert metrics["failed_episodes"] == 1
    assert metrics["success"] == 1.0


def test_broken_environment_is_replaced_by_a_new_one() -> None:
    left, made = {"t0": 1}, []

    def make() -> TextEnv:
        made.append(Faulty("step 2", left))
        return made[-1]

    play(make, siblings=1, slots=1, retries=1)
    assert len(made) == 2


def test_every_episode_failing_is_an_error_with_the_first_reason() -> None:
    left = {f"t{i}": 99 for i in range(4)}
    with pytest.raises(RolloutError, match=r"all 8 episodes failed .*env\.reset: OSError: broken in reset"):
        play(lambda: Faulty("reset", left))


def test_failed_episodes_count_as_lost_in_an_evaluation() -> None:
    left = {"t1": 9}
    result = evaluate(lambda: Faulty("reset", left), WALK, stream="test", settings=RolloutSettings(slots=2, retries=0))
    assert result.success == 0.75
    assert result.summary()["errors"] == 1
    assert result.summary()["episodes"] == 4
    assert result.wins() == {"t0": True, "t1": False, "t2": True, "t3": True}


def test_environment_that_cannot_be_opened() -> None:
    def make() -> TextEnv:
        raise OSError("no server")

    with pytest.raises(RolloutError, match=r"env\.reset: OSError: no server"):
        play(make)


def test_hanging_environment_is_given_up() -> None:
    left, release = {"t1": 1}, threading.Event()
    started = time.perf_counter()
    groups = play(lambda: FaultyThreaded("step 2", left, hang=release), slots=1, retries=0, step_timeout_s=0.2)
    assert time.perf_counter() - started < 20
    release.set()
    assert [len(g.trajectories) for g in groups] == [2, 1, 2, 2]
    (failed,) = groups[1].failed
    assert failed.error is not None
    assert failed.error.boundary == "env.step"
    assert failed.error.message == "no answer within 0.2 s"


def test_threaded_environment_gives_the_same_episodes() -> None:
    plain = play(lambda: Faulty("", {}), slots=3)
    threaded = play(lambda: FaultyThreaded("", {}), slots=3, step_timeout_s=30.0)
    assert [[t.to_json() for t in g.trajectories] for g in threaded] == [
        [t.to_json() for t in g.trajectories] for g in plain
    ]


def test_timeout_raised_by_the_environment_itself_is_told_apart() -> None:
    class Slow(Plain):
        blocking = True

        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            raise TimeoutError("the server did not answer")

    with pytest.raises(RolloutError, match=r"env\.step: TimeoutError: the server did not answer"):
        play(Slow, retries=0, step_timeout_s=30.0)


def test_interpreter_exits_while_an_environment_hangs() -> None:
    code = (
        "import threading\n"
        "from tests.plain_worlds import FaultyThreaded, Plain\n"
        "from rlsd.agents.scripted import ScriptedAgent\n"
        "from rlsd.harness.rollout import Rollout, RolloutSettings\n"
        "make = lambda: FaultyThreaded('step 2', {'t1': 1}, hang=threading.Event())\n"
        "rollout = Rollout(make, ScriptedAgent(['walk']), RolloutSettings(step_timeout_s=0.2, retries=0))\n"
        "groups = rollout.groups(Plain().tasks(), 1, stream='train', iteration=0)\n"
        "rollout.close()\n"
        "print(sum(len(g.failed) for g in groups))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def test_fault_of_the_agent_stops_the_run_with_its_own_error() -> None:
    """Not a group of errors: one fault, told once."""
    with pytest.raises(EnvError, match="Plain has no 'oracle' expert"):
        play(Plain, ExpertAgent("oracle"), slots=4)


# ---------------------------------------------------------------------- stops


def test_max_turns() -> None:
    groups = play(lambda: Plain(length=5), max_turns=2)
    assert all(t.stop is StopReason.MAX_TURNS and len(t.turns) == 2 for g in groups for t in g.trajectories)
    assert all(not t.success and t.score == pytest.approx(0.4) for g in groups for t in g.trajectories)
    assert {t.stop for g in play(lambda: Plain(length=2), max_turns=2) for t in g.trajectories} == {
        StopReason.TERMINATED
    }


def test_truncation_is_the_worlds_own() -> None:
    groups = play(lambda: Plain(length=9, limit=4))
    assert all(t.stop is StopReason.TRUNCATED and len(t.turns) == 4 for g in groups for t in g.trajectories)


class Full:
    """Runs out of context at its third turn."""

    def begin(self, key: EpisodeKey) -> None:
        pass

    def end(self, key: EpisodeKey) -> None:
        pass

    async def act(self, history: History, key: EpisodeKey) -> Action:
        if history.turn == 2:
            raise ContextFull
        return Action(text="walk")


def test_full_context_is_a_stop_reason() -> None:
    groups = play(lambda: Plain(length=4), Full())
    for trajectory in (t for g in groups for t in g.trajectories):
        assert trajectory.stop is StopReason.CONTEXT_FULL
        assert trajectory.error is None
        assert len(trajectory.turns) == 2
        assert trajectory.score == pytest.approx(0.5)


# ---------------------------------------------------------------------- scheduling


def test_more_episodes_than_slots() -> None:
    """Never more in flight than slots, and a slot takes the next episode the moment its own ends."""
    live: set[EpisodeKey] = set()
    most, begun = 0, []

    class Watching(ScriptedAgent):
        def begin(self, key: EpisodeKey) -> None:
            nonlocal most
            live.add(key)
            begun.append(len(live))
            most = max(most, len(live))

        def end(self, key: EpisodeKey) -> None:
            live.remove(key)

        async def act(self, history: History, key: EpisodeKey) -> Action:
            await asyncio.sleep(0)
            return await super().act(history, key)

    made: list[TextEnv] = []

    def make() -> TextEnv:
        made.append(Plain())
        return made[-1]

    groups = play(make, Watching(["walk"]), siblings=3, slots=5)
    assert keys(groups) == [(g, s) for g in range(4) for s in range(3)]
    assert most == 5
    assert begun[5:] == [5] * 7, "refilled at once"
    assert len(made) == 5
    assert not live


def test_user_reward() -> None:
    rollout = Rollout(Plain, WALK, RolloutSettings(), reward=lambda t: len(t.turns) + t.key.sibling / 4)
    groups = rollout.groups(Plain().tasks(), 2, stream="train", iteration=0)
    assert [[t.returns for t in g.trajectories] for g in groups] == [[3.0, 3.25]] * 4
    assert all(t.success for g in groups for t in g.trajectories), "what is reported stays the world's"


@pytest.mark.parametrize(
    ("reward", "told"),
    [(lambda t: 1 / 0, "ZeroDivisionError"), (lambda t: float("nan"), "nan"), (lambda t: "much", "ValueError")],
)
def test_a_reward_that_is_no_number_is_one_clear_error(reward: Any, told: str) -> None:
    rollout = Rollout(Plain, WALK, RolloutSettings(), reward=reward)
    with pytest.raises(RolloutError, match=rf"reward function .*{told}"):
        rollout.groups(list(Plain().tasks())[:1], 1, stream="test", iteration=0)


def test_user_reward_is_not_asked_about_failed_episodes() -> None:
    asked: list[Trajectory] = []

    def reward(trajectory: Trajectory) -> float:
        asked.append(trajectory)
        return 1.0

    rollout = Rollout(lambda: Faulty("step 2", {"t1": 9}), WALK, RolloutSettings(retries=1), reward=reward)
    rollout.groups(Plain().tasks(), 1, stream="train", iteration=0)
    assert sorted(t.task.task_id for t in asked) == ["t0", "t2", "t3"]


# ---------------------------------------------------------------------- with a language model


def policy_agent(
    family: str = "compact", *, context: int = 1024, new: int = 6, memory: str = "full", temperature: float = 1.0
) -> PolicyAgent:
    policy = tiny_policy(FAMILIES[family](), layers=2, dim=32, heads=2, context=context, seed=3)
    return PolicyAgent(
        format=ChatFormat(policy.tokenizer, sorted(policy.eos_ids)),
        memory=FullHistory(style="compact") if memory == "full" else LastTurns(style="compact"),
        sampler=HFSampler(policy.model, eos_ids=policy.eos_ids, seed=5, context=context, temperature=temperature),
        max_new_tokens=new,
    )


def actions(groups: list[Group]) -> list[list[tuple[int, ...]]]:
    return [[turn.action.token_ids for turn in t.turns] for g in groups for t in g.trajectories]


@pytest.mark.parametrize("memory", ["full", "last"])
def test_results_do_not_depend_on_the_number_of_slots(memory: str) -> None:
    found = [play(Plain, policy_agent(memory=memory), siblings=3, slots=slots) for slots in (1, 3, 8)]
    assert actions(found[0]) == actions(found[1]) == actions(found[2])
    logps = [[x for g in f for t in g.trajectories for turn in t.turns for x in turn.action.logps] for f in found]
    assert logps[1] == pytest.approx(logps[0], abs=1e-4)
    assert logps[2] == pytest.approx(logps[0], abs=1e-4)
    assert len(set(map(str, actions(found[0])))) > 6, "siblings draw their own numbers"


def test_a_rollout_repeats_bit_for_bit() -> None:
    first, second = (play(Plain, policy_agent(), siblings=3, slots=5) for _ in range(2))
    assert [[t.to_json() for t in g.trajectories] for g in first] == [
        [t.to_json() for t in g.trajectories] for g in second
    ]
    assert actions(first) == actions(second)


def test_threads_do_not_change_what_is_sampled() -> None:
    """Environments that answer in any order: the sampler waits for all, and serves in episode order."""

    class Uneven(FaultyThreaded):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            time.sleep(0.02 * (3 - int(self.task.task_id[1:])))
            return super().step(action)

    plain = play(lambda: Faulty("", {}), policy_agent(), slots=4)
    threaded = play(lambda: Uneven("", {}), policy_agent(), slots=4, step_timeout_s=30.0)
    assert actions(threaded) == actions(plain)


def test_no_token_is_decoded_for_a_finished_episode() -> None:
    """Episodes of different lengths side by side; some responses end early, some are cut."""

    class Uneven(Plain):
        def reset(self, **kwargs: Any) -> tuple[str, dict[str, Any]]:
            out = super().reset(**kwargs)
            self.length = 1 + 2 * int(self.task.task_id[1:])
            return out

    agent = policy_agent(new=40)
    groups = play(Uneven, agent, siblings=3, slots=12)
    turns = [turn for g in groups for t in g.trajectories for turn in t.turns]
    assert {turn.action.finish for turn in turns} == {FinishReason.EOS, FinishReason.LENGTH}
    assert isinstance(agent.sampler, HFSampler)
    assert agent.sampler.decoded_tokens == sum(len(turn.action.token_ids) for turn in turns)


def test_small_context_stops_episodes_and_the_others_go_on() -> None:
    class Talkative(Plain):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            out = super().step(action)
            return (" and more" * 12 if self.task.task_id == "t1" else out[0], *out[1:])

    agent = policy_agent(context=96)
    groups = play(lambda: Talkative(length=3), agent, slots=3)
    stops = {t.task.task_id: t.stop for g in groups for t in g.trajectories}
    assert stops["t1"] is StopReason.CONTEXT_FULL
    assert stops["t0"] is StopReason.TERMINATED
    for turn in (turn for g in groups for t in g.trajectories for turn in t.turns):
        assert turn.action.prompt is not None
        assert len(turn.action.prompt.ids) + len(turn.action.token_ids) <= 96


def test_context_too_small_for_any_turn_gives_episodes_without_turns() -> None:
    groups = play(Plain, policy_agent(context=16))
    assert all(t.turns == () and t.stop is StopReason.CONTEXT_FULL for g in groups for t in g.trajectories)
    batch = token_batch(groups)
    assert len(batch.turn) == 0
    assert len(batch.returns) == 8


def test_echo_agent_breaks_no_world() -> None:
    groups = play(lambda: Plain(length=2), EchoAgent())
    assert all(t.success for g in groups for t in g.trajectories)


@pytest.mark.parametrize("error", [StopIteration("over"), ValueError("odd"), KeyError("x")])
def test_whatever_a_threaded_environment_raises_is_data(error: Exception) -> None:
    class Raising(Plain):
        blocking = True

        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            raise error

    started = time.perf_counter()
    with pytest.raises(RolloutError, match=type(error).__name__):
        play(Raising, retries=0, step_timeout_s=30.0)
    assert time.perf_counter() - started < 25


# ---------------------------------------------------------------------- opening and closing


class Stuck(FaultyThreaded):
    """Hangs while it is opened or closed, as often as `left` says."""

    def __init__(self, where: str, left: dict[str, int], release: threading.Event) -> None:
        super().__init__("", {})
        self.stuck_at, self.times, self.release = where, left, release
        self.abandoned = False
        self._wait("open")

    def _wait(self, where: str) -> None:
        if where == self.stuck_at and self.times.get(where, 0) > 0:
            self.times[where] -= 1
            self.release.wait(600)

    def close(self) -> None:
        self._wait("close")

    def abandon(self) -> None:
        self.abandoned = True


def test_environment_that_hangs_while_it_is_opened_is_given_up() -> None:
    left, release = {"open": 1}, threading.Event()
    groups = play(lambda: Stuck("open", left, release), slots=2, retries=0, step_timeout_s=0.3)
    release.set()
    failed = [t for g in groups for t in g.failed]
    assert [str(f.error and f.error.message) for f in failed] == ["no answer within 0.3 s"]
    assert [f.error and f.error.boundary for f in failed] == ["env.reset"]
    assert sum(len(g.trajectories) for g in groups) == 7


def test_environment_that_hangs_while_it_is_closed_holds_nobody_up() -> None:
    left, release, made = {"close": 2}, threading.Event(), []

    def make() -> TextEnv:
        made.append(Stuck("close", left, release))
        return made[-1]

    rollout = Rollout(make, WALK, RolloutSettings(slots=3, step_timeout_s=0.3))
    rollout.groups(Plain().tasks(), 1, stream="train", iteration=0)
    rollout.close()  # returns
    assert sum(env.abandoned for env in made) == 2
    release.set()


def test_cheap_environments_are_opened_in_this_thread() -> None:
    """All but the first, of which nobody knows yet; so thousands of them cost no threads."""
    threads: list[int] = []

    def make() -> TextEnv:
        threads.append(threading.get_ident())
        return Plain()

    play(make, slots=4)
    assert threads[0] != threading.get_ident()
    assert set(threads[1:]) == {threading.get_ident()}


def test_usage_says_where_the_time_went() -> None:
    class Slow(FaultyThreaded):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            time.sleep(0.02)
            return super().step(action)

    rollout = Rollout(lambda: Slow("", {}), WALK, RolloutSettings(slots=2, step_timeout_s=30.0))
    rollout.groups(Plain().tasks(), 1, stream="train", iteration=0)
    rollout.close()
    usage = rollout.usage
    assert usage.slots == 2
    assert usage.env_s >= 12 * 0.02, "four episodes of three steps"
    assert usage.wall_s > 0
    assert 0 <= usage.idle_share <= 1
    assert usage.env_s + usage.agent_s <= usage.wall_s * usage.slots


def test_eager_dispatch_while_episodes_come_and_go() -> None:
    """Requests are served in a thread meanwhile: slots grow, are given back and taken again, and nothing mixes."""

    class Uneven(FaultyThreaded):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            time.sleep(0.003 * (hash((self.task.task_id, self.steps)) % 4))
            return super().step(action)

    plain = play(lambda: Faulty("", {}), policy_agent(), siblings=8, slots=32)
    agent = policy_agent()
    assert isinstance(agent.sampler, HFSampler)
    agent.sampler.dispatch = "eager"
    eager = play(lambda: Uneven("", {}), agent, siblings=8, slots=32, step_timeout_s=60.0)
    assert actions(eager) == actions(plain)
    found = (plain, eager)
    logps = [[x for g in f for t in g.trajectories for turn in t.turns for x in turn.action.logps] for f in found]
    assert logps[1] == pytest.approx(logps[0], abs=1e-4)
    assert agent.sampler.decoded_tokens == sum(len(ids) for episode in actions(eager) for ids in episode)


def test_weights_may_not_change_while_responses_are_generated() -> None:
    agent = policy_agent()
    sampler = agent.sampler
    assert isinstance(sampler, HFSampler)

    sampler.dispatch = "eager"

    async def run() -> None:
        key = EpisodeKey("train", 0, 0, 0)
        sampler.join(key)
        task = asyncio.ensure_future(
            sampler.sample(SampleRequest(key=key, turn=0, prompt_ids=tuple(range(5, 15)), max_new_tokens=40))
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="refresh between rollouts"):
            sampler.refresh(1)
        assert len((await task).token_ids) > 0
        sampler.refresh(1)
        assert sampler.version == 1

    asyncio.run(run())

"""The rollout: slots refill, stops have reasons, and nothing depends on scheduling."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import tiny_policy
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.memory import FullHistory, LastTurns
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.scripted import EchoAgent, ScriptedAgent
from rlsd.agents.types import Action, ContextFull, EpisodeKey, FinishReason, History, SampleRequest
from rlsd.envs.core import TextEnv
from rlsd.harness.rollout.rollout import Rollout, RolloutError, RolloutSettings
from rlsd.harness.rollout.trajectory import Group, StopReason, Trajectory
from rlsd.harness.scoring.tables import token_batch
from tests.support.plain_worlds import Faulty, FaultyThreaded, Plain
from tests.support.rollouts import WALK, keys, play
from tests.support.tokenizers import FAMILIES

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


# ---------------------------------------------------------------------- what a turn records


@pytest.mark.parametrize("parsed", [True, False])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_turn_is_valid_where_the_parser_and_the_world_both_say_so(parsed: bool, accepted: bool) -> None:
    class Saying(ScriptedAgent):
        async def act(self, history: History, key: EpisodeKey) -> Action:
            return Action(text="walk", valid=parsed)

    class Judging(Plain):
        def info(self, valid: bool) -> dict[str, Any]:
            return {**super().info(valid), "valid_action": accepted}

    groups = play(Judging, Saying(["walk"]), siblings=1)
    valid = [turn.valid for g in groups for t in g.trajectories for turn in t.turns]
    assert valid == [parsed and accepted] * 12
    assert token_batch(groups).valid.tolist() == valid


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
    assert [[t.episode_return for t in g.trajectories] for g in groups] == [[3.0, 3.25]] * 4
    assert all(t.success for g in groups for t in g.trajectories), "what is reported stays the world's"


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (lambda t: 1 / 0, "ZeroDivisionError"),
        (lambda t: float("nan"), "nan"),
        (lambda t: 1e308, r"1e\+308"),
        (lambda t: "much", "ValueError"),
    ],
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
        chat=ChatFormat(policy.tokenizer, sorted(policy.eos_ids)),
        memory=FullHistory(format=FORMATS["compact"]) if memory == "full" else LastTurns(format=FORMATS["compact"]),
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

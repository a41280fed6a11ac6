"""Agents without a language model."""

from __future__ import annotations

import asyncio

import pytest

from rlsd.agents.scripted import EchoAgent, EchoSampler, ExpertAgent, RandomAgent, ScriptedAgent, ScriptedSampler
from rlsd.agents.seeding import derive, generator
from rlsd.agents.types import Action, EpisodeKey, FinishReason, History, Informed, SampleRequest
from rlsd.envs.errors import EnvError
from rlsd.envs.registry import make
from rlsd.harness.evals.evaluate import evaluate
from rlsd.harness.rollout.rollout import RolloutSettings
from tests.support.plain_worlds import Plain

KEY = EpisodeKey("test", 0, 0, 0)


def history(turn: int = 0, admissible: tuple[str, ...] | None = ("go", "look", "take")) -> History:
    return History(
        goal="g",
        observations=tuple(f"o{k}" for k in range(turn + 1)),
        actions=(Action(text="x"),) * turn,
        admissible=admissible,
    )


def test_random_agent_depends_on_seed_episode_and_turn_alone() -> None:
    def play(seed: int, key: EpisodeKey) -> list[str]:
        return [asyncio.run(RandomAgent(seed).act(history(k), key)).text for k in range(12)]

    assert play(1, KEY) == play(1, KEY)
    assert play(1, KEY) != play(2, KEY)
    assert play(1, KEY) != play(1, KEY._replace(sibling=1))
    assert set(play(1, KEY)) == {"go", "look", "take"}
    assert asyncio.run(RandomAgent(0).act(history(admissible=None), KEY)).text == "look"


def test_scripted_agent_repeats_its_last_command() -> None:
    agent = ScriptedAgent(["a", "b"])
    assert [asyncio.run(agent.act(history(k), KEY)).text for k in range(4)] == ["a", "b", "b", "b"]
    with pytest.raises(ValueError, match="at least one"):
        ScriptedAgent([])


def test_echo_agent() -> None:
    assert asyncio.run(EchoAgent().act(history(2), KEY)).text == "o2"


@pytest.mark.parametrize("kind", ["explorer", "oracle"])
def test_experts_win_generated_games(kind: str) -> None:
    agent = ExpertAgent(kind)
    assert isinstance(agent, Informed)
    result = evaluate(
        lambda: make("rlsd/ALFWorld-v0", games="gen-tiny", split="test"),
        agent,
        stream="test",
        settings=RolloutSettings(slots=4, hindsight=False),
        episodes=12,
    )
    assert result.success == 1.0
    assert agent._envs == {}, "ended episodes are forgotten"


def test_noise_marks_its_actions_and_repeats() -> None:
    def play() -> list[tuple[str, bool]]:
        result = evaluate(
            lambda: make("rlsd/ALFWorld-v0", games="gen-tiny", split="test", max_steps=15),
            ExpertAgent("explorer", noise=0.5, seed=3),
            stream="test",
            settings=RolloutSettings(slots=2, hindsight=False),
            episodes=6,
        )
        return [(turn.action.text, turn.action.explored) for t in result.trajectories for turn in t.turns]

    first = play()
    assert first == play()
    share = sum(explored for _, explored in first) / len(first)
    assert 0.25 < share < 0.75


def test_missing_expert() -> None:
    agent = ExpertAgent("oracle")
    agent.bind(KEY, Plain())
    with pytest.raises(EnvError, match="Plain has no 'oracle' expert"):
        asyncio.run(agent.act(history(), KEY))


def test_scripted_sampler_answers_by_sibling_and_turn() -> None:
    sampler = ScriptedSampler({(1, 0): (7, 8, 9)}, (3, 4), frozenset({4}))
    requests = [
        SampleRequest(key=KEY._replace(sibling=s), turn=t, prompt_ids=(1, 2), max_new_tokens=n)
        for s, t, n in ((1, 0, 5), (1, 0, 2), (1, 1, 5), (0, 0, 5))
    ]
    results = [asyncio.run(sampler.sample(r)) for r in requests]
    assert [r.token_ids for r in results] == [(7, 8, 9), (7, 8), (3, 4), (3, 4)]
    assert [r.finish for r in results] == [FinishReason.LENGTH, FinishReason.LENGTH, FinishReason.EOS, FinishReason.EOS]
    assert [len(r.logps) for r in results] == [3, 2, 2, 2]
    assert sampler.requests == requests


def test_echo_sampler_repeats_the_prompts_end() -> None:
    request = SampleRequest(key=KEY, turn=0, prompt_ids=(1, 2, 3, 4, 5, 6), max_new_tokens=3)
    assert asyncio.run(EchoSampler(4).sample(request)).token_ids == (4, 5, 6)


def test_names_decide_random_numbers() -> None:
    assert generator(1, "a").random() == generator(1, "a").random()
    assert generator(1, "a").random() != generator(1, "b").random()
    assert generator(1, "a", "b").random() != generator(1, "ab").random()
    assert generator(1, "a").random() != generator(2, "a").random()
    assert 0 <= derive(3, "x") < 2**31
    assert derive(3, "x") != derive(3, "y")


def test_half_of_the_noise_is_misfires() -> None:
    """Some stray turns are commands the world does not take, so that a warm start sees refusals."""
    commands = ("go to drawer 1", "take mug 1 from drawer 1", "examine drawer 1", "inventory")
    agent = ExpertAgent("explorer", noise=0.9, seed=1)
    agent.bind(KEY, make("rlsd/Keys-v0"))
    agent._envs[KEY].reset(seed=0)
    texts = [asyncio.run(agent.act(history(turn, commands), KEY)).text for turn in range(60)]
    assert any(text not in (*commands, "x") and text.startswith(("go", "take", "examine")) for text in texts)
    assert texts.count("x") > 0
    assert sum(text in commands for text in texts) > 15

"""The environment: contract, turns, limits, scores, hindsight, experts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from rlsd.envs import EnvError, Hindsight, TaskError, check_env, make
from rlsd.envs.core import Panel
from rlsd.envs.searchqa.env import SearchQAEnv
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.base import RetrieverDown, RetrieverGarbled, ask
from rlsd.envs.searchqa.retrieval.corpora import read_corpus
from rlsd.envs.searchqa.retrieval.local import FlakyRetriever, NoRetriever
from rlsd.envs.searchqa.retrieval.store import Store, write_store

TINY = {"questions": "gen-tiny", "split": "test"}


def opened(**arguments: Any) -> SearchQAEnv:
    env = make("rlsd/SearchQA-v0", **{**TINY, **arguments})
    assert isinstance(env, SearchQAEnv)
    return env


def two_hops(env: SearchQAEnv) -> str:
    return next(t.task_id for t in env.tasks() if t.task_type == "2-hop")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"protocol": "search-r1"}, {"format": "tool", "reward": "f1"}, {"corpus": "none"}],
    ids=str,
)
def test_the_contract(arguments: dict[str, Any]) -> None:
    findings = check_env(lambda: opened(**arguments))
    assert [f"{f.name}: {f.message}" for f in findings if not f.ok] == []


def test_the_default_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLSD_DATA", raising=False)
    env = gymnasium.make("rlsd/SearchQA-v0")
    question, info = env.reset(seed=0)
    assert info["goal"] == question


@pytest.mark.parametrize(
    "arguments", [{}, {"format": "tool"}, {"protocol": "search-r1"}, {"questions": "gen-default"}], ids=str
)
def test_the_oracle_wins(arguments: dict[str, Any]) -> None:
    """≥ 0.95 exact match on the generated world, with every supporting paragraph retrieved on the way."""
    env, wins, found = opened(**arguments), 0, 0.0
    tasks = env.tasks()[:120]
    for task in tasks:
        env.reset(options={"task": task.task_id})
        done = False
        while not done:
            action = env.expert("oracle")
            assert action is not None
            _, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            assert info["valid_action"]
        wins += info["success"]
        found += env._witness.recall if env._witness else 0.0
    assert wins / len(tasks) >= 0.95
    assert found / len(tasks) >= 0.95


def test_an_episode_turn_by_turn() -> None:
    env = opened()
    question, info = env.reset(options={"task": two_hops(env)})
    assert info == {
        "task_id": two_hops(env), "task_type": "2-hop", "goal": question, "admissible_actions": None,
        "valid_action": True, "success": False, "score": 0.0, "feedback": "",
    }  # fmt: skip
    before = env.hindsight()
    assert before.distance == 3
    assert before.plan == before.demonstration
    assert len(before.missing) == len(before.whereabouts) == 2
    shown, reward, terminated, truncated, info = env.step(before.plan[0])
    assert shown.startswith("<information>Doc 1(Title: ")
    assert (reward, terminated, truncated, info["valid_action"]) == (0.0, False, False, True)
    after = env.hindsight()
    assert after.distance == 2
    assert after.plan == before.plan[1:]
    assert after.missing == before.missing[1:]
    assert "(1 of 2 found)" in after.feedback
    assert after.whereabouts[0].endswith("(found)")
    env.step(before.plan[0])
    assert "nothing new" in env.hindsight().feedback
    assert env.hindsight().distance == 2
    _, reward, terminated, truncated, info = env.step(f"<answer>{before.answer}</answer>")
    assert (reward, terminated, truncated, info["success"], info["score"]) == (1.0, True, False, True, 1.0)
    end = env.hindsight()
    assert (end.distance, end.plan, end.missing, end.lost, end.feedback) == (0, (), (), (), "The answer is right.")
    after_the_end = env.step("<search>more</search>")
    assert after_the_end[1:4] == (0.0, True, False)


def test_what_was_lost() -> None:
    env = opened(max_steps=2)
    env.reset(options={"task": two_hops(env)})
    plan = env.hindsight().plan
    assert len(plan) == 2, "no turn is left for the second search"
    env.step("<answer>nobody at all</answer>")
    wrong = env.hindsight()
    assert wrong.lost[0] == "the answer was wrong"
    assert [text.startswith("never retrieved: ") for text in wrong.lost[1:]] == [True, True]
    assert wrong.distance == math.inf
    assert "nobody" not in json.dumps(wrong.to_json()), "the policy's own text is not hindsight"
    env.reset(options={"task": two_hops(env)})
    env.step("I wonder")
    *_, truncated, info = env.step(plan[0])
    assert truncated
    assert not info["success"]
    assert env.hindsight().lost[0] == "no answer was given"
    assert len(env.hindsight().lost) == 2
    assert Hindsight.from_json(json.loads(json.dumps(wrong.to_json()))) == wrong


def test_hindsight_stays_out_of_what_the_player_reads() -> None:
    env = opened(corpus="none")
    observation, info = env.reset(options={"task": two_hops(env)})
    known = env.hindsight()
    secrets = [known.answer or "", *(s.title for s in env._library.question(env._task).support[1:])]
    texts = [observation, json.dumps(info)]
    for action in ("<search>x</search>", "nonsense", "<answer>x</answer>"):
        shown, *_, info = env.step(action)
        texts += [shown, json.dumps(info)]
    assert not [(secret, text) for secret in secrets for text in texts if secret in text]


def test_turns_that_cannot_be_read() -> None:
    env = opened()
    env.reset(seed=0)
    shown, reward, *_, info = env.step("<search>a</search><answer>b</answer>")
    assert (reward, info["valid_action"]) == (0.0, False)
    assert info["feedback"] == "a search and an answer in one turn"
    assert "<search>a query</search>" in shown
    assert env.hindsight().feedback == "Nothing was done: a search and an answer in one turn."
    shown, *_ = opened_tool().step("hm")
    assert "<tool_call>" in shown
    *_, info = env.step(b"bytes")  # type: ignore[arg-type]
    assert not info["valid_action"]


def opened_tool() -> SearchQAEnv:
    env = opened(format="tool")
    env.reset(seed=0)
    return env


def test_several_queries_in_one_turn() -> None:
    env = opened(max_steps=2)
    env.reset(options={"task": two_hops(env)})
    queries = [hop.query for hop in env._library.question(env._task).hops]
    shown, *_ = env.step("".join(f"<search>{q}</search>" for q in queries))
    assert shown.count("<information>") == 2
    assert env.hindsight().missing == ()
    assert env.hindsight().distance == 1


def test_rewards() -> None:
    env = opened(reward="f1", recall_reward=0.5)
    env.reset(options={"task": two_hops(env)})
    known = env.hindsight()
    assert [env.step(action)[1] for action in known.plan[:2]] == [0.25, 0.25]
    _, reward, _, _, info = env.step(f"<answer>{known.answer} or somebody</answer>")
    assert 0 < reward == info["score"] < 1
    assert not info["success"]


def test_a_failed_search_costs_no_turn() -> None:
    flaky = FlakyRetriever(NoRetriever(), {0: RetrieverDown("nobody there")})
    env = opened(corpus=flaky, max_steps=2)
    env.reset(seed=0)
    with pytest.raises(RetrieverDown, match="nobody there"):
        env.step("<search>x</search>")
    assert env.hindsight().feedback == ""
    assert env.step("<search>x</search>")[3] is False
    assert env.step("<search>x</search>")[3] is True


LONE = {"id": "a\ud800", "contents": "T\udfff\nhalf of a pair: \ud83d, a whole one: \U0001f642"}
MENDED = ("T\ufffd", "half of a pair: \ufffd, a whole one: \U0001f642")


def test_lone_surrogates_in_what_a_retriever_answers_are_replaced(tmp_path: Path) -> None:
    """From a user's own retriever, from a server's reply, and from a corpus, stored or not."""
    title, _, text = LONE["contents"].partition("\n")

    class Own:
        blocking = False

        async def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [[Passage(title=title, text=text, doc_id="7", score=2.0)] for _ in queries]

    assert ask(Own(), ["q"], 3) == [[Passage(title=MENDED[0], text=MENDED[1], doc_id="7", score=2.0)]]
    env = opened(corpus=Own(), topk=1)
    env.reset(seed=0)
    observation, *_ = env.step("<search>x</search>")
    assert observation == f"<information>Doc 1(Title: {MENDED[0]}) {MENDED[1]}</information>"
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps(LONE) + "\n")
    (passage,) = read_corpus(corpus)
    assert (passage.title, passage.text, passage.doc_id) == (*MENDED, "a\ufffd")
    assert write_store([replace(passage, title=title, text=text)], tmp_path) == 1
    assert Store(tmp_path)[0] == passage


def test_answers_of_the_wrong_shape_are_refused() -> None:
    class Wrong:
        blocking = False

        async def search(self, queries: list[str], k: int) -> list[list[Passage]]:
            return [[Passage(title="a", text="b")] * (k + 1)]

    class Waiting(NoRetriever):
        async def search(self, queries: Any, k: int) -> list[list[Passage]]:
            import asyncio

            await asyncio.sleep(0)
            return [[]]

    with pytest.raises(RetrieverGarbled, match=r"lists of \[4\]"):
        ask(Wrong(), ["q"], 3)
    with pytest.raises(Exception, match="set blocking = True"):
        ask(Waiting(), ["q"], 3)
    waiting = Waiting()
    waiting.blocking = True
    assert ask(waiting, ["q"], 3) == [[]]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"question": "x"}, "Did you mean 'questions'"),
        ({"protocol": "search-r2"}, "Did you mean 'search-r1'"),
        ({"format": "xml"}, "unknown format 'xml'"),
        ({"reward": "bleu"}, "unknown reward"),
        ({"max_steps": 0}, "max_steps must be"),
        ({"topk": "3"}, "topk must be"),
        ({"max_obs_chars": 10}, "max_obs_chars must be"),
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"questions": "gen-tyni"}, "Did you mean 'gen-tiny'"),
        ({"corpus": "http://"}, "not the address of a retriever"),
        ({"corpus": "ftp://x"}, "not the address of a retriever"),
        ({"corpus": "http://x", "token": "$NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError, match=words):
        opened(**arguments)


def test_wrong_tasks_and_uses(tmp_path: Path) -> None:
    env = opened()
    with pytest.raises(EnvError, match="call reset"):
        env.step("x")
    with pytest.raises(TaskError, match="Did you mean"):
        env.reset(options={"task": "gen-tiny/test/0-99"})
    env.reset(seed=0)
    assert env.expert("explorer") is None
    with pytest.raises(EnvError, match="unknown expert"):
        env.expert("wizard")
    with pytest.raises(Exception, match="no corpus"):
        opened(corpus=tmp_path / "nothing")


def test_panels_are_frozen() -> None:
    assert {
        (name, split): Panel.of(env, env.tasks()).digest
        for name, split in PANELS
        for env in [make("rlsd/SearchQA-v0", questions=name, split=split)]
    } == PANELS


PANELS: dict[tuple[str, str], str] = {
    ("gen-tiny", "valid"): "fc02eb3bc5c25a65",
    ("gen-tiny", "test"): "e1f43455aaa16b2c",
    ("gen-default", "valid"): "915828d0561af5a3",
    ("gen-default", "test"): "5f969f07f8dc3fab",
}


def test_the_closed_book_world_says_nothing() -> None:
    env = opened(corpus="none")
    env.reset(seed=0)
    assert env.step("<search>anything</search>")[0] == "<information>Nothing was found.</information>"

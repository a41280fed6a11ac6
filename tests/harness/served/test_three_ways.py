"""One model, one panel, three ways to reach it (`make test-vllm`): in this process, as token ids to a vLLM server, as
messages to the same server's chat endpoint. The model reads the same at every turn, whoever renders it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rlsd.agents.types import Action
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.evals.kept import EPISODES
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.rollout.trajectory import Trajectory
from tests.support.live_server import Live

pytestmark = pytest.mark.vllm
CONTEXT = 2048
"""Of the server."""
WORLD, TASKS, TURNS, TOKENS = "rlsd/WebShop-v0", 8, 4, 32


def played(agent: str, folder: Path) -> tuple[list[Trajectory], dict[str, Any]]:
    """The episodes as `rlsd eval --keep` writes them, and the summary. Greedy."""
    request = EvalRequest(
        env=WORLD,
        env_kwargs={"max_steps": TURNS},
        agent=agent,
        profile="react",
        overrides=(f"agent.max_new_tokens={TOKENS}", f"agent.context={CONTEXT}"),
        episodes=TASKS,
        keep=folder,
    )
    result, _ = run_eval(request, quiet=True)
    return read_trajectories(folder / EPISODES, WORLD), {**result.summary(), "agent_digest": result.agent_digest}


def prompt_ids(action: Action, live: Live, model: Path, tokenizer: Any) -> list[int]:
    """What the model read: the ids that were sent, or those that the server makes of the messages."""
    if action.prompt is not None:
        return list(action.prompt.ids)
    messages = [dict(message) for message in action.messages]
    body = {"model": str(model), "messages": messages, "add_generation_prompt": True}
    ids = live.server.call("POST", "/tokenize", body)["tokens"]
    assert action.usage is not None
    assert action.usage.input == len(ids), "the endpoint counted what /tokenize says"
    assert ids == tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return ids


def test_prompts_are_equal_and_success_agrees(model: Path, live: Live, tmp_path: Path) -> None:
    agents = {"hf": f"hf:{model}", "vllm": f"vllm:{live.url}", "openai": f"openai:{live.url}#{model}"}
    found = {name: played(agent, tmp_path / name) for name, agent in agents.items()}
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    ids = {
        name: [[prompt_ids(turn.action, live, model, tokenizer) for turn in t.turns] for t in episodes]
        for name, (episodes, _) in found.items()
    }
    for name, (_, summary) in found.items():
        print({"agent": name, **{key: summary[key] for key in ("success", "interval", "invalid_rate", "agent_digest")}})
        assert summary["errors"] == 0
    assert len({summary["agent_digest"] for _, summary in found.values()}) == 1
    assert len({tuple(task[0]) for task in ids["hf"]}) == TASKS, "each task has a prompt of its own"
    for a, b in combinations(agents, 2):
        (first, of_a), (second, of_b) = found[a], found[b]
        turns = compared = actions = 0
        for one, other, ids_a, ids_b in zip(first, second, ids[a], ids[b], strict=True):
            assert one.task == other.task
            alike = True
            for turn, (x, y) in enumerate(zip(one.turns, other.turns)):
                turns += 1
                actions += x.action.text == y.action.text
                if alike:
                    compared += 1
                    assert ids_a[turn] == ids_b[turn], f"{a} and {b}: {one.task.task_id}, turn {turn}"
                alike = alike and x.action.response == y.action.response
        print({"pair": f"{a} {b}", "turns": turns, "equal prompts": compared, "equal actions": actions})
        assert compared >= TASKS
        assert actions / turns > 0.8, "greedy, float32 here and there: a near tie may fall either way"
        assert of_a["interval"][0] <= of_b["success"] <= of_a["interval"][1]

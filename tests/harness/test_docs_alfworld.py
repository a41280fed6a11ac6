"""docs/alfworld.md shows what the code really renders: every block marked `<!-- rendered: NAME -->` is compared.

`python -m tests.harness.test_docs_alfworld` prints the blocks anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import FullHistory, LastTurns, Message
from rlsd.agents.types import Action, History
from rlsd.envs import make
from rlsd.envs.alfworld.generate.presets import FROZEN, LEVELS, PRESETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "alfworld.md"
TASK = "gen-tiny/test/14"
THOUGHTS = ("A ladle may well be in the cabinet.", "The cabinet is shut; I have to open it to see inside.")
SHOWN_TURN = 2


def history(name: str) -> tuple[History, str]:
    """The episode before its third action, after two of the oracle's, and the plan that the teacher reads there."""
    env = make("rlsd/ALFWorld-v0", games="gen-tiny", split="test")
    observation, info = env.reset(options={"task": TASK})
    observations, actions = [observation], []
    for thought in THOUGHTS[:SHOWN_TURN]:
        command = env.expert("oracle") or ""
        response = command if name == "compact" else f"<think>{thought}</think><action>{command}</action>"
        parsed = FORMATS[name].parse(response)
        assert (parsed.text, parsed.valid) == (command, True)
        actions.append(Action(text=parsed.text, response=response))
        observation, *_, info = env.step(command)
        observations.append(observation)
    known = History(
        goal=info["goal"],
        observations=tuple(observations),
        actions=tuple(actions),
        admissible=tuple(info["admissible_actions"]),
    )
    plan = "".join(f"\n{step}" for step in env.hindsight().plan)
    return known, f"{FORMATS[name].hindsight_preface}\nplan:{plan}"


def shown(messages: list[Message]) -> str:
    return "\n".join(f"[{message.role}]\n{message.text}" for message in messages)


def blocks() -> dict[str, str]:
    think, notes = history("think")
    compact, plan = history("compact")
    return {
        "think": shown(LastTurns(format=FORMATS["think"], history_turns=2).messages(think)),
        "think response": f"<think>{THOUGHTS[1]}</think><action>{think.actions[1].text}</action>",
        "think hindsight": notes.strip("\n"),
        "compact": shown(FullHistory(format=FORMATS["compact"]).messages(compact)),
        "compact hindsight": plan.strip("\n"),
    }


@pytest.mark.parametrize("name", ["think", "think response", "think hindsight", "compact", "compact hindsight"])
def test_the_page_shows_what_is_rendered(name: str) -> None:
    found = re.search(rf"<!-- rendered: {name} -->\n```text\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == blocks()[name]


def test_the_page_lists_every_family_with_its_panels() -> None:
    text = PAGE.read_text()
    for name in (*PRESETS, *LEVELS):
        assert f"`{name}`" in text
        assert FROZEN[f"{name}/test"] in text


if __name__ == "__main__":
    for name, block in blocks().items():
        print(f"<!-- rendered: {name} -->\n```text\n{block}\n```")

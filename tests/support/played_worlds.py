"""Short episodes of each world with responses of every kind, as a profile's format reads them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlsd.agents.asking import Asking
from rlsd.agents.formats import FORMATS
from rlsd.agents.memory import Appended
from rlsd.agents.types import Action, History
from rlsd.envs.registry import make
from rlsd.harness.config import AgentConfig
from rlsd.harness.iteration.agent import asking_of, memory_of

WORLDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "alfworld": ("rlsd/ALFWorld-v0", {"games": "gen-tiny", "split": "test"}, "explorer"),
    "webshop": ("rlsd/WebShop-v0", {"catalogue": "gen-tiny", "split": "test"}, "explorer"),
    "search": ("rlsd/SearchQA-v0", {"questions": "gen-tiny", "split": "test"}, "oracle"),
}
"""Environment, arguments and expert."""
REAL: dict[str, dict[str, Any]] = {
    "alfworld": {"games": "real", "split": "valid_seen"},
    "webshop": {"catalogue": "gen-default"},
    "search": {"questions": "musique", "split": "all"},
}
"""Arguments for the published games and questions (RLSD_DATA), and the larger generated shop."""
TURNS = 12


@dataclass(slots=True)
class Played:
    """One episode: what was shown at each turn, and what the policy answered."""

    goal: str
    observations: list[str] = field(default_factory=list)
    admissible: list[tuple[str, ...] | None] = field(default_factory=list)
    clickables: list[list[str]] = field(default_factory=list)
    """WebShop: labels on the page."""
    searchable: list[bool] = field(default_factory=list)
    """WebShop: whether the page has a search bar."""
    responses: list[str] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    def history(self, turn: int) -> History:
        return History(
            goal=self.goal,
            observations=tuple(self.observations[: turn + 1]),
            actions=tuple(self.actions[:turn]),
            admissible=self.admissible[turn],
            admissible_before=tuple(self.admissible[:turn]),
        )


def play(world: str, format: str, *, episodes: int = 10, plain: bool = False, **kwargs: Any) -> list[Played]:
    """Episodes of the first tasks, the same ones every time.

    Args:
        format: reads the responses.
        plain: only responses as the format wants them.
        kwargs: other arguments of the environment.
    """
    env_id, arguments, expert = WORLDS[world]
    env: Any = make(env_id, **{**arguments, **kwargs})
    out: list[Played] = []
    for number, task in enumerate(list(env.tasks())[:episodes]):
        rng = random.Random(f"{world}/{number}")
        observation, info = env.reset(seed=number, options={"task": task.task_id})
        episode = Played(goal=info["goal"])
        for _ in range(TURNS):
            episode.observations.append(observation)
            listed = info["admissible_actions"]
            episode.admissible.append(None if listed is None else tuple(listed))
            if world == "webshop":
                episode.clickables.append(list(env.page.clickables))
                episode.searchable.append(env.page.name == "search")
            wanted = env.expert(expert) or "look"
            response = FORMATS[format].wrap(wanted)
            response = response if plain else _varied(response, rng)
            parsed = FORMATS[format].parse(response)
            episode.responses.append(response)
            episode.actions.append(Action(text=parsed.text, valid=parsed.valid, response=response))
            observation, _, terminated, truncated, info = env.step(parsed.text)
            if terminated or truncated:
                break
        out.append(episode)
    env.close()
    return out


def _varied(response: str, rng: random.Random) -> str:
    """Usually as it is; now and then something that a format has to cope with."""
    kind = rng.random()
    if kind < 0.72:
        return response
    if kind < 0.79:
        return response.upper()
    if kind < 0.86:
        return f"我想 {response}"
    if kind < 0.93:
        return response.replace("<", "").replace(">", "") + "  and I would rather do nothing else NOW "
    return response + response


def prompts(agent: AgentConfig, episodes: Sequence[Played]) -> list[str]:
    """What the profile makes of every turn: of a conversation all its messages."""
    memory, asking = memory_of(agent), asking_of(agent)
    out: list[str] = []
    for episode in episodes:
        for turn in range(len(episode.responses)):
            messages = asking.messages(agent.system, memory.messages(episode.history(turn)))
            out.append("\x1e".join(f"{message['role']}\x1f{message['content']}" for message in messages))
    return out


def appended(agent: AgentConfig, episodes: Sequence[Played]) -> list[str]:
    """The same of a profile whose model goes on in its own message (`memory: append`): all that it has before each
    response."""
    memory = memory_of(agent)
    assert isinstance(memory, Appended)
    out: list[str] = []
    for episode in episodes:
        text = Asking().messages(None, memory.messages(episode.history(0)))[0]["content"]
        for turn, response in enumerate(episode.responses):
            out.append(text)
            if turn + 1 < len(episode.observations):
                text += response + memory.user_text(episode.history(turn + 1), turn + 1)
    return out


def digest(texts: Sequence[str]) -> str:
    """First 16 hex digits of the SHA-256 over the texts, which stand in for them."""
    return hashlib.sha256("\x1d".join(texts).encode()).hexdigest()[:16]

"""Imported profiles beside the code that they come from, prompt by prompt.

    python benchmarks/imported_profiles.py --family verl-agent --checkout PATH      (or agentgym, search-r1)

Ten episodes a world are played with responses of every kind; with --real in the published games, on published questions
and in the larger shop. The checkout's own code (which this script runs: use a checkout that you trust) builds its
prompts and reads the responses; the profile that `rlsd profile import` makes of the same checkout does so too. Prints
how many prompts and actions differ, and digests of the prompts, which tests/golden/test_imported_prompts.py holds.
Exit code 1 if anything differs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rlsd.harness.config import AgentConfig  # noqa: E402
from rlsd.harness.importing.families import import_profiles  # noqa: E402
from tests.support.played_worlds import REAL, Played, appended, digest, play, prompts  # noqa: E402

REPLACED = (
    *("omegaconf", "openai", "ray", "datasets", "requests", "faiss", "gym", "verl", "uvicorn", "fastapi"),
    "sentence_transformers",
)
"""Modules that the checkouts import and the compared code does not use."""


class Anything(Exception):
    """Can be called, subclassed, indexed and asked for more of its kind."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Anything:
        return Anything()

    def __getitem__(self, key: Any) -> Anything:
        return Anything()

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands for modules that need not be installed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        wanted = name.partition(".")[0] in REPLACED or name.endswith(".retriever")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: type(name, (Anything,), {})  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def of_file(path: Path) -> Any:
    """A module of the checkout alone, without the package it is in."""
    spec = importlib.util.spec_from_file_location(f"checkout_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Compared = tuple[list[str], int, list[str], int]
"""The checkout's prompts, how many actions it reads otherwise, the profile's prompts, and the number of actions."""


class Replayed:
    """A vectorised environment of one, as verl-agent's managers drive it, that shows a played episode again."""

    def __init__(self, world: str, episode: Played) -> None:
        self.world, self.episode, self.turn = world, episode, 0
        self.taken: list[str] = []

    @property
    def get_admissible_commands(self) -> list[list[str]]:
        return [list(self.episode.admissible[self.turn] or ())]

    def _infos(self) -> list[dict[str, Any]]:
        if self.world != "webshop":
            return [{}]
        available = {
            "has_search_bar": self.episode.searchable[self.turn],
            "clickables": self.episode.clickables[self.turn],
        }
        return [{"available_actions": available}]

    def reset(self, kwargs: Any = None) -> tuple[Any, ...]:
        seen = [self.episode.observations[0]]
        return (seen, None, self._infos()) if self.world == "alfworld" else (seen, self._infos())

    def step(self, actions: list[str]) -> tuple[Any, ...]:
        self.taken += actions
        self.turn += 1
        seen, rest = [self.episode.observations[self.turn]], ([0.0], [False], self._infos())
        return (seen, None, *rest) if self.world == "alfworld" else (seen, *rest)


def verl_agent(root: Path, world: str, agent: AgentConfig, data: dict[str, Any]) -> Compared:
    """Its managers drive a played episode."""
    sys.path.insert(0, str(root))
    manager = importlib.import_module("agent_system.environments.env_manager")
    kinds = {"alfworld": "AlfWorld", "webshop": "Webshop", "search": "Search"}
    place = root / "agent_system" / "environments" / "env_package" / world / "projection.py"
    projection = getattr(of_file(place), f"{world}_projection")
    config = SimpleNamespace(env=Settings(history_length=agent.history_turns, env_name=world))
    theirs: list[str] = []
    other, count = 0, 0
    episodes = play(world, agent.format, **data)
    for episode in episodes:
        env = Replayed(world, episode)
        run = getattr(manager, f"{kinds[world]}EnvironmentManager")(env, projection, config)
        try:
            shown, _ = run.reset(None)
        except TypeError:  # an older one
            shown, _ = run.reset()
        theirs.append(shown["text"][0])
        for turn, response in enumerate(episode.responses[:-1]):
            shown, _, _, infos = run.step([response])
            theirs.append(shown["text"][0])
            mine = episode.actions[turn]
            read = (env.taken[turn], bool(infos[0]["is_action_valid"]))
            other += (mine.text, mine.valid) != read
            count += 1
    return [f"user\x1f{text}" for text in theirs], other, prompts(agent, episodes), count


class Settings(SimpleNamespace):
    """A namespace with `get`, as OmegaConf's."""

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def agentgym(root: Path, world: str, agent: AgentConfig, data: dict[str, Any]) -> Compared:
    """The same for AgentGym: its loop talks to an agent that answers what was played."""
    sys.path.insert(0, str(root / "agentenv"))
    controller = importlib.import_module("agentenv.controller")
    files = {"alfworld": "alfworld", "webshop": "webshop", "search": "searchqa"}
    module = importlib.import_module(f"agentenv.envs.{files[world]}")
    names = {"alfworld": "AlfWorld", "webshop": "Webshop", "search": "SearchQA"}
    client_class = getattr(module, f"{names[world]}EnvClient")
    episodes = play(world, agent.format, **data)
    theirs: list[str] = []
    other, count = 0, 0

    class Answers(controller.APIAgent):
        def __init__(self, episode: Played) -> None:
            self.episode, self.turn = episode, 0

        def generate(self, conversation: list[dict[str, Any]]) -> tuple[str, None]:
            theirs.append("\x1e".join(f"{m['role']}\x1f{m['content']}" for m in conversation))
            self.turn += 1
            return self.episode.responses[self.turn - 1], None

    for episode in episodes:
        client = object.__new__(client_class)
        taken: list[str] = []
        _serve(client, root, world, episode, taken)
        task = SimpleNamespace(clients=[client])
        one = controller.BaseTask._generate_experience_one
        one(task, agent=Answers(episode), client=client, idx=0, max_rounds=len(episode.responses))
        if world != "search":  # there the server reads the response
            other += sum(action.text != text for action, text in zip(episode.actions, taken))
            count += len(taken)
    return theirs, other, prompts(agent, episodes), count


def _serve(client: Any, root: Path, world: str, episode: Played, taken: list[str]) -> None:
    """Give a client what its server would answer in a played episode."""
    if world != "search":
        client.action_format = importlib.import_module("agentenv.controller.types").ActionFormat.REACT
    if world == "alfworld":
        client.conversation_start = client.adapter_cls.conversation_start_dict[client.action_format]
        shorten = of_file(root / "agentenv-alfworld" / "agentenv_alfworld" / "utils.py").process_ob
    elif world == "webshop":
        adapter = importlib.import_module("agentenv.envs.webshop").WebshopAdapter
        client.conversation_start = adapter.conversation_start_dict[client.action_format]
    client.info = {}
    seen = [*episode.observations, ""]

    def reset(*_: Any, **__: Any) -> None:
        paragraphs = seen[0].split("\n\n")  # the server leaves the first one out
        client.info = {"observation": "\n".join(paragraphs[1:]), "available_actions": list(episode.admissible[0] or ())}

    def post(path: str, data: dict[str, Any]) -> dict[str, Any]:
        taken.append(data["action"])
        text = seen[len(taken)]
        if world == "alfworld":
            return {"observation": shorten(text), "available_actions": [], "reward": 0.0, "done": False}
        return {"observation": text.strip(), "state": text, "reward": 0.0, "done": False}

    def get(path: str) -> str:
        if world != "search":
            return seen[0]
        sys.path.insert(0, str(root / "agentenv-searchqa"))
        server = importlib.import_module("agentenv_searchqa.env_wrapper").SearchQAEnvServer
        held = SimpleNamespace(env={0: {"question": episode.goal}}, _check_env_idx=lambda _: None)
        return server.observation(held, 0)

    client.reset, client._post, client._get = reset, post, get


def search_r1(root: Path, world: str, agent: AgentConfig, data: dict[str, Any]) -> Compared:
    """The same for Search-R1: its prompt, and what its loop writes behind each response. Our environment words the
    answer to an unreadable response differently, so all responses here can be read."""
    prefix = of_file(root / "scripts" / "data_process" / "nq_search.py").make_prefix
    sys.path.insert(0, str(root))
    loop = importlib.import_module("search_r1.llm_agent.generation").LLMGenerationManager
    episodes = play(world, agent.format, plain=True, protocol="search-r1", **data)
    theirs: list[str] = []
    other, count = 0, 0
    for episode in episodes:
        question = episode.goal.strip()
        question += "" if question[-1] == "?" else "?"
        text = prefix({"question": question}, template_type="base")
        for turn, response in enumerate(episode.responses):
            theirs.append(text)
            shown = episode.observations[turn + 1 : turn + 2]
            found = shown[0].strip().removeprefix("<information>").removesuffix("</information>") if shown else ""
            held = SimpleNamespace(batch_search=lambda queries, found=found: [found] * len(queries))
            held.postprocess_predictions = loop.postprocess_predictions.__get__(held)
            following, _, valid, _ = loop.execute_predictions(held, [response], "", [True])
            other += bool(valid[0]) != episode.actions[turn].valid
            count += 1
            text += response + following[0]
    return theirs, other, appended(agent, episodes), count


RUNS = {"verl-agent": verl_agent, "agentgym": agentgym, "search-r1": search_r1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=sorted(RUNS), default="verl-agent")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--world", choices=["alfworld", "webshop", "search"], help="default: all that are there")
    parser.add_argument("--real", action="store_true", help="published games and questions (RLSD_DATA), a larger shop")
    options = parser.parse_args()
    root = options.checkout.resolve()
    sys.meta_path.insert(0, Absent())
    summary: dict[str, Any] = {}
    for world, profile in import_profiles(options.family, root, env=options.world).items():
        agent = AgentConfig.model_validate(profile)
        theirs, other, mine, actions = RUNS[options.family](root, world, agent, REAL[world] if options.real else {})
        different = [k for k, (a, b) in enumerate(zip(theirs, mine)) if a != b]
        summary[world] = {
            "prompts": len(mine),
            "differences": len(different) + abs(len(theirs) - len(mine)),
            "actions": actions,
            "read_otherwise": other,
            "digest": digest(mine),
        }
        print(f"{world}: {json.dumps(summary[world])}")
        for k in different[:1]:
            print(f"--- theirs\n{theirs[k]}\n--- the profile's\n{mine[k]}")
    print(json.dumps(summary))
    sys.exit(any(row["differences"] or row["read_otherwise"] for row in summary.values()))


if __name__ == "__main__":
    main()

"""One page of a whole suite: its table, why episodes were lost, who is better, and episodes of every evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlsd.harness.evals.compare import compare_entrants, verdict
from rlsd.harness.evals.kept import EPISODES
from rlsd.harness.evals.results_file import state
from rlsd.harness.evals.saved import Entrant, check_alike, read_saved
from rlsd.harness.evals.stats import holm
from rlsd.harness.report.episodes import Episode, episode_of, template, write_page
from rlsd.harness.report.evaluation import kept_records, seconds_of
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.suite.report import scored

ENDINGS = {
    "terminated": "the task ended",
    "truncated": "the environment's step limit",
    "max_turns": "the turn limit",
    "context_full": "the context was full",
}
"""Stop of a lost episode in which nothing failed → what is said of it."""


@dataclass(slots=True, kw_only=True)
class Loss:
    """Lost episodes of one kind, of one agent in one environment."""

    failed: bool
    """In the environment or the agent's server; else the agent just did not win."""
    count: int = 0
    task: str = ""
    """Of the first one."""
    message: str = ""


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """One agent in one environment with one seed."""

    agent: str
    seed: int
    success: float
    episodes: int
    errors: int
    kept: bool
    """Whether its episodes are there."""
    groups: list[list[Episode]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One environment of the suite."""

    name: str
    panel: Mapping[str, Any]
    agents: Mapping[str, Mapping[str, Any]]
    """Name → its entry of results.json."""
    compared: Mapping[str, Any]
    """See `compare_agents`."""
    evaluations: Sequence[Evaluation]
    losses: Mapping[str, Mapping[str, Loss]]
    """Agent → kind → its lost episodes."""
    edited: Sequence[str]
    """Agents whose files are not what was written."""


def is_suite(folder: Path) -> bool:
    return (folder / "suite.json").is_file()


def write_suite(folder: Path, out: Path | None = None, *, groups: int = 4) -> Path:
    """Write `report.html` into the suite's folder, or to `out`.

    Args:
        groups: tasks whose episodes are shown: the same of every evaluation of an environment, those first that some
            agents win and others lose.

    Raises:
        RunError: there is no table yet, or a damaged file; names it.
        CompareError: results that are no results, or are of different tasks.
    """
    results = _results(folder / "results.json")
    worlds = [_world(folder, name, entry, groups) for name, entry in results["environments"].items()]
    pairs = [{"env": world.name, **pair} for world in worlds for pair in world.compared["pairs"]]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs])):
        pair["p_holm"] = p
        pair["verdict"] = verdict(pair)
    tabled = sum(len(agent["seeds"]) for world in worlds for agent in world.agents.values())
    page = template("suite.html").render(
        name=folder.resolve().name,
        results=results,
        worlds=worlds,
        pairs=pairs,
        notes=_notes(worlds),
        endings=ENDINGS,
        scored=scored(a for w in worlds for a in w.agents.values()),
        used=any("usage" in a for w in worlds for a in w.agents.values()),
        priced=any("cost" in a for w in worlds for a in w.agents.values()),
        failed=_failed(folder),
        newer=len(list(folder.glob("results/*/*/seed-*.json"))) - tabled,
    )
    return write_page(out or folder / "report.html", page)


def _results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"{path.parent} has no table yet: `rlsd eval --suite FILE --report` writes one")
    try:
        found = json.loads(path.read_text())
        missing = {"environments", "finished", "cells", "samples", "seeds", "digest"} - set(found)
        for name, entry in found["environments"].items():
            missing |= {f"{name}: {key}" for key in ("panel", "agents") if key not in entry}
            for agent, row in entry["agents"].items():
                needed = {"seeds", "success", "interval", "score", "episodes", "turns", "invalid_rate", "failures"}
                missing |= {f"{name}: {agent}: {key}" for key in needed - set(row)}
        if missing:
            raise ValueError(f"no {min(missing)}")
        return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}); `rlsd eval --suite FILE --report` writes it anew") from error


def _world(folder: Path, env: str, entry: Mapping[str, Any], groups: int) -> World:
    found = [
        Entrant(
            name=agent,
            files=tuple(read_saved(folder / "results" / env / agent / f"seed-{seed}.json") for seed in row["seeds"]),
        )
        for agent, row in entry["agents"].items()
    ]
    for file in (file for entrant in found for file in entrant.files):
        check_alike(found[0].files[0], file)
    chosen = _told_apart(found)[:groups]
    evaluations = list[Evaluation]()
    losses: dict[str, dict[str, Loss]] = {}
    for entrant in found:
        mine = losses.setdefault(entrant.name, {})
        for seed, file in zip(entry["agents"][entrant.name]["seeds"], entrant.files):
            place = folder / "episodes" / env / entrant.name / f"seed-{seed}"
            kept = (place / EPISODES).is_file()
            evaluation = Evaluation(
                agent=entrant.name,
                seed=seed,
                success=file.data["success"],
                episodes=file.data["episodes"],
                errors=file.data["errors"],
                kept=kept,
            )
            if kept:
                evaluation.groups = _shown(place, chosen, mine)
            else:
                _count(mine, file.data["failures"])
            evaluations.append(evaluation)
    edited = [e.name for e in found if state(file.data for file in e.files) == "edited"]
    return World(
        name=env,
        panel=entry["panel"],
        agents=entry["agents"],
        compared=compare_entrants(found),
        evaluations=evaluations,
        losses={
            name: dict(sorted(kinds.items(), key=lambda item: (not item[1].failed, -item[1].count, item[0])))
            for name, kinds in losses.items()
        },
        edited=edited,
    )


def _told_apart(found: Sequence[Entrant]) -> list[str]:
    """The panel's tasks, those first on which agents are furthest apart."""
    tasks = list(found[0].files[0].wins)
    rates = np.array([entrant.table("success", tasks).mean(axis=0) for entrant in found])
    apart = rates.max(axis=0) - rates.min(axis=0)
    return [tasks[i] for i in np.argsort(-apart, kind="stable")]


def _shown(place: Path, chosen: Sequence[str], losses: dict[str, Loss]) -> list[list[Episode]]:
    """Episodes of the chosen tasks, in their order, and below them the first that failed in each way; counts what was
    lost."""
    seconds = seconds_of(place)
    shown: dict[str, list[Episode]] = {task: [] for task in chosen}
    seen = set[str]()
    with kept_records(place) as records:
        for record in records:
            task, error = record["task"]["task_id"], record.get("error")
            kind = record["stop"] if error is None else error["reason"]
            first = error is not None and kind not in seen
            if error is not None or not record["success"]:
                seen.add(kind)
                loss = losses.setdefault(kind, Loss(failed=error is not None, task=task))
                loss.count += 1
                loss.message = loss.message or ("" if error is None else f"{error['boundary']}: {error['message']}")
            if task in shown or (first and chosen):
                episode = episode_of(record, 0.0, seconds.get(tuple(record["key"]), ()))
                shown.setdefault(task, []).append(episode)
    return [episodes for episodes in shown.values() if episodes]


def _count(losses: dict[str, Loss], failures: Mapping[str, int]) -> None:
    """What the result alone says, where the episodes were not kept."""
    for kind, count in failures.items():
        losses.setdefault(kind, Loss(failed=True)).count += count


def _notes(worlds: Iterable[World]) -> list[str]:
    """Notes of comparisons, once each; that on Holm is the page's own, as it corrects for all of them."""
    notes = [note for world in worlds if len(world.agents) > 1 for note in world.compared["notes"]]
    return [note for note in dict.fromkeys(notes) if not note.startswith("p (Holm)")]


def _failed(folder: Path) -> dict[str, str]:
    """Evaluation → why it failed when it was last tried."""
    found = sorted(folder.glob("episodes/*/*/seed-*/failed.txt"))
    return {
        "/".join(path.parent.relative_to(folder / "episodes").parts): path.read_text().strip().partition("\n")[0]
        for path in found
    }

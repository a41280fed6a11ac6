"""One page of a whole suite: its table, who is better, why episodes were lost; beside it a page of episodes for each
environment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.harness.evals.compare import compare_entrants, verdict
from rlsd.harness.evals.kept import EPISODES
from rlsd.harness.evals.results_file import state
from rlsd.harness.evals.saved import Entrant, check_alike, read_saved
from rlsd.harness.evals.stats import holm
from rlsd.harness.report.kept import KeptEpisodes
from rlsd.harness.report.report import MAX_MIB, write_report
from rlsd.harness.report.sources import is_evaluation
from rlsd.harness.report.static_page import static_page, write_page
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One agent in one environment with one seed."""

    agent: str
    seed: int
    success: float
    episodes: int
    errors: int
    folder: Path
    """Of its episodes."""
    kept: bool
    """Whether they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentResults:
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

    @property
    def kept(self) -> list[Path]:
        """Folders of the evaluations whose episodes are there."""
        return [e.folder for e in self.evaluations if e.kept]


def is_suite(folder: Path) -> bool:
    return (folder / "suite.json").is_file()


def write_suite(folder: Path, out: Path | None = None, *, groups: int | None = None, max_mib: float = MAX_MIB) -> Path:
    """Write `report.html` into the suite's folder, or to `out`; and beside it, of each environment whose episodes were
    kept, a page on which all agents play the same tasks, `report-ENVIRONMENT.html`.

    Args:
        groups, max_mib: of the pages of episodes, see `write_report`.

    Raises:
        RunError: there is no table yet, or a damaged file; names it.
        CompareError: results that are no results, or are of different tasks.
    """
    results = _results(folder / "results.json")
    place = out or folder / "report.html"
    environments = [_environment(folder, name, entry) for name, entry in results["environments"].items()]
    pages = {env.name: place.with_name(f"{place.stem}-{env.name}.html") for env in environments if env.kept}
    for env in environments:
        if env.kept:
            write_report(env.kept, pages[env.name], groups=groups, max_mib=max_mib)
    pairs = [{"env": env.name, **pair} for env in environments for pair in env.compared["pairs"]]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs])):
        pair["p_holm"] = p
        pair["verdict"] = verdict(pair)
    tabled = sum(len(agent["seeds"]) for env in environments for agent in env.agents.values())
    page = static_page(
        "suite",
        name=folder.resolve().name,
        results=results,
        environments=environments,
        pages={name: path.name for name, path in pages.items()},
        pairs=pairs,
        notes=_notes(environments),
        endings=ENDINGS,
        scored=scored(a for e in environments for a in e.agents.values()),
        used=any("usage" in a for e in environments for a in e.agents.values()),
        priced=any("cost" in a for e in environments for a in e.agents.values()),
        failed=_failed(folder),
        newer=len(list(folder.glob("results/*/*/seed-*.json"))) - tabled,
    )
    return write_page(place, page)


def _results(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"{path.parent} has no table yet: `rlsd eval --suite FILE --report` writes one")
    try:
        results = json.loads(path.read_text())
        missing = {"environments", "finished", "cells", "samples", "seeds", "digest"} - set(results)
        for name, entry in results["environments"].items():
            missing |= {f"{name}: {key}" for key in ("panel", "agents") if key not in entry}
            for agent, row in entry["agents"].items():
                needed = {"seeds", "success", "interval", "score", "episodes", "turns", "invalid_rate", "failures"}
                missing |= {f"{name}: {agent}: {key}" for key in needed - set(row)}
        if missing:
            raise ValueError(f"no {min(missing)}")
        return results
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}); `rlsd eval --suite FILE --report` writes it anew") from error


def _environment(folder: Path, env: str, entry: Mapping[str, Any]) -> EnvironmentResults:
    entrants = [
        Entrant(
            name=agent,
            files=tuple(read_saved(folder / "results" / env / agent / f"seed-{seed}.json") for seed in row["seeds"]),
        )
        for agent, row in entry["agents"].items()
    ]
    for file in (file for entrant in entrants for file in entrant.files):
        check_alike(entrants[0].files[0], file)
    evaluations = list[Evaluation]()
    losses: dict[str, dict[str, Loss]] = {}
    for entrant in entrants:
        mine = losses.setdefault(entrant.name, {})
        for seed, file in zip(entry["agents"][entrant.name]["seeds"], entrant.files):
            place = folder / "episodes" / env / entrant.name / f"seed-{seed}"
            kept = is_evaluation(place) and (place / EPISODES).is_file()
            evaluation = Evaluation(
                agent=entrant.name,
                seed=seed,
                success=file.data["success"],
                episodes=file.data["episodes"],
                errors=file.data["errors"],
                folder=place,
                kept=kept,
            )
            if kept:
                _look(KeptEpisodes(place / EPISODES, advice="play the evaluation again"), mine)
            else:
                _count(mine, file.data["failures"])
            evaluations.append(evaluation)
    edited = [e.name for e in entrants if state(file.data for file in e.files) == "edited"]
    return EnvironmentResults(
        name=env,
        panel=entry["panel"],
        agents=entry["agents"],
        compared=compare_entrants(entrants),
        evaluations=evaluations,
        losses={
            name: dict(sorted(kinds.items(), key=lambda item: (not item[1].failed, -item[1].count, item[0])))
            for name, kinds in losses.items()
        },
        edited=edited,
    )


def _look(kept: KeptEpisodes, losses: dict[str, Loss]) -> None:
    """Count the lost episodes by kind, with the first one of each."""
    index = kept.index
    for number, won in enumerate(index["won"]):
        reason = index["failures"][index["failure"][number]]
        if won and not reason:
            continue
        kind = reason or index["stops"][index["stop"][number]]
        if kind not in losses or not losses[kind].task:
            losses.setdefault(kind, Loss(failed=bool(reason)))
            losses[kind].task = index["tasks"][index["task"][number]][0]
            losses[kind].message = kept.episode(number)["failure"] if reason else ""
        losses[kind].count += 1


def _count(losses: dict[str, Loss], failures: Mapping[str, int]) -> None:
    """What the result alone says, where the episodes were not kept."""
    for kind, count in failures.items():
        losses.setdefault(kind, Loss(failed=True)).count += count


def _notes(environments: Iterable[EnvironmentResults]) -> list[str]:
    """Notes of comparisons, once each; that on Holm is the page's own, as it corrects for all of them."""
    notes = [note for env in environments if len(env.agents) > 1 for note in env.compared["notes"]]
    return [note for note in dict.fromkeys(notes) if not note.startswith("p (Holm)")]


def _failed(folder: Path) -> dict[str, str]:
    """Evaluation → why it failed when it was last tried."""
    files = sorted(folder.glob("episodes/*/*/seed-*/failed.txt"))
    return {
        "/".join(path.parent.relative_to(folder / "episodes").parts): path.read_text().strip().partition("\n")[0]
        for path in files
    }

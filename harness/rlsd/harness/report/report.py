"""`rlsd report`: a run directory as one HTML page that needs nothing else: results, curves, episodes, their credit."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from rlsd.envs.redact import hidden
from rlsd.harness.config.masked import masked
from rlsd.harness.config.yaml_text import write_yaml
from rlsd.harness.report.charts import TRAINING, draw, success
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.rundir import RunError, load_run_config, write_atomic

HINTS = ("plan", "missing", "whereabouts", "demonstration", "answer", "feedback", "distance")
"""Fields of hindsight in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn as the page shows it."""

    observation: str
    response: str
    action: str
    next_observation: str
    valid: bool
    format_ok: bool
    reward: float
    credit: float
    bar: float
    """Width of the credit's bar in percent of the largest shown, with its sign."""
    share: float | None
    """Credit over the episode's mean: what hindsight made of it; None where that is 0."""
    hindsight: Sequence[tuple[str, str]]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    goal: str
    task_id: str
    task_type: str
    sibling: int
    won: bool
    score: float
    stop: str
    turns: Sequence[Turn]


def write_report(run: Path, out: Path | None = None, *, step: int | None = None, groups: int = 4) -> Path:
    """Write `report.html` into the run directory, or to `out`.

    Args:
        step: the iteration whose episodes are shown, counted from 1; default: the last that was kept.
        groups: tasks whose episodes are shown, those with wins and losses first.

    Raises:
        RunError: no run directory; nothing was recorded there yet, or not that iteration.
    """
    config = load_run_config(run)
    records = read_metrics(run / "metrics.jsonl")
    if not records:
        raise RunError(f"{run} has no metrics yet: train it first")
    train = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    shown, number, kept = _episodes(run, step, groups)
    charts = [("Success, %", "", success(train, evals)), *((c.title, c.note, draw(c, train)) for c in TRAINING)]
    algorithm = config.algorithm if isinstance(config.algorithm, str) else config.algorithm.name
    page = _template().render(
        name=run.resolve().name,
        algorithm=algorithm,
        env=config.env.id,
        model=config.model.path or "made from scratch",
        done=max((r["step"] + 1 for r in train), default=0),
        iterations=config.iterations,
        first=evals[0] if evals else None,
        best=max(evals, key=lambda r: (r["success"], r.get("score", 0.0), -r["step"])) if evals else None,
        last=train[-1] if train else None,
        seconds=sum(r["timing"].get("iteration_s", 0.0) for r in train),
        charts=[c for c in charts if c[2] is not None],
        groups=shown,
        step=number,
        kept=kept,
        config=write_yaml(masked(config.model_dump(mode="json", exclude_defaults=True))),
        versions=_versions(run),
    )
    place = out or run / "report.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, hidden(page))
    return place


def _template() -> Any:
    pages = Environment(loader=PackageLoader("rlsd.harness.report", "pages"), autoescape=True, trim_blocks=True)
    pages.filters["percent"] = lambda x: f"{100 * x:.1f} %"
    pages.filters["number"] = _number
    return pages.get_template("report.html")


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def _versions(run: Path) -> Mapping[str, Any]:
    try:
        return json.loads((run / "versions.json").read_text())
    except (OSError, ValueError):
        return {}


def _episodes(run: Path, step: int | None, groups: int) -> tuple[list[list[Episode]], int | None, list[int]]:
    """Groups of an iteration's episodes, its number from 1, and the numbers of those that were kept."""
    files = {int(p.name[5:11]) + 1: p for p in sorted((run / "rollouts").glob("step-*.jsonl.gz"))}
    if step is not None and step not in files:
        available = ", ".join(map(str, files)) or "none (save_rollouts_every is 0)"
        raise RunError(f"no episodes of iteration {step} were kept in {run}; kept: {available}")
    number = step if step is not None else max(files, default=None)
    if number is None:
        return [], None, []
    by_group: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    try:
        with gzip.open(files[number], "rt") as file:
            for line in file:
                record = json.loads(line)
                by_group.setdefault(tuple(record["key"][:3]), []).append(record)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise RunError(f"{files[number]} cannot be read ({error}); delete it, or give another --step") from error
    kept = sorted(by_group.values(), key=lambda g: len({bool(r["success"]) for r in g}) == 1)[:groups]
    largest = max((abs(c) for g in kept for r in g for c in r["turn_credit"]), default=0.0)
    return [[_episode(r, largest) for r in g] for g in kept], number, list(files)


def _episode(record: Mapping[str, Any], largest: float) -> Episode:
    credit = record["turn_credit"]
    mean = sum(credit) / len(credit) if credit else 0.0
    return Episode(
        goal=record["goal"],
        task_id=record["task"]["task_id"],
        task_type=record["task"]["task_type"],
        sibling=record["key"][3],
        won=bool(record["success"]),
        score=float(record["score"]),
        stop=record["stop"],
        turns=[_turn(t, c, largest, mean) for t, c in zip(record["turns"], credit)],
    )


def _turn(turn: Mapping[str, Any], credit: float, largest: float, mean: float) -> Turn:
    hindsight = turn.get("hindsight_before") or {}
    return Turn(
        observation=turn["observation"],
        response=turn["response"],
        action=turn["action"],
        next_observation=turn["next_observation"],
        valid=turn.get("valid") is not False,
        format_ok=bool(turn["format_ok"]),
        reward=float(turn["reward"]),
        credit=credit,
        bar=100.0 * credit / largest if largest else 0.0,
        share=credit / mean if mean else None,
        hindsight=[(name, _words(hindsight[name])) for name in HINTS if hindsight.get(name) not in (None, [], "")],
        tokens=len(turn["token_ids"]),
    )


def _words(value: Any) -> str:
    return " · ".join(map(str, value)) if isinstance(value, list) else _number(value)

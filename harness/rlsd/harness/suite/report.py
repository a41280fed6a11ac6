"""The table of a suite: every environment and agent, over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlsd.agents.usage import TokenUsage, usage_from_json
from rlsd.harness.evals.api import price_of
from rlsd.harness.evals.rates import rate_interval
from rlsd.harness.evals.saved import CompareError, Entrant, Saved, read_saved
from rlsd.harness.runs.rundir import write_atomic
from rlsd.harness.suite.folder import SuiteError, SuiteFolder
from rlsd.harness.suite.plan import Cell, Suite


def write_results(suite: Suite, folder: SuiteFolder) -> dict[str, Any]:
    """Write results.json; returns what it holds. Equal evaluations write equal bytes.

    Raises:
        SuiteError: nothing is finished yet, or evaluations of an environment are of different tasks.
    """
    finished = [cell for cell in suite.cells() if folder.done(cell)]
    if not finished:
        raise SuiteError(f"no evaluation of {folder.path} is finished yet; `rlsd eval --suite FILE` plays them")
    records = {cell: _read(folder.result(cell)) for cell in finished}
    results = {
        "digest": suite.digest(finished),
        "cells": len(suite.cells()),
        "finished": len(finished),
        "seeds": suite.plan.seed_list,
        "samples": suite.plan.samples,
        "environments": {
            env: {"panel": panel, "agents": _agents(suite, env, records)}
            for env, panel in panels(folder, records).items()
        },
    }
    write_atomic(folder.path / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def panels(folder: SuiteFolder, records: dict[Cell, Saved]) -> dict[str, dict[str, Any]]:
    """The panel of each environment.

    Raises:
        SuiteError: two evaluations of an environment are of different panels: their processes saw other tasks, or the
            same ones in another order.
    """
    found: dict[str, tuple[Cell, Saved]] = {}
    for cell, record in records.items():
        first, panel = found.setdefault(cell.env, (cell, record))
        if panel.digest != record.digest:
            raise SuiteError(
                f"environment {cell.env}: {first} was played on panel {panel.digest} and {cell} on {record.digest}; "
                f"its tasks, or their order, change from process to process. Fix it, delete "
                f"{folder.path / 'results' / cell.env} and give the same command"
            )
    return {env: record.data["panel"] for env, (_, record) in found.items()}


def _agents(suite: Suite, env: str, records: dict[Cell, Saved]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in suite.plan.agents:
        mine = {cell.seed: record for cell, record in records.items() if (cell.env, cell.agent) == (env, name)}
        if mine:
            out[name] = _agent(suite, name, mine)
    return out


def _agent(suite: Suite, name: str, files: dict[int, Saved]) -> dict[str, Any]:
    """One agent in one environment, over its finished seeds."""
    runs = [saved.data for saved in files.values()]
    played = Entrant(name=name, files=tuple(files.values()))
    rate, low, high = rate_interval(played.table("success"), samples=suite.plan.samples)
    usage = [usage for run in runs if (usage := usage_from_json(run.get("usage"))) is not None]
    tokens = sum(usage, TokenUsage())
    price = _price(suite, name)
    failures: dict[str, int] = {}
    for run in runs:
        for reason, count in run["failures"].items():
            failures[reason] = failures.get(reason, 0) + count
    return {
        "seeds": list(files),
        "episodes": sum(run["episodes"] for run in runs),
        "success": rate,
        "interval": [low, high],
        "by_seed": {seed: run["success"] for seed, run in zip(files, runs)},
        "score": _mean(runs, "score"),
        "turns": _mean(runs, "turns"),
        "invalid_rate": _mean(runs, "invalid_rate"),
        "context_full": sum(run["context_full"] for run in runs),
        "errors": sum(run["errors"] for run in runs),
        "failures": failures,
        **{key: _passes(runs, key) for key in ("pass_at", "pass_hat") if suite.plan.samples > 1},
        **({"usage": tokens.to_json()} if usage else {}),
        **({"cost": round(price.cost(tokens), 6)} if usage and price is not None else {}),
    }


def _mean(runs: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _passes(runs: Sequence[dict[str, Any]], key: str) -> dict[str, float]:
    """k → the mean over seeds."""
    return {k: float(np.mean([run[key][k][0] for run in runs])) for k in runs[0][key]}


def _price(suite: Suite, name: str) -> Any:
    agent = suite.plan.agents[name].agent
    if suite.plan.prices is None or not agent.startswith("openai:"):
        return None
    return price_of(agent.partition("#")[2], Path(suite.plan.prices))


def _read(path: Path) -> Saved:
    try:
        return read_saved(path)
    except CompareError as error:
        raise SuiteError(f"{error}: delete it, and the same command plays it again") from error


def rows_of(results: dict[str, Any]) -> list[list[str]]:
    """Rows of the table; columns that would be empty are left out."""
    entries = [(env, name, a) for env, e in results["environments"].items() for name, a in e["agents"].items()]
    columns: dict[str, list[str]] = {
        "environment": [env for env, _, _ in entries],
        "agent": [name for _, name, _ in entries],
        "seeds": [str(len(a["seeds"])) for _, _, a in entries],
        "episodes": [str(a["episodes"]) for _, _, a in entries],
        "samples": [str(results["samples"]) if results["samples"] > 1 else "" for _ in entries],
        "success": [_percent(a["success"], a["interval"]) for _, _, a in entries],
        "pass@k": [_last(a.get("pass_at")) for _, _, a in entries],
        "pass^k": [_last(a.get("pass_hat")) for _, _, a in entries],
        "score": [f"{100 * a['score']:.1f}" for _, _, a in entries],
        "turns": [f"{a['turns']:.1f}" for _, _, a in entries],
        "invalid": [f"{100 * a['invalid_rate']:.1f} %" for _, _, a in entries],
        "errors": [_counts(a["failures"]) for _, _, a in entries],
        "tokens in": [str(a["usage"]["input"]) if "usage" in a else "" for _, _, a in entries],
        "out": [str(a["usage"]["output"]) if "usage" in a else "" for _, _, a in entries],
        "cost": [f"{a['cost']:.4g}" if "cost" in a else "" for _, _, a in entries],
    }
    if not scored(a for _, _, a in entries):
        del columns["score"]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    return [list(shown), *map(list, zip(*shown.values()))]


def scored(agents: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a score says more than success: it differs by more than rounding somewhere."""
    return any(not math.isclose(a["score"], a["success"], abs_tol=1e-9) for a in agents)


def _percent(rate: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _last(passes: dict[str, float] | None) -> str:
    """The value at the largest k."""
    return f"{100 * list(passes.values())[-1]:.1f} %" if passes else ""


def _counts(failures: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in failures.items())

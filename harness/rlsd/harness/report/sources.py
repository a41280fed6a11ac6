"""What the viewer can open: run directories, and folders in which `rlsd eval` kept episodes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.harness.config.masked import masked
from rlsd.harness.config.yaml_text import write_yaml
from rlsd.harness.evals.kept import ABOUT, EPISODES, TIMINGS
from rlsd.harness.report.charts import TRAINING, own_success, value_of
from rlsd.harness.report.episodes import is_number
from rlsd.harness.report.kept import KeptEpisodes, kept_steps
from rlsd.harness.runs.metrics import lost_records, read_metrics
from rlsd.harness.runs.rundir import RunError, load_run_config

SHOWN = ("panel", "by_type", "failures", "usage", "interval")
"""Parts of an evaluation's summary that the page shows in its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One run or evaluation, read once."""

    about: Mapping[str, Any]
    """Plain data: name, settings, curves, evaluations, failures."""
    episodes: Mapping[int, KeptEpisodes]
    """By iteration, counted from 1; an evaluation has one."""


def is_evaluation(folder: Path) -> bool:
    """Whether the episodes of an evaluation were kept there."""
    return (folder / ABOUT).is_file()


def open_source(folder: Path, *, step: int | None = None) -> Source:
    """The run or evaluation in `folder`.

    Args:
        step: of a run, the one iteration whose episodes are wanted, counted from 1; default: all that were kept.

    Raises:
        RunError: it is neither; nothing was recorded there yet, or not that iteration; a damaged record.
    """
    if not is_evaluation(folder):
        return _run(folder, step)
    if step is not None:
        raise RunError(f"--step is for runs; {folder} holds the episodes of an evaluation")
    return _evaluation(folder)


def names_of(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many parents as tell it from the others.

    >>> names_of([Path("/a/rlsd/seed-1"), Path("/a/grpo/seed-1"), Path("/a/quick")])
    ['rlsd/seed-1', 'grpo/seed-1', 'quick']
    """
    parts = [folder.resolve().parts for folder in folders]
    names = []
    for mine in parts:
        others = [p for p in parts if p != mine]
        length = next((n for n in range(1, len(mine)) if all(p[-n:] != mine[-n:] for p in others)), len(mine))
        names.append("/".join(mine[-length:]))
    return names


def _run(folder: Path, step: int | None) -> Source:
    config = load_run_config(folder)
    metrics = folder / "metrics.jsonl"
    records = read_metrics(metrics)
    if not records:
        raise RunError(f"{folder} has no metrics yet: train it first")
    _check(records, metrics)
    if lost := lost_records(metrics, records):
        sys.stderr.write(f"{lost}\n")
    train = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    files = kept_steps(folder)
    if step is not None and step not in files:
        available = ", ".join(map(str, files)) or "none (save_rollouts_every is 0)"
        raise RunError(f"no episodes of iteration {step} were kept in {folder}; kept: {available}")
    chosen = {n: path for n, path in files.items() if step in (None, n)}
    algorithm = config.algorithm if isinstance(config.algorithm, str) else config.algorithm.name
    about = {
        "kind": "run",
        "method": algorithm,
        "env": config.env.id,
        "model": config.model.path or "made from scratch",
        "done": max((r["step"] + 1 for r in train), default=0),
        "iterations": config.iterations,
        "seconds": sum(r["timing"].get("iteration_s", 0.0) for r in train),
        "last": {name: train[-1].get(name) for name in ("success", "turns", "decoded_tokens", "wasted_tokens")}
        if train
        else None,
        "curves": _curves(train),
        "evals": [_eval(r) for r in evals],
        "best": _best(evals),
        "failed": sum(r.get("failed_episodes", 0) for r in train),
        "failures": _failures(train),
        "settings": write_yaml(masked(config.model_dump(mode="json", exclude_defaults=True))),
        "versions": _versions(folder),
        "kept": list(files),
    }
    return Source(about=about, episodes={n: KeptEpisodes(path) for n, path in chosen.items()})


def _evaluation(folder: Path) -> Source:
    path = folder / ABOUT
    try:
        data = json.loads(path.read_text())
        missing = {"agent", "panel", "success", "interval", "by_type", "seed"} - set(data)
        if missing:
            raise ValueError(f"no {sorted(missing)[0]}")
        seconds = _seconds(folder / TIMINGS)
        about = {
            "kind": "evaluation",
            "method": data["agent"],
            "env": f"{data['panel']['env']} {data['panel']['split']}",
            "model": "",
            "seconds": sum(map(sum, seconds.values())),
            "curves": {"step": [], "values": {}},
            "evals": [_eval({"step": 0, **data})],
            "best": 0,
            "failed": data.get("errors", 0),
            "failures": _counts(data.get("failures")),
            "usage": data.get("usage"),
            "settings": write_yaml({key: value for key, value in data.items() if key not in SHOWN}),
            "versions": [],
            "kept": [1],
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}); play the evaluation again") from error
    return Source(
        about=about,
        episodes={1: KeptEpisodes(folder / EPISODES, seconds, advice="play the evaluation again")},
    )


def _curves(train: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values by iteration for every line of the charts that has any."""
    paths = [path for chart in TRAINING for path in chart.lines.values()]
    lines = {path: [value_of(r, path) for r in train] for path in paths}
    lines["own_success"] = [own_success(r) for r in train]
    return {
        "step": [r["step"] + 1 for r in train],
        "values": {
            path: [None if v is None else float(f"{v:.6g}") for v in values]
            for path, values in lines.items()
            if any(v is not None for v in values)
        },
    }


def _eval(record: Mapping[str, Any]) -> dict[str, Any]:
    low, high = record["interval"]
    return {
        "step": record["step"] + 1,
        **{name: record.get(name) for name in ("success", "score", "episodes", "turns", "invalid_rate", "errors")},
        "low": low,
        "high": high,
        "panel": {name: record["panel"].get(name) for name in ("split", "digest", "tasks")},
        "by_type": [
            [name, part["success"], *part["interval"], part["episodes"]]
            for name, part in (record.get("by_type") or {}).items()
        ],
    }


def _best(evals: Sequence[Mapping[str, Any]]) -> int | None:
    if not evals:
        return None
    return max(range(len(evals)), key=lambda i: (evals[i]["success"], evals[i].get("score", 0.0), -evals[i]["step"]))


def _failures(train: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """How often training episodes failed, by reason."""
    counts: Counter[str] = Counter()
    for record in train:
        counts.update(record.get("failures") or {})
    return _counts(counts)


def _counts(counts: Mapping[str, int] | None) -> list[list[Any]]:
    return [[reason, count] for reason, count in Counter(counts or {}).most_common()]


def _check(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Look at what charts and tables cannot do without.

    Raises:
        RunError: a record that lacks it, or has something else there; names the line.
    """
    for line, record in enumerate(records, start=1):
        try:
            rates = [record["success"], *(record["interval"] if record["kind"] == "eval" else ())]
            sound = len(rates) in (1, 3) and all(is_number(rate) and 0 <= rate <= 1 for rate in rates)
            sound = sound and all(is_number(seconds) for seconds in record["timing"].values() if seconds is not None)
            if record["kind"] == "eval":
                sound = sound and is_number(record["episodes"]) and isinstance(record["panel"]["digest"], str)
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"line {line} of {path} is damaged; fix or delete it (no {error})") from error
        if not sound:
            raise RunError(f"line {line} of {path} is damaged; fix or delete it (a value that cannot be)")


def _versions(run: Path) -> list[list[str]]:
    try:
        found = json.loads((run / "versions.json").read_text())
        return [[name, version] for name, version in found.items() if isinstance(version, str)]
    except (OSError, ValueError, AttributeError):
        return []


def _seconds(path: Path) -> dict[tuple[Any, ...], list[float]]:
    """Key of an episode → seconds of each turn; a line that was cut is left out."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
            found[tuple(record["key"])] = [float(s) for s in record["act_s"]]
        except (ValueError, KeyError, TypeError):
            continue
    return found

"""`rlsd report`: a run directory as one HTML page that needs nothing else: results, curves, episodes, their credit."""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsd.harness.config.masked import masked
from rlsd.harness.config.yaml_text import write_yaml
from rlsd.harness.report.charts import TRAINING, draw, success
from rlsd.harness.report.episodes import Episode, episode_of, is_number, template, write_page
from rlsd.harness.runs.metrics import lost_records, read_metrics
from rlsd.harness.runs.rundir import RunError, load_run_config


def write_report(run: Path, out: Path | None = None, *, step: int | None = None, groups: int = 4) -> Path:
    """Write `report.html` into the run directory, or to `out`.

    Args:
        step: the iteration whose episodes are shown, counted from 1; default: the last that was kept.
        groups: tasks whose episodes are shown, those with wins and losses first.

    Raises:
        RunError: no run directory; nothing was recorded there yet, or not that iteration; a damaged record.
    """
    config = load_run_config(run)
    records = read_metrics(run / "metrics.jsonl")
    if not records:
        raise RunError(f"{run} has no metrics yet: train it first")
    train = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    _check(records, run / "metrics.jsonl")
    if lost := lost_records(run / "metrics.jsonl", records):
        sys.stderr.write(f"{lost}\n")
    shown, number, kept = _episodes(run, step, groups)
    charts = [("Success, %", "", success(train, evals)), *((c.title, c.note, draw(c, train)) for c in TRAINING)]
    algorithm = config.algorithm if isinstance(config.algorithm, str) else config.algorithm.name
    page = template("report.html").render(
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
        failed=sum(r.get("failed_episodes", 0) for r in train),
        failures=_failures(train),
        groups=shown,
        step=number,
        kept=kept,
        credited=True,
        config=write_yaml(masked(config.model_dump(mode="json", exclude_defaults=True))),
        versions=_versions(run),
    )
    return write_page(out or run / "report.html", page)


def _failures(train: Sequence[Mapping[str, Any]]) -> str:
    """How often training episodes failed, by reason."""
    counts: Counter[str] = Counter()
    for record in train:
        counts.update(record.get("failures") or {})
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


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


def _versions(run: Path) -> Mapping[str, Any]:
    try:
        return json.loads((run / "versions.json").read_text())
    except (OSError, ValueError):
        return {}


def _episodes(run: Path, step: int | None, groups: int) -> tuple[list[list[Episode]], int | None, list[int]]:
    """Groups of an iteration's episodes, its number from 1, and the numbers of those that were kept."""
    names = {p: re.fullmatch(r"step-(\d+)\.jsonl\.gz", p.name) for p in sorted((run / "rollouts").glob("step-*"))}
    files = {int(name[1]) + 1: p for p, name in names.items() if name}
    if step is not None and step not in files:
        available = ", ".join(map(str, files)) or "none (save_rollouts_every is 0)"
        raise RunError(f"no episodes of iteration {step} were kept in {run}; kept: {available}")
    number = step if step is not None else max(files, default=None)
    if number is None:
        return [], None, []
    by_group: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    try:
        if not files[number].stat().st_size:
            raise ValueError("the file is empty")
        with gzip.open(files[number], "rt") as file:
            for line in file:
                record = json.loads(line)
                credit = record["turn_credit"]
                if len(credit) != len(record["turns"]) or not all(map(is_number, credit)):
                    raise ValueError("an episode without the credit of each turn")
                by_group.setdefault(tuple(record["key"][:3]), []).append(record)
        kept = sorted(by_group.values(), key=lambda g: len({bool(r["success"]) for r in g}) == 1)[:groups]
        largest = max((abs(c) for g in kept for r in g for c in r["turn_credit"]), default=0.0)
        return [[episode_of(r, largest) for r in g] for g in kept], number, list(files)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"{files[number]} cannot be read ({reason}); delete it, or give another --step") from error

"""Runs a study: every (arm, seed) is an ordinary run directory, evaluated in every mode when it is trained.

STUDY/study.json                    the plan, frozen when it first runs, and its digest
STUDY/runs/ARM/seed-3/              a run directory, with eval-sampled.json and eval-greedy.json beside its metrics
STUDY/runs/start/seed-3/            the same evaluations of the weights that every arm starts from
STUDY/logs/ARM-3.log                what the run printed
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.envs.errors import RlsdError
from rlsd.harness.runs.frozen import more, store_plan, stored_plan
from rlsd.harness.runs.processes import Process, last_line, run_pool, start
from rlsd.harness.runs.rundir import RunError, differences, locked, write_atomic
from rlsd.harness.study.plan import START, TEMPERATURES, Cell, Study


class StudyError(RlsdError):
    """A study that was changed after it began, or whose runs failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFolder:
    """Where a study's files are."""

    path: Path

    def run(self, cell: Cell) -> Path:
        return self.path / "runs" / cell.arm / f"seed-{cell.seed}"

    def log(self, cell: Cell) -> Path:
        return self.path / "logs" / f"{cell.arm}-{cell.seed}.log"

    def evaluation(self, cell: Cell, mode: str) -> Path:
        return self.run(cell) / f"eval-{mode}.json"

    def done(self, cell: Cell, study: Study) -> bool:
        return all(self.evaluation(cell, mode).is_file() for mode in study.plan.modes)


def freeze(study: Study, folder: Path) -> StudyFolder:
    """Store the plan, or check that it is the stored one.

    Raises:
        StudyError: the file or its base has changed since the study began; names the first key.
    """
    place = folder / "study.json"
    stored = stored_plan(place, "plan", StudyError)
    if stored is None:
        store_plan(place, {"digest": study.digest, "plan": study.text})
    elif changed := differences(stored, study.text):
        raise StudyError(
            f"{folder} holds a study with another {changed[0]!r}: a plan is frozen when it first runs. Take the "
            f"change back, or give another --run{more(changed)}"
        )
    return StudyFolder(path=folder)


def run_cell(study: Study, folder: StudyFolder, cell: Cell) -> None:
    """Train and evaluate one cell in this process; goes on where it was stopped."""
    from rlsd.harness.evals.evaluate import evaluate_parts
    from rlsd.harness.evals.run_weights import parts_of
    from rlsd.harness.iteration.parts import build, settled
    from rlsd.harness.runs.progress import Progress
    from rlsd.harness.train import train

    if folder.done(cell, study):
        return
    config, run, plan = study.config(cell), folder.run(cell), study.plan
    if cell.arm == START:
        run.mkdir(parents=True, exist_ok=True)
        parts = build(settled(config))
    else:
        train(config, run, progress=Progress(total=config.iterations))
        parts = parts_of(run) if plan.weights == "best" else _last(run)
    parts.sampler.connect()
    for mode in plan.modes:
        settings = parts.config.eval.model_copy(update={"temperature": TEMPERATURES[mode], "seed": cell.seed})
        parts.config = parts.config.model_copy(update={"eval": settings})
        result = evaluate_parts(parts, plan.panel.split, episodes=plan.panel.episodes)
        record = {"agent": str(cell), "study": study.digest, **result.summary()}
        text = json.dumps({**record, "wins": result.wins(), "scores": result.scores()}, indent=1)
        write_atomic(folder.evaluation(cell, mode), text + "\n")


def _last(run: Path) -> Any:
    """Parts of a run with the weights after its last iteration."""
    from rlsd.harness.iteration.parts import build
    from rlsd.harness.runs import checkpoint
    from rlsd.harness.runs.rundir import load_run_config

    parts = build(load_run_config(run))
    newest = checkpoint.latest(run / "checkpoints")
    if newest is None:
        raise RunError(f"{run} has no checkpoint; delete the folder and start the study again")
    tensors, state = checkpoint.load(newest)
    parts.learner.load(tensors["model"], tensors.get("optimizer", {}), state["optimizer"])
    return parts


def run_all(study: Study, folder: StudyFolder, file: Path, *, jobs: int, tell: Callable[[str], None]) -> None:
    """Run the cells that are not finished, `jobs` at a time, each in a process of its own on one thread.

    Args:
        file: the study's file, which the processes read again.
        tell: gets a line for each finished cell.

    Raises:
        StudyError: runs failed (the others are finished first).
        RunError: another process runs this study.
    """
    cells = study.cells()
    waiting = [cell for cell in cells if not folder.done(cell, study)]
    finished, failed = len(cells) - len(waiting), list[Cell]()

    def ended(cell: Cell, code: int, seconds: float) -> None:
        nonlocal finished
        if code == 0 and folder.done(cell, study):
            finished += 1
            tell(f"{cell} done in {seconds:.0f} s ({finished} of {len(cells)})")
        else:
            failed.append(cell)
            tell(f"{cell} failed: {last_line(folder.log(cell))}")

    def begin(cell: Cell) -> Process:
        return start(["study", str(file), "--run", str(folder.path), "--only", str(cell)], folder.log(cell))

    with locked(folder.path / ".lock", f"another process runs the study in {folder.path}"):
        run_pool(waiting, begin, ended, jobs=jobs)
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(cells)} runs failed, the first: {failed[0]} ({last_line(folder.log(failed[0]))}). "
            f"Logs are in {folder.path / 'logs'}; the same command tries them again"
        )

"""A supervised run that is diagnosed every few iterations, and ends when the model reads hindsight and wins."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.harness.config import RunConfig
from rlsd.harness.evals.diagnose import LEAST_MARGIN, LEAST_TRUE, diagnose
from rlsd.harness.iteration.parts import settled
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import write_atomic
from rlsd.harness.session import Session, open_session
from rlsd.harness.sft import Imitation

RECORD = "warm_start.json"
"""File of a run with its diagnoses, in order."""
MANY = 0.5
"""Hindsight that does not fit in more than this share of the turns is the reason why it is not read."""

KNOWS = 0.9
"""Success from which on a student has little to learn from hindsight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """How it ended."""

    ready: bool
    sentence: str
    diagnosis: dict[str, Any]


class Sparse(Progress):
    """Prints a line for every fifth iteration alone."""

    def iteration(self, record: dict[str, Any]) -> None:
        if (record["step"] + 1) % 5 == 0:
            super().iteration(record)


def warm_start(
    config: RunConfig,
    folder: Path,
    *,
    every: int,
    least_success: float,
    progress: Progress | None = None,
) -> WarmStart:
    """Train until the diagnosis of the present weights says "readable" and the student wins often enough, or until
    `config.iterations`. The last weights are the run's best/. Resumes from the newest checkpoint.

    Args:
        every: iterations between diagnoses, on the evaluation's tasks of the validation split.
        least_success: share of the student's own episodes that it must win: groups that lose throughout teach nothing.
    """
    with open_session(settled(config, folder), folder, progress) as session:
        diagnoses = [d for d in _read(folder) if d["step"] <= session.step]
        if diagnoses and diagnoses[-1]["step"] == session.step and is_ready(diagnoses[-1], least_success):
            session.end_here()  # a run that was stopped, whose last diagnosis is enough now
            return _ended(diagnoses[-1], config, least_success)
        with closing(Imitation(session.parts)) as loop:
            for step in session.steps():
                session.log(loop.run(step))
                if (step + 1) % every and step + 1 < config.iterations:
                    continue
                diagnoses.append(_measured(session, step + 1))
                _keep(session, diagnoses)
                if is_ready(diagnoses[-1], least_success):
                    session.stop()
        if not diagnoses or diagnoses[-1]["step"] != session.step:  # the record was deleted
            diagnoses.append(_measured(session, session.step))
            _keep(session, diagnoses)
    return _ended(diagnoses[-1], config, least_success)


def _measured(session: Session, step: int) -> dict[str, Any]:
    """The diagnosis of the present weights, after `step` iterations; also printed."""
    episodes = session.config.eval.episodes
    measured = diagnose(session.parts, episodes=episodes, views=False, progress=session.progress)
    diagnosis = {"step": step, **measured}
    text = line(diagnosis, session.config.iterations)
    session.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
    return diagnosis


def _keep(session: Session, diagnoses: list[dict[str, Any]]) -> None:
    if session.ranks.main:
        write_atomic(session.run_dir.path / RECORD, json.dumps(_plain(diagnoses), indent=1) + "\n")


def line(last: Mapping[str, Any], iterations: int) -> str:
    """A diagnosis for people, on one line."""
    actions = last["actions"]
    return (
        f"step {last['step']}/{iterations}  AUC of Δ {_shown(last['auc'][0])} own hindsight, "
        f"{_shown(last['auc_other'][0])} another task's ({actions['nearer']} of {sum(actions.values())} actions "
        f"brought the goal nearer)  student wins {100 * last['student_success']:.0f} %"
    )


def is_ready(last: Mapping[str, Any], least_success: float) -> bool:
    """Whether RL can start: hindsight is readable, and the student wins that share of its own episodes."""
    return bool(last["readable"]) and last["student_success"] >= least_success


def why_not(last: Mapping[str, Any], iterations: int, least_success: float) -> str:
    """Why the model is not ready after its last diagnosis, in one sentence that says what to do."""
    counts, actions = last["counts"], last["actions"]
    turns = counts["given"] + counts["missing"] + counts["too_long"]
    if turns and counts["too_long"] / turns > MANY:
        return (
            f"hindsight is too long in {counts['too_long']} of {turns} turns: raise hindsight.max_tokens or the "
            "model's context, or say less in hindsight()"
        )
    if turns and counts["missing"] / turns > MANY:
        return f"hindsight says nothing in {counts['missing']} of {turns} turns: give a plan in every state"
    if not actions["nearer"]:
        return (
            f"none of the student's {actions['not_nearer']} actions reduced the distance to the goal after "
            f"{last['step']} of {iterations} iterations: raise --iterations, or look at hindsight().distance"
        )
    if not actions["not_nearer"]:
        return (
            f"all of the student's {actions['nearer']} actions reduced the distance to the goal, so hindsight tells "
            "it nothing new: give it harder tasks"
        )
    if not last["readable"] and last["student_success"] >= KNOWS:
        return (
            f"the student wins {100 * last['student_success']:.0f} % of its episodes without hindsight, which tells "
            "it little new: give it harder tasks, or train from here as it is"
        )
    reached = f"AUC {_shown(last['auc'][0])} with its own and {_shown(last['auc_other'][0])} with another task's"
    if last["readable"]:
        return (
            f"hindsight is readable ({reached}), but the student wins {100 * last['student_success']:.0f} % of its "
            f"episodes, less than --success {least_success:g}, after all {iterations} iterations: raise --iterations"
        )
    return (
        f"all {iterations} iterations are used up at {reached} (needed: {LEAST_TRUE}, and {LEAST_MARGIN} more than the "
        "other): raise --iterations, or give a larger model (--model FOLDER --lora)"
    )


def _ended(last: dict[str, Any], config: RunConfig, least_success: float) -> WarmStart:
    ready = is_ready(last, least_success)
    sentence = (
        f"hindsight is readable after {last['step']} iterations: AUC {_shown(last['auc'][0])} with its own, "
        f"{_shown(last['auc_other'][0])} with another task's; the student wins {100 * last['student_success']:.0f} %"
    )
    if last["student_success"] >= KNOWS:
        sentence += ", so that harder tasks would leave RL more to teach"
    return WarmStart(
        ready=ready,
        sentence=sentence if ready else f"not ready: {why_not(last, config.iterations, least_success)}",
        diagnosis=last,
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.2f}"


def _plain(value: Any) -> Any:
    """NaN, which JSON has not, as None."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(folder: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):  # none yet, or a damaged one: it is measured again
        return []

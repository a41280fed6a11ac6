"""What a credit exam compares: methods by name, and the controls that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlsd.algorithms import METHODS, AlgorithmConfig, needs_divergence, needs_teacher, resolve
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.errors import closest
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.hindsight.facts import check_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamMethod:
    """One row of the exam."""

    name: str
    algorithm: AlgorithmConfig
    source: Literal["own", "other_task"] = "own"
    """Whose hindsight the teacher reads."""
    control: bool = False


WIDE = {"rule": "hindsight", "level": "turn", "squash": "linear", "lam": 1.0}
TIMES = {**WIDE, "slope": 0.9, "clip": 0.9}
"""A (1 + .9 sign(A) e): credit keeps the sign of A."""
PLUS = {**WIDE, "combine": "add", "direction": "teacher", "clip": None}
"""A + e, in units of A."""

VARIANTS: dict[str, Mapping[str, Any]] = {
    "rlsd_turn": {"name": "rlsd", "credit": {"level": "turn"}},
    "progress": {"name": "grpo", "credit": {**TIMES, "signal": "progress"}},
    "progress_added": {"name": "grpo", "credit": {**PLUS, "signal": "progress"}},
    "farther_added": {"name": "grpo", "credit": {**PLUS, "signal": "farther"}},
    "grpo_penalty": {"name": "grpo", "advantage": {"invalid_penalty": 0.1}},
}
"""Settings of shipped methods under names of their own."""
DEFAULT = (
    "grpo",
    "gigpo",
    "rlsd",
    "rlsd_turn",
    "rlsd_token",
    "progress",
    "progress_added",
    "farther_added",
    "grpo_penalty",
)
CONTROLS: dict[str, Mapping[str, Any]] = {
    "rlsd shuffled": {"name": "rlsd", "credit": {"control": "shuffled"}},
    "rlsd other task": {"name": "rlsd"},
    "progress shuffled": {"name": "grpo", "credit": {**TIMES, "signal": "progress", "control": "shuffled"}},
    "student_prob added": {"name": "grpo", "credit": {**PLUS, "signal": "student_prob"}},
}
"""Everything of a method but its information; the last has none but what the policy does anyway."""
CONFIG = "config"
"""Stands for the run's own algorithm."""


def chosen(names: Sequence[str] | None, config: RunConfig, *, controls: bool = True) -> list[ExamMethod]:
    """The rows of an exam, `grpo` first, because all others are compared with it.

    All methods read the run's own hindsight contexts if it has some, so that credits are compared, not texts.

    Args:
        names: of `VARIANTS`, `METHODS`, `config`, or `module:NAME`; None: `DEFAULT`.
        controls: add those that belong to the methods.

    Raises:
        ConfigError: an unknown name, or a loss that is more than a weighted log-prob.
    """
    wanted = list(dict.fromkeys(["grpo", *(DEFAULT if names is None else names)]))
    rows = [_method(name, config) for name in wanted]
    credits = [m.algorithm.credit for m in rows]
    facts, teacher = any(c.reads_facts for c in credits), any(c.reads_teacher for c in credits)
    for name, settings in CONTROLS.items() if controls else ():
        made = _with_contexts(resolve(dict(settings)), config)
        if (made.credit.reads_teacher and not teacher) or (made.credit.reads_facts and not facts):
            continue
        source = "other_task" if name.endswith("other task") else "own"
        rows.append(ExamMethod(name=name, algorithm=made, source=source, control=True))
    return rows


def check_environment(methods: Sequence[ExamMethod], env: TextEnv, tasks: Sequence[Task]) -> None:
    """Refuse methods that read what the environment does not give.

    Raises:
        ConfigError: names the method and those that could stay.
    """
    failed: dict[str, ConfigError] = {}
    for method in methods:
        try:
            check_facts(method.algorithm, [c for c in method.algorithm.contexts if c != "none"], env, tasks)
        except ConfigError as error:
            failed[method.name] = error
    if failed:
        name, error = next(iter(failed.items()))
        stay = [m.name for m in methods if not m.control and m.name not in failed]
        raise ConfigError(f"method {name!r}: {error}; methods that can be examined here: --methods {','.join(stay)}")


def _method(name: str, config: RunConfig) -> ExamMethod:
    if name == CONFIG:
        algorithm, source = config.algorithm, config.hindsight.source
    elif name in VARIANTS:
        algorithm, source = resolve(dict(VARIANTS[name])), "own"
    elif name in METHODS or ":" in name:
        algorithm, source = resolve(name), "own"
    else:
        raise ConfigError(f"unknown method {name!r}{closest(name, [*METHODS, *VARIANTS, CONFIG, 'module:NAME'])}")
    if algorithm.imitates or needs_divergence(algorithm, 0):
        what = "imitates" if algorithm.imitates else "compares whole distributions"
        raise ConfigError(f"method {name!r} {what}: an exam takes losses of sampled log-probs alone; leave it out")
    return ExamMethod(name=name, algorithm=_with_contexts(algorithm, config), source=source)


def _with_contexts(algorithm: AlgorithmConfig, config: RunConfig) -> AlgorithmConfig:
    own = config.algorithm.contexts
    if not own or not needs_teacher(algorithm, 0):
        return algorithm
    return algorithm.model_copy(update={"contexts": own})

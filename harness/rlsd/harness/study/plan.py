"""The plan of a study, `rlsd study FILE`: methods × seeds at equal episodes, and what is compared afterwards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from rlsd.envs.errors import closest
from rlsd.harness.config.blocks import Block, ConfigError
from rlsd.harness.config.load import explain, merged, parse_config, read_file
from rlsd.harness.config.renames import renamed
from rlsd.harness.config.run import RunConfig

Mode = Literal["sampled", "greedy"]
TEMPERATURES: dict[str, float] = {"sampled": 1.0, "greedy": 0.0}
START = "start"
"""Stands for the weights that every arm starts from."""
SHARED = ("env", "model", "agent", "eval")
"""Blocks that every arm has in common: otherwise arms would not start alike, or play other tasks."""


class PanelConfig(Block):
    split: Literal["train", "valid", "test"] = "test"
    """Split that start and results are evaluated on."""
    episodes: int | None = Field(default=None, ge=1)
    """The split's first tasks only; default: all."""


class PlannedTest(Block):
    """The planned test: of each arm against the reference, two-sided, over seeds."""

    mode: Mode = "sampled"
    """Evaluation that decides; the others are reported without a verdict."""
    measure: Literal["success", "score"] = "success"
    """What is compared, task by task."""
    level: float = Field(default=0.05, gt=0, lt=1)
    """Largest probability, over all arms together, of calling any arm different that is not (Holm)."""
    draws: int = Field(default=10_000, ge=100)
    """Draws of the bootstrap."""


class StudyConfig(Block):
    """A study: one YAML file, frozen when it first runs."""

    base: str
    """Config file of a run, as `rlsd train` takes it."""
    overrides: dict[str, Any] = Field(default={})
    """Settings of all arms that differ from the base, as nested blocks."""
    arms: dict[str, dict[str, Any]]
    """Name of each arm → its own settings, as nested blocks."""
    reference: str
    """Arm that the others are compared with."""
    seeds: int | list[int]
    """A number of seeds, 1 to n, or the seeds themselves."""
    panel: PanelConfig = PanelConfig()
    """Tasks of the evaluations."""
    modes: list[Mode] = Field(default=["sampled", "greedy"])
    """Evaluations of start and result: at temperature 1, at temperature 0."""
    weights: Literal["last", "best"] = "last"
    """Weights that are evaluated: those after the last iteration, or the best on the validation panel."""
    test: PlannedTest = PlannedTest()
    """The planned test."""

    @model_validator(mode="after")
    def _fits_together(self) -> StudyConfig:
        for name in self.arms:
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name == START:
                raise ValueError(f"arms: {name!r} is no name; expected letters, digits, _ . -, and not {START!r}")
        if len(self.arms) < 2:
            raise ValueError(f"arms: expected at least two, got {', '.join(self.arms) or 'none'}")
        if self.reference not in self.arms:
            raise ValueError(f"reference: no arm {self.reference!r}{closest(self.reference, self.arms)}")
        if not self.seed_list or len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError(f"seeds: expected at least one, each once, got {self.seeds}")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ValueError(f"modes: expected at least one, each once, got {self.modes}")
        if self.test.mode not in self.modes:
            raise ValueError(f"test.mode is {self.test.mode}, which is not among modes: {', '.join(self.modes)}")
        return self

    @property
    def seed_list(self) -> list[int]:
        return list(range(1, self.seeds + 1)) if isinstance(self.seeds, int) else self.seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm with one seed; the arm `start` is not trained."""

    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}/{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A checked plan."""

    plan: StudyConfig
    text: dict[str, Any]
    """What the digest is of: the file and its base, as written."""
    configs: dict[str, RunConfig]
    """Arm → config with the first seed."""

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of file and base; comments and layout do not count."""
        return hashlib.sha256(json.dumps(self.text, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def budget(self) -> int:
        """Training episodes of each run."""
        return _budget(self.configs[self.plan.reference])

    def cells(self) -> list[Cell]:
        """All of them, seed by seed, so that an unfinished study has about as many seeds of every arm."""
        return [Cell(arm=arm, seed=seed) for seed in self.plan.seed_list for arm in (START, *self.plan.arms)]

    def cell(self, name: str) -> Cell:
        """The cell called ARM/SEED.

        Raises:
            ConfigError: there is none.
        """
        cells = {str(cell): cell for cell in self.cells()}
        if name not in cells:
            raise ConfigError(f"--only {name!r}: no such arm and seed{closest(name, cells)}")
        return cells[name]

    def config(self, cell: Cell) -> RunConfig:
        """The config of a cell's run."""
        config = self.configs[self.plan.reference if cell.arm == START else cell.arm]
        return config.model_copy(update={"seed": cell.seed})


def load_study(path: Path) -> Study:
    """Read and check a study's file.

    Raises:
        ConfigError: an unreadable file, an unknown key, an arm that cannot run, arms of unequal episodes; one line.
    """
    data = read_file(path)
    try:
        plan = StudyConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, StudyConfig)}") from error
    base = read_file(plan.base)
    configs = {}
    for name, settings in plan.arms.items():
        try:
            configs[name] = _arm(base, plan, settings)
        except ConfigError as error:
            raise ConfigError(f"{path}: arm {name}: {error}") from error
    _comparable(path, configs, plan)
    text = json.loads(json.dumps({"study": data, "base": base}, default=str))
    return Study(plan=plan, text=text, configs=configs)


def _arm(base: dict[str, Any], plan: StudyConfig, settings: dict[str, Any]) -> RunConfig:
    data = merged(merged(renamed(base), renamed(plan.overrides)), renamed(settings))
    data = {"threads": 1, **data, "seed": plan.seed_list[0]}
    config = parse_config(data)
    if config.rollout.refill == "none" or config.max_episodes is not None:
        return config
    return parse_config({**data, "max_episodes": config.iterations * config.rollout.episodes})


def _comparable(path: Path, configs: dict[str, RunConfig], plan: StudyConfig) -> None:
    """
    Raises:
        ConfigError: arms that cannot be compared; names the arm and the setting.
    """
    reference = configs[plan.reference]
    for name, config in configs.items():
        for block in SHARED:
            if getattr(config, block) != getattr(reference, block):
                raise ConfigError(
                    f"{path}: arm {name} has another {block!r} than {plan.reference}; set it for all, in overrides"
                )
        if config.algorithm.imitates:
            raise ConfigError(f"{path}: arm {name} imitates demonstrations; a study compares methods that sample")
        if (mine := _budget(config)) != (theirs := _budget(reference)):
            raise ConfigError(
                f"{path}: arm {name} has {mine} training episodes and {plan.reference} {theirs}: iterations × "
                "tasks_per_iteration × group_size must be the same"
            )
    if plan.weights == "best" and not reference.eval.every:
        raise ConfigError(f"{path}: weights is best, but eval.every is 0: nothing would choose them")


def _budget(config: RunConfig) -> int:
    planned = config.iterations * config.rollout.episodes
    return planned if config.max_episodes is None else min(planned, config.max_episodes)


def fewest_seeds(arms: Sequence[str], level: float) -> int:
    """Seeds below which the test cannot reach `level` for any arm, however large the difference: its smallest p-value
    is 2^(1 − seeds), times the number of comparisons.

    >>> fewest_seeds(["reference", "a", "b"], 0.05)
    7
    """
    seeds = 1
    while (len(arms) - 1) * 2.0 ** (1 - seeds) > level:
        seeds += 1
    return seeds

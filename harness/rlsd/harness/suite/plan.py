"""The file of `rlsd eval --suite`: environments × agents × seeds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from rlsd.envs.errors import closest
from rlsd.envs.redact import stored
from rlsd.harness.config import of_profile
from rlsd.harness.config.blocks import Block, ConfigError
from rlsd.harness.config.load import explain, read_file

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class SuiteEnv(Block):
    """An environment, and its tasks."""

    id: str
    """As `rlsd eval --env` takes it."""
    kwargs: dict[str, Any] = Field(default={})
    """Its arguments; `${NAME}` in a text is the environment variable NAME."""
    split: str = "test"
    """Any split that the environment has."""
    episodes: int | None = Field(default=None, ge=1)
    """The split's first tasks only; default: all."""
    protocol: str = "rlsd"
    """`rlsd`, or `legacy`: sampled as published training code does."""
    on_training_tasks: bool = False
    """Also report on tasks that weights were trained on."""


class SuiteAgent(Block):
    """An agent; a text alone is its `agent`."""

    agent: str
    """As `rlsd eval --agent` takes it, or `run:FOLDER`: the best weights of a run."""
    settings: dict[str, Any] = Field(default={})
    """What `--set agent.NAME=` would change: format, memory, max_new_tokens, system …"""
    profile: str | None = None
    """Name or file of the agent's profile; default: the one beside its weights."""
    temperature: float | None = Field(default=None, ge=0)
    """Default: 0, greedy."""
    body: dict[str, Any] = Field(default={})
    """Fields of the requests to a chat endpoint, beside or instead of the usual ones."""
    drop_body: list[str] = Field(default=[])
    """Fields that the endpoint refuses."""
    environments: list[str] | None = None
    """Those that it plays; default: all."""
    concurrency: int | None = Field(default=None, ge=1)
    """Episodes at once; default: 64."""
    rate: str | None = None
    """Requests in a time, over all processes: 10/s, 500/min."""
    token_rate: str | None = None
    """Tokens, in and out, in a time."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds of one try at a chat endpoint; default: 300."""
    retries: int | None = Field(default=None, ge=0)
    """Further tries of a failed request; default: 5."""
    device: str | None = None
    """`cpu` or `cuda`, for weights that run here."""


RUNTIME = ("environments", "concurrency", "rate", "token_rate", "timeout_s", "retries", "device")
"""Settings of an agent that do not change what it does: they may differ when a suite goes on."""


class SuiteConfig(Block):
    """A suite: one YAML file."""

    environments: dict[str, SuiteEnv]
    """Name → environment."""
    agents: dict[str, SuiteAgent]
    """Name → agent."""
    seeds: int | list[int] = 1
    """A number of seeds, 0 to n − 1, or the seeds themselves."""
    samples: int = Field(default=1, ge=1)
    """Episodes of each task under each seed, for pass@k."""
    prices: str | None = None
    """YAML file of model → input, output (cached, reasoning), a million tokens."""
    max_cost: float | None = Field(default=None, gt=0)
    """Money that all chat endpoints together may use; needs prices."""
    max_tokens_total: int | None = Field(default=None, ge=1)
    """Tokens that all chat endpoints together may use."""

    @field_validator("agents", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"agent": agent} if isinstance(agent, str) else agent for name, agent in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> SuiteConfig:
        for what, names in (("environments", self.environments), ("agents", self.agents)):
            if not names:
                raise ValueError(f"{what}: expected at least one, got none")
            for name in names:
                if not _NAME.fullmatch(name):
                    raise ValueError(f"{what}: {name!r} is no name; expected letters, digits, _ . -")
        for name, agent in self.agents.items():
            for env in agent.environments or ():
                if env not in self.environments:
                    raise ValueError(f"agents.{name}: no environment {env!r}{closest(env, self.environments)}")
        if not self.seed_list or len(set(self.seed_list)) < len(self.seed_list) or min(self.seed_list) < 0:
            raise ValueError(f"seeds: expected at least one, each once and 0 or more, got {self.seeds}")
        if self.max_cost is not None and self.prices is None:
            raise ValueError("max_cost needs prices: a YAML file with input and output of each model")
        return self

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One agent in one environment with one seed."""

    env: str
    agent: str
    seed: int

    def __str__(self) -> str:
        return f"{self.env}/{self.agent}/{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A checked file."""

    plan: SuiteConfig

    def cells(self) -> list[Cell]:
        """All of them, seed by seed, so that an unfinished suite has about as many seeds of every agent."""
        plan = self.plan
        return [
            Cell(env=env, agent=name, seed=seed)
            for seed in plan.seed_list
            for env in plan.environments
            for name, agent in plan.agents.items()
            if agent.environments is None or env in agent.environments
        ]

    def identity(self, cell: Cell) -> dict[str, Any]:
        """What a cell's result depends on, without secrets.

        Raises:
            ConfigError: a profile that cannot be used.
        """
        env, agent = self.plan.environments[cell.env], self.plan.agents[cell.agent]
        data = {
            "environment": env.model_dump(mode="json"),
            "agent": agent.model_dump(mode="json", exclude=set(RUNTIME)),
            "seed": cell.seed,
            "samples": self.plan.samples,
        }
        if agent.profile is not None:
            data["profile"] = of_profile(agent.profile).digest()
        return json.loads(json.dumps(stored(data, "suite"), default=str))

    def digest(self, cells: Iterable[Cell]) -> str:
        """First 16 hex digits of the SHA-256 of what the results of these cells depend on."""
        data = {str(cell): self.identity(cell) for cell in cells}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def load_suite(path: Path) -> Suite:
    """Read and check a suite's file; nothing is opened or loaded (`rlsd.harness.suite.check` does that).

    Raises:
        ConfigError: an unreadable file, an unknown key, names that do not fit together; one line.
    """
    data = read_file(path)
    stored(data, "suite")  # before any error can show a secret
    try:
        return Suite(plan=SuiteConfig.model_validate(data))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, SuiteConfig)}") from error

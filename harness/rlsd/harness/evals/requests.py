"""What a request for an evaluation means: its protocol, its weights, and how the results file repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlsd.envs.core import Panel, TextEnv
from rlsd.envs.redact import bare
from rlsd.harness.config import ConfigError, load_config, of_profile
from rlsd.harness.evals.api import ApiRequest
from rlsd.harness.evals.evaluate import EvalResult
from rlsd.harness.evals.played import weights_of
from rlsd.harness.evals.protocols import Protocol, agent_settings, config_settings, env_arguments, legacy
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    config: Path | None = None
    env: str | None = None
    agent: str | None = None
    split: str = "test"
    episodes: int | None = None
    samples: int = 1
    """Episodes of each task."""
    seed: int = 0
    temperature: float | None = None
    device: str | None = None
    """Where `hf:FOLDER` runs; default: a GPU if there is one."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment `env`."""
    overrides: tuple[str, ...] = ()
    profile: str | None = None
    """Name or file of the agent's profile; default: the one beside its weights."""
    protocol: str = "rlsd"
    """"legacy": as published training code samples; what is given explicitly holds (see `protocols`)."""
    on_training_tasks: bool = False
    """Evaluate tasks that the weights were trained on."""
    only: tuple[int, ...] | None = None
    """Numbers of the panel's tasks that are played, with the random numbers they have among all."""
    save: Path | None = None
    """File of the result. Episodes are kept beside it as they are played, so that the same request goes on after an
    interruption; so are the paid answers of a chat endpoint."""
    keep: Path | None = None
    """Folder for all episodes, see `rlsd.harness.evals.kept`."""
    concurrency: int | None = None
    """Episodes at once; default: 64."""
    api: ApiRequest = field(default_factory=ApiRequest)


def played(request: EvalRequest, what: dict[str, Any]) -> dict[str, Any]:
    """The request as the results file keeps it: what `rlsd verify` repeats."""
    rest = {
        name: getattr(request, name) for name in ("split", "episodes", "samples", "seed", "temperature", "protocol")
    }
    profile = {} if request.profile is None else {"profile": request.profile}
    return {**what, **rest, **profile, **bare(request.api.identity()), "settings": bare(list(request.overrides))}


def protocol_of(request: EvalRequest) -> tuple[str, ...]:
    """Settings of a config that `--protocol` changes."""
    if request.protocol != "legacy" or request.config is None:
        return ()
    place = request.config / "config.yaml" if request.config.is_dir() else request.config
    env = load_config(place, list(request.overrides)).env
    return config_settings(legacy(env.id), env, request.seed)


def as_legacy(request: EvalRequest, protocol: Protocol) -> EvalRequest:
    return replace(
        request,
        env_kwargs={**env_arguments(protocol, request.seed), **request.env_kwargs},
        temperature=protocol.temperature if request.temperature is None else request.temperature,
        overrides=(*agent_settings(protocol), *request.overrides),
    )


def folder_of(name: str) -> str | None:
    """The folder of an agent's weights, where its name says."""
    kind, _, place = name.partition(":")
    return place if kind == "hf" else place.partition("#")[2] or None if kind == "vllm" else None


def weights_of_agent(name: str) -> dict[str, Any] | None:
    kind, _, place = name.partition(":")
    if kind == "hf" and place:
        return weights_of(place)
    return {"server": place} if kind in ("vllm", "openai") else None


def recorded(path: str, env: TextEnv, request: EvalRequest) -> EvalResult:
    """Recorded episodes, e.g. of people in `rlsd serve shop`, as an evaluation of their tasks; of several episodes of a
    task the first counts.

    Raises:
        ConfigError: the file cannot be read, or has no episode of this environment's tasks.
    """
    found: dict[str, Trajectory] = {}
    for trajectory in read_trajectories(path, str(request.env), label="--agent recorded"):
        found.setdefault(trajectory.task.task_id, trajectory)
    tasks = [task for task in list(env.tasks())[: request.episodes] if task.task_id in found]
    if not tasks:
        raise ConfigError(
            f"{path} has {len(found)} tasks, none of them in split {request.split!r} of {request.env} (such as "
            f"{next(iter(found))!r}): give the --split and --arg that it was recorded with"
        )
    return EvalResult(panel=Panel.of(env, tasks), trajectories=tuple(found[task.task_id] for task in tasks))


def profile_first(request: EvalRequest) -> tuple[str, ...]:
    """The overrides of a config, in which `--profile` comes before `--set agent.…`."""
    return request.overrides if request.profile is None else (f"agent.profile={request.profile}", *request.overrides)


def profile_temperature(request: EvalRequest) -> tuple[str, ...]:
    """The temperature of `--profile` as an override of a config; a protocol and `--temperature` go before it."""
    temperature = None if request.profile is None else of_profile(request.profile).temperature
    return () if temperature is None else (f"eval.temperature={temperature}",)

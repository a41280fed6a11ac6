"""`rlsd eval` and related commands: from a file, a run directory or flags to an agent on a fixed evaluation set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rlsd.envs.core import Panel, TextEnv
from rlsd.envs.redact import bare, revealed, stored
from rlsd.envs.registry import make
from rlsd.harness.config import ConfigError, of_profile
from rlsd.harness.config.masked import comparable
from rlsd.harness.evals.api import account_of, check_api, closing
from rlsd.harness.evals.evaluate import EvalResult, evaluate, evaluate_parts, panel_of
from rlsd.harness.evals.journal import Journal
from rlsd.harness.evals.keeping import journals, summary_of
from rlsd.harness.evals.kept import KeptEpisodes, keep_episodes
from rlsd.harness.evals.opening import agent_settings, open_agent, temperature_of
from rlsd.harness.evals.protocols import check_name, legacy
from rlsd.harness.evals.requests import (
    EvalRequest,
    as_legacy,
    folder_of,
    played,
    profile_first,
    profile_temperature,
    protocol_of,
    recorded,
    weights_of_agent,
)
from rlsd.harness.evals.results_file import provenance
from rlsd.harness.evals.run_weights import parts_of, weights_of_config
from rlsd.harness.evals.training_tasks import check
from rlsd.harness.rollout.rollout import RolloutSettings
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.progress import Progress

MODELS = ("hf", "vllm", "openai")
"""Kinds of agents that are language models."""
SLOTS = 64
"""Episodes at once where nobody says another number."""
AGENT_FAILURES = 16
"""Attempts in a row that may fail because the agent's server does; then the evaluation stops, to go on later."""


def run_eval(request: EvalRequest, *, quiet: bool = False) -> tuple[EvalResult, str]:
    """The result and the agent's name.

    Raises:
        ConfigError: neither or both of a config and an environment; an agent beside a config; an unknown agent.
    """
    progress = Progress(quiet=quiet)
    check_name(request.protocol)
    if (request.config is None) == (request.env is None):
        raise ConfigError(
            "give a config file or run directory, or --env with --agent, e.g. rlsd eval runs/quickstart/rlsd"
        )
    if request.device is not None and not (request.agent or "").startswith("hf:"):
        raise ConfigError("--device is for agents that run here (--agent hf:FOLDER); a config has learner.device")
    check_api(request)
    if request.config is not None:
        return _run_config(request, request.config, progress)
    return _run_agent(request, request.env or "", request.agent or "random", progress)


def _run_config(request: EvalRequest, path: Path, progress: Progress) -> tuple[EvalResult, str]:
    """A config file or a run directory."""
    if request.agent is not None or request.env_kwargs:
        option = "--arg" if request.agent is None else f"--agent {request.agent}"
        raise ConfigError(
            f"{option} belongs to --env: a config or run directory plays its own model in its own environment; "
            "change these with --set, e.g. --set env.kwargs.games=gen-tiny"
        )
    overrides = (*profile_temperature(request), *protocol_of(request), *profile_first(request))
    overrides = (*overrides, f"eval.seed={request.seed}")
    if request.temperature is not None:
        overrides = (*overrides, f"eval.temperature={request.temperature}")
    parts = parts_of(path, overrides, external=False, progress=progress)
    weights = weights_of_config(path, parts)
    identity = {"config": str(path), "split": request.split, "weights": weights}
    identity |= {"samples": request.samples} if request.samples > 1 else {}
    parts.sampler.connect()  # a missing server is an error at once
    with journals(request, {**identity, "settings": comparable(parts.config.model_dump(mode="json"))}) as keep:

        def opened(panel: Panel) -> Journal | None:
            place = path if path.is_dir() else parts.config.model.path
            keep.extra = provenance(
                played=played(request, {"config": str(path)}),
                agent=parts.config.agent,
                temperature=parts.config.eval.temperature,
                training=check(panel, place, split=request.split, told=request.on_training_tasks),
            )
            return keep.open(panel)

        result = evaluate_parts(
            parts,
            request.split,
            episodes=request.episodes,
            samples=request.samples,
            only=request.only,
            progress=progress,
            journal=opened,
            agent_failures=AGENT_FAILURES,
        )
        result = replace(result, weights=weights, agent_digest=keep.extra.get("agent_digest"))
        keep.finish(path.stem, result)
    return result, path.stem


def _run_agent(request: EvalRequest, world: str, name: str, progress: Progress) -> tuple[EvalResult, str]:
    """`--env` with `--agent`."""
    if request.protocol == "legacy":
        request = as_legacy(request, legacy(world))
    stored([world, name], "env")  # a login in an address is known from here on
    spec = revealed(world, "--env")

    def open_env() -> TextEnv:
        return make(spec, split=request.split, **request.env_kwargs)

    env = open_env()
    identity = _identity(request, world, name)
    asked = played(request, {"env": bare(world), "agent": bare(name), "arguments": bare(dict(request.env_kwargs))})
    if name.startswith("recorded:"):
        result = recorded(name.removeprefix("recorded:"), env, request)
        env.close()
        keep_episodes(request.keep, result, {**identity, **summary_of(name, result)})
        with journals(request, identity) as keep:
            keep.open(result.panel)
            keep.extra = provenance(played=asked, agent=None, temperature=None, training={})
            keep.finish(name, result)
        return result, name
    panel = panel_of(env, request.episodes)
    env.close()
    weights, folder = weights_of_agent(name), folder_of(name)
    settings = agent_settings(request, env, folder) if name.partition(":")[0] in MODELS else None
    extra = provenance(
        played=asked,
        agent=settings,
        temperature=None if settings is None else temperature_of(request, settings),
        training=check(panel[0], folder, split=request.split, told=request.on_training_tasks),
    )
    agent = open_agent(name, request, env)
    kept = None if request.keep is None else KeptEpisodes(request.keep)
    with (
        journals(request, {**identity, "weights": bare(weights)}) as keep,
        progress.bar(f"{name} on {request.split}", request.samples * len(panel[1])) as advance,
        closing(agent, kept),
    ):

        def ended(trajectory: Trajectory) -> None:
            advance()
            if kept is not None:
                kept.timed(trajectory)

        slots = request.concurrency or SLOTS
        result = evaluate(
            open_env,
            agent,
            stream=request.split,
            settings=RolloutSettings(slots=slots, hindsight=False, seed=request.seed, agent_failures=AGENT_FAILURES),
            samples=request.samples,
            only=request.only,
            panel=panel,
            on_episode=ended,
            journal=keep.open(panel[0]),
        )
        digest = extra.get("agent_digest")
        result = replace(result, weights=weights, account=account_of(agent), agent_digest=digest)
        keep.extra = extra
        keep_episodes(request.keep, result, {**identity, **summary_of(name, result)})
        keep.finish(name, result)
    return result, name


def _identity(request: EvalRequest, world: str, name: str) -> dict[str, Any]:
    """What must be the same for a later call to go on with the episodes of this one."""
    identity: dict[str, Any] = {"env": bare(world), "agent": bare(name), "split": request.split}
    identity["arguments"] = bare(dict(request.env_kwargs))
    if request.profile is not None:
        if name.partition(":")[0] not in MODELS:
            raise ConfigError(f"--profile is for models (hf:FOLDER, vllm:URL, openai:URL#MODEL), not for {name}")
        identity["profile"] = of_profile(request.profile).digest()
    identity.update(seed=request.seed, temperature=request.temperature, settings=list(request.overrides))
    identity.update(bare(request.api.identity()))
    return identity | ({"samples": request.samples} if request.samples > 1 else {})

"""One run, one config: read from YAML and the command line, everything checked before any model loads."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from rlsd.algorithms import AlgorithmConfig, resolve
from rlsd.envs.errors import RlsdError, closest
from rlsd.harness.config.blocks import (
    AgentConfig,
    Block,
    EnvConfig,
    EvalConfig,
    HindsightConfig,
    LearnerConfig,
    ModelConfig,
    RolloutConfig,
    SamplerConfig,
    SftConfig,
)


class ConfigError(RlsdError):
    """A config that cannot be run, with what to change."""


class RunConfig(Block):
    """Everything a run depends on. `rlsd train FILE --set learner.lr=1e-5` changes one value."""

    seed: int = 0
    """Everything random derives from it, by name."""
    iterations: int = Field(default=100, ge=1)
    """Iterations of a run; a finished run goes on when it is raised."""
    algorithm: Annotated[AlgorithmConfig, BeforeValidator(lambda value: resolve(value))] = Field(
        default_factory=lambda: resolve("rlsd")
    )
    """A method's name (`rlsd methods`), or a mapping with `name` and what differs."""
    env: EnvConfig = EnvConfig()
    """What is played."""
    model: ModelConfig
    """Which weights are trained."""
    agent: AgentConfig = AgentConfig()
    """How the model is prompted and read."""
    sampler: SamplerConfig = SamplerConfig()
    """Where tokens are drawn."""
    rollout: RolloutConfig = RolloutConfig()
    """How many episodes are played, and how."""
    hindsight: HindsightConfig = HindsightConfig()
    """How hindsight is written down."""
    sft: SftConfig = SftConfig()
    """Supervised episodes (`algorithm: sft`)."""
    learner: LearnerConfig = LearnerConfig()
    """Optimizer, memory and processes."""
    eval: EvalConfig = EvalConfig()
    """Evaluation during training."""
    reward: str | None = None
    """`module:function` that gives an episode's return from its trajectory."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Iterations between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    save_rollouts_every: int = Field(default=10, ge=0)
    """Iterations between saved trajectories (JSON lines, gzip); 0: never."""
    tensorboard: bool = True
    """Write TensorBoard event files beside `metrics.jsonl`."""
    threads: int | None = Field(default=None, ge=1)
    """Torch's CPU threads; results are repeatable for one number of threads."""

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        if self.sampler.top_p < 1:
            raise ValueError(
                f"sampler.top_p is {self.sampler.top_p}: training log-probs are those of the untruncated "
                "distribution; set it to 1 for training"
            )
        if self.sampler.kind == "vllm" and not self.sampler.urls:
            raise ValueError(
                "sampler.kind is vllm: name the servers, e.g. --set 'sampler.urls=[http://127.0.0.1:8000]'"
            )
        if self.sampler.kind == "hf" and self.model.attention == "flash_attention_2":
            raise ValueError(
                "model.attention is flash_attention_2, whose kernels take no mask, and the sampler in this process "
                "needs one: use sdpa, or sample with sampler.kind=vllm"
            )
        if self.sampler.weights == "lora" and self.model.lora is None:
            raise ValueError("sampler.weights is lora but model.lora is not set: nothing but an adapter can be sent so")
        if self.sampler.weights not in ("lora", "auto") and self.model.lora is not None:
            raise ValueError(
                f"sampler.weights is {self.sampler.weights} but model.lora is set: an adapter travels as lora (or auto)"
            )
        if self.rollout.ahead and self.algorithm.loss.sampler_cap is None:
            raise ValueError(
                "rollout.ahead samples from weights one iteration old, which needs the truncated importance "
                "correction: --set algorithm.loss.sampler_cap=2"
            )
        if self.sampler.score_teacher and (told := _unservable(self)):
            raise ValueError(f"sampler.score_teacher asks the servers for the hindsight view, {told}")
        return self


def _unservable(config: RunConfig) -> str | None:
    """Why servers cannot score the teacher of this run."""
    if config.sampler.kind != "vllm":
        return f"but sampler.kind is {config.sampler.kind}: in this process the learner scores it as cheaply"
    teacher = config.algorithm.teacher.weights
    if teacher != "live":
        return f"but they hold the learner's weights and algorithm.teacher.weights is {teacher}: only live will do"
    if config.rollout.ahead:
        return "but with rollout.ahead actions are of an older policy version than the one they hold by then"
    if config.sampler.temperature != 1:
        return f"which they score at temperature 1, but sampler.temperature is {config.sampler.temperature:g}"
    if config.algorithm.loss.distill.full_vocabulary:
        return "but algorithm.loss.distill compares whole vocabularies, and they give single log-probs"
    return None


def load_config(path: str | Path, overrides: list[str] | None = None, blocks: Sequence[str | Path] = ()) -> RunConfig:
    """Read a YAML file, lay `blocks` over it, apply `a.b=c` overrides, check everything.

    Args:
        blocks: files that hold some blocks only (`configs/launch/`): the same experiment on another machine.

    Raises:
        ConfigError: an unreadable file, an unknown key (with the closest name), a value that does not fit.
    """
    data = _read(path)
    for block in blocks:
        data = _laid_over(data, _read(block))
    for override in overrides or []:
        _override(data, override)
    return parse_config(data)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise ConfigError(f"cannot read config {str(path)!r}: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no settings (expected a mapping, got {type(data).__name__})")
    return data


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above`, block by block."""
    out = dict(below)
    for key, value in above.items():
        held = out.get(key)
        out[key] = _laid_over(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return out


def parse_config(data: dict[str, Any]) -> RunConfig:
    """A checked config from plain data.

    Raises:
        ConfigError: in one line.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _override(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {override!r}: expected name=value, e.g. --set learner.lr=1e-5")
    *path, last = name.split(".")
    place = data
    for part in path:
        child = place.get(part)
        if isinstance(child, str) and part == "algorithm":
            child = {"name": child}
        if child is None:
            child = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {part!r} is a value, not a block")
        place[part] = dict(child)
        place = place[part]
    value = read_value(text, f"--set {override!r}")
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-5 as text
            value = float(value)
    place[last] = value


def read_value(text: str, what: str) -> Any:
    """A value typed on the command line, read as YAML.

    Raises:
        ConfigError: not YAML; `what` says where it stood.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what}: the value is not YAML: {' '.join(str(error).split())}") from error


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first problem in one line, with the closest name for an unknown key; `model` is what was validated."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        *path, name = [str(p) for p in first["loc"]]
        return f"unknown config key {where!r}{closest(name, _fields_at(path, model or RunConfig))}{more}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    if where == "algorithm":
        return f"config {message}{more}" if message.startswith("algorithm") else f"config algorithm: {message}{more}"
    given = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    return f"config {where or 'file'}: {message}{given}{more}"


def _fields_at(path: list[str], model: Any) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        found = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


def import_function(spec: str, what: str) -> Callable[..., Any]:
    """The function `module:name` names; modules are looked for in the working directory too.

    Raises:
        ConfigError: it cannot be imported, or cannot be called.
    """
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{what} is {spec!r}; expected module:function")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # the installed `rlsd` command starts without it
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ConfigError(f"{what}: cannot import {spec!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{what}: {spec!r} is a {type(found).__name__}, expected a function")
    return found

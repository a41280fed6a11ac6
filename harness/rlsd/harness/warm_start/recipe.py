"""The config of a warm start, and of the RLSD run after it, from a look at a few of the expert's episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsd.agents.formats import FORMATS, reads
from rlsd.agents.scripted import ExpertAgent
from rlsd.envs.answers import hindsight_answer
from rlsd.envs.core import TextEnv
from rlsd.harness.config import ConfigError, EnvConfig, RunConfig
from rlsd.harness.config.profile import NOTE
from rlsd.harness.rollout.environments import env_maker, tasks_of
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Trajectory

LOOKED_AT = 24
"""Training tasks that the expert plays once before anything is trained."""
EXPERTS = ("explorer", "oracle")
"""The first one that an environment has is imitated; an explorer does nothing that the student could not know."""
LETTERS_A_TOKEN = 2.5
"""A careful guess for a tokenizer that was trained on the environment's own text."""
CONTEXTS = (512, 1024, 1536, 2048, 3072, 4096)
"""Lengths of a model from scratch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a few episodes of an environment's expert show; lengths in characters."""

    expert: str
    format: str
    longest_action: int
    longest_episode: int

    @property
    def new_tokens(self) -> int:
        """Room for the longest action."""
        return max(12, round(self.longest_action / LETTERS_A_TOKEN) + 8)

    @property
    def hint_tokens(self) -> int:
        """Room for a title and one action of the plan."""
        return max(64, self.longest_action + 40)

    @property
    def tokens(self) -> int:
        """Room for the longest episode with instructions, hindsight and some more turns."""
        return round(1.3 * self.longest_episode / LETTERS_A_TOKEN) + 200 + self.hint_tokens


def look(env: EnvConfig, *, expert: str | None = None) -> Look:
    """Play the expert.

    Args:
        expert: "explorer" or "oracle"; None: the first one there is.

    Raises:
        ConfigError: no expert, one that never wins, or hindsight without a plan or distance; one sentence that says how
            to mend it.
    """
    make_env = env_maker(env, "train")
    opened = make_env()
    kind = _expert_of(opened, env.id, expert)
    fits = reads(opened, FORMATS["compact"])
    format = "compact" if fits and opened.response_format in (None, "think", "compact") else "auto"
    opened.close()
    rollout = Rollout(make_env, ExpertAgent(kind), RolloutSettings(slots=1, seed=0))
    groups = rollout.groups(tasks_of(make_env)[:LOOKED_AT], 1, stream="look", iteration=0)
    rollout.close()
    won = [t for g in groups for t in g.trajectories if t.success]
    if not won:
        raise ConfigError(
            f"the {kind} of {env.id} wins none of its first {len(groups)} training tasks, so there is nothing to "
            f"imitate; `rlsd eval --env {env.id} --agent {kind} --split train` shows how it plays"
        )
    return Look(
        expert=kind,
        format=format,
        longest_action=max(len(turn.action.text) for t in won for turn in t.turns),
        longest_episode=max(map(_letters, won)),
    )


def _expert_of(env: TextEnv, name: str, wanted: str | None) -> str:
    """The expert to imitate, after a look at the first task.

    Raises:
        ConfigError: there is none, or hindsight says too little to be read.
    """
    tasks = env.tasks()
    if not tasks:
        raise ConfigError(f"{name} lists no training tasks")
    kinds = EXPERTS if wanted is None else (wanted,)
    for kind in kinds:
        env.reset(seed=0, options={"task": tasks[0].task_id})
        if env.expert(kind) is not None:
            break
    else:
        raise ConfigError(
            f"{name} has no expert to imitate: {' and '.join(f'expert({k!r})' for k in kinds)} give None; write "
            "expert(kind), or give episodes of your own (sft.trajectories, docs/extending.md) to a model that exists"
        )
    known = hindsight_answer(env.hindsight())
    for field, use in (
        ("plan", "the teacher reads"),
        ("distance", "says which actions reduced the distance to the goal"),
    ):
        if getattr(known, field) in (None, ()):
            start = f"at the start of {tasks[0].task_id}"
            raise ConfigError(f"{name} gives no hindsight.{field} {start}, which {use}: fill it in hindsight()")
    return kind


def _letters(trajectory: Trajectory) -> int:
    texts = [trajectory.goal, *(turn.observation + turn.action.text for turn in trajectory.turns)]
    return sum(map(len, texts)) + 12 * len(trajectory.turns)


def warm_config(
    env: EnvConfig, seen: Look, *, model: Path | None, lora: bool, iterations: int, episodes: int
) -> dict[str, Any]:
    """The warm start as the data of a config: tiny from scratch without `model`.

    Args:
        episodes: tasks of the validation panel that are evaluated at the end.
    """
    small = model is None
    return {
        "iterations": iterations,
        "algorithm": "sft",
        "env": env.model_dump(exclude_defaults=True),
        "model": _model(seen, model, lora=lora),
        "agent": _agent(seen, model),
        "rollout": {"tasks_per_iteration": 32 if small else 8, "max_concurrent": 1},
        "hindsight": {"max_tokens": seen.hint_tokens, "max_items": 1},
        "sft": {"expert": seen.expert, "noise": 0.2, "contexts": ["plan"], "hinted_share": 0.4},
        "learner": {
            "lr": _rate(small=small, lora=lora),
            "micro_batch_tokens": 8192 if small else 2048,
            "weight_decay": 0.05 if small else 0.0,
        },
        "eval": {"every": iterations, "at_start": False, "temperature": 1.0, "episodes": episodes},
        "checkpoint_every": 25,
        "save_rollouts_every": 0,
    }


def rlsd_config(config: RunConfig, folder: Path) -> dict[str, Any]:
    """The RLSD run that starts from the warm start in `folder`, whose config is `config`."""
    lora, learner = config.model.lora, config.learner
    peak = 3.0e-4 if config.model.tiny is not None else 1.0e-5 if lora is None else 1.0e-4
    model = config.model.model_dump(mode="json", exclude_defaults=True, exclude={"tiny", "path"})
    return {
        "seed": 1,
        "iterations": 20,
        "algorithm": {"name": "rlsd", "advantage": {"invalid_penalty": 0.1}},
        "env": config.env.model_dump(mode="json", exclude_defaults=True),
        "model": {"path": folder.as_posix(), **model},
        "agent": config.agent.model_dump(mode="json", exclude_defaults=True),
        "rollout": {"tasks_per_iteration": 16, "group_size": 8, "max_concurrent": 128},
        "hindsight": config.hindsight.model_dump(mode="json", exclude_defaults=True),
        "learner": {
            "lr": {"peak": peak, "warmup_updates": 8},
            "minibatches": 4,
            "micro_batch_tokens": learner.micro_batch_tokens,
            "weight_decay": 0.0,
            **({} if learner.device == "cpu" else {"device": learner.device}),
        },
        "eval": {"every": 10, "temperature": 1.0},
        "checkpoint_every": 5,
    }


def _model(seen: Look, model: Path | None, *, lora: bool) -> dict[str, Any]:
    if model is not None:
        return {"path": str(model), **({"lora": {}} if lora else {})}
    context = next((c for c in CONTEXTS if c >= seen.tokens), CONTEXTS[-1])
    return {"tiny": {"layers": 3, "dim": 128, "heads": 4, "vocab": 1024, "context": context}}


def _agent(seen: Look, model: Path | None) -> dict[str, Any]:
    """The profile that the model's weights bring along, else short responses in one growing conversation."""
    if model is not None and (model / NOTE).is_file():
        return {"profile": str(model)}
    long = model is None and seen.tokens > CONTEXTS[-1]
    return {"format": seen.format, "memory": "last" if long else "full", "max_new_tokens": seen.new_tokens}


def _rate(*, small: bool, lora: bool) -> dict[str, Any]:
    """As in the shipped warm starts; no rate depends on `iterations`, so that a run can be extended."""
    if small:
        return {"peak": 3.0e-3, "schedule": "cosine", "final": 1.0e-4, "warmup_updates": 50, "total_updates": 1600}
    return {"peak": 1.0e-3 if lora else 1.0e-4, "warmup_updates": 5}


def in_words(seen: Look) -> str:
    """The recipe in one line, for people."""
    return f"imitates the {seen.expert} in both views, responses of at most {seen.new_tokens} tokens"

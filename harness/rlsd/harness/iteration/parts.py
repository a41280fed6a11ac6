"""Builds the parts of a run from its config; cheap checks come first."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import AUTO, TOOLS, find_format
from rlsd.agents.hf.models import Policy, load_tokenizer, split_head
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.template import NOW, reads_date
from rlsd.agents.types import TrainingSampler
from rlsd.algorithms import TeacherConfig, load_rule, needs_reference
from rlsd.envs.core import Task
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.hindsight.contexts import find_context
from rlsd.harness.hindsight.facts import check_facts
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.iteration.agent import chat_format, fitted, make_agent, memory_of
from rlsd.harness.iteration.policies import load_or_make, model_place, with_lora
from rlsd.harness.iteration.samplers import context_of, make_training_sampler
from rlsd.harness.iteration.tasks import TaskSampler, make_task_sampler
from rlsd.harness.learner.critic import Critic
from rlsd.harness.learner.external import check_external, load_external
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.teacher import Teacher
from rlsd.harness.rollout.environments import env_maker
from rlsd.harness.runs.rundir import RunError, load_run_config
from rlsd.harness.scoring.fit import fit_learner
from rlsd.harness.scoring.scorer import Scorer


@dataclass(slots=True, kw_only=True)
class Parts:
    """All objects of a run."""

    config: RunConfig
    policy: Policy
    agent: PolicyAgent
    sampler: TrainingSampler
    learner: Learner
    scorer: Scorer
    teacher: Teacher
    reference: Teacher | None
    """The initial weights, if the loss has a KL term."""
    critic: Critic | None
    """If the base advantage reads values."""
    hinter: Hinter
    against: tuple[Hinter, ...]
    """Writers of the views with wrong hindsight."""
    tasks: list[Task]
    """The training split."""
    task_sampler: TaskSampler
    notes: tuple[str, ...] = ()
    """What the model made the learner do another way than its settings say, a line each."""
    played: int = 0
    """Training episodes of the run so far."""

    def forwarded(self) -> Counter[str]:
        """Tokens of this process fed to a model so far by kind, without padding."""
        return self.scorer.forwarded + Counter(update=self.learner.forwarded)

    def publish(self) -> None:
        """Give the sampler the weights of the last update; every process must call."""
        self.learner.publish()
        if self.config.sampler.sleep != "none":
            self.learner.free_cache()
        self.sampler.refresh(self.learner.updates)

    def tasks_of(self, step: int) -> list[Task]:
        """Tasks of iteration `step`."""
        return self.task_sampler.draw(self.config.rollout.tasks_per_iteration, step, "tasks")

    def spent(self) -> bool:
        """Whether another iteration would exceed `max_episodes`."""
        most = self.config.max_episodes
        return most is not None and self.played + self.config.rollout.episodes > most


def build(
    config: RunConfig, *, model_path: str | None = None, ranks: Ranks | None = None, external: bool = True
) -> Parts:
    """All parts, ready for iteration 0.

    Args:
        model_path: load these weights instead of what `config.model` names (resume, evaluation of a run).
        ranks: the processes that train together; None: this process alone, whatever the run was trained with.
        external: load an external teacher; without it the student stands in, for uses that ask no teacher.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.learner.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; --set learner.device=cpu")
    for name in (*context_names(config), *config.algorithm.against):
        find_context(name)  # an unknown name is an error before a model loads
    if ":" in config.algorithm.credit.rule:
        load_rule(config.algorithm.credit.rule)
    teacher = config.algorithm.teacher
    if teacher.weights == "external" and not external:
        teacher = TeacherConfig()
    larger = None if teacher.path is None else model_place(teacher.path)
    if teacher.weights == "external":
        check_external(larger, None if config.model.path is None else model_place(config.model.path))
    env = env_maker(config.env, "train")()
    tasks = list(env.tasks())
    check_facts(config.algorithm, context_names(config), env, tasks)
    env.close()
    config = fitted(config, env)
    memory_of(config.agent)  # a prompt file that cannot be used is an error before a model loads
    if not tasks:
        raise ConfigError(f"{config.env.id} lists no tasks in the split {config.env.train_split!r}")
    task_sampler = make_task_sampler(config, tasks)
    settings = config.learner if ranks else config.learner.alone()
    # shards go to the devices; if servers sample, the whole weights are only written from then on
    aside = settings.parallel == "fsdp2" and config.sampler.backend == "vllm"
    on_cpu = aside and config.model.attention in ("sdpa", "eager")  # loading a model runs a test pass
    policy = load_or_make(config, model_path, device="cpu" if on_cpu else settings.device)
    policy = with_lora(policy, config.model.lora, seed=config.seed)
    if aside:
        policy.model.to("cpu")
    format = chat_format(policy, config.agent)
    policy = replace(policy, eos_ids=format.eos_ids)  # template_kwargs may close a turn otherwise
    context = context_of(config.agent, policy)
    # a server scores a prompt only if one more token fits
    room = context - config.sampler.score_teacher
    hinter = make_hinter(config, format, context=room)
    against = tuple(make_hinter(config, format, context=room, names=(name,)) for name in config.algorithm.against)
    fit = fit_learner(policy.model, settings, context=context)
    settings = fit.settings
    learner = Learner(policy, settings, temperature=config.sampler.temperature, ranks=ranks, masks=fit.masks)
    scorer = Scorer(learner.tokens, settings, learner.data)
    sampler = make_training_sampler(
        config.sampler,
        config.agent,
        learner,
        scorer,
        seed=config.seed,
        asynchronous=config.rollout.async_steps > 0,
        interrupt=config.rollout.async_steps > 1 and config.sampler.interrupt,
        chat=format,
    )
    place = "cpu" if on_cpu else learner.device
    other = None if larger is None else load_external(config, policy, larger, context=context, device=place)
    parts = Parts(
        config=config,
        policy=policy,
        agent=make_agent(config.agent, format, sampler),
        sampler=sampler,
        learner=learner,
        scorer=scorer,
        teacher=Teacher(
            learner.tokens,
            teacher.weights,
            replica=lambda: learner.replica(other),
            tau=teacher.tau,
            every=teacher.every,
        ),
        reference=(
            Teacher(learner.tokens, "initial", replica=learner.replica) if needs_reference(config.algorithm) else None
        ),
        critic=_critic(config, policy, learner.data),
        hinter=hinter,
        against=against,
        tasks=tasks,
        notes=fit.notes,
        task_sampler=task_sampler,
    )
    if aside and not learner.ranks.main:
        learner.release()
    return parts


def _critic(config: RunConfig, policy: Policy, ranks: Ranks) -> Critic | None:
    advantage = config.algorithm.advantage
    if not advantage.reads_values:
        return None
    head: Any = split_head(policy.model)[1]
    return Critic(head.weight.shape[1], advantage.critic, seed=config.seed, ranks=ranks)


def context_names(config: RunConfig) -> tuple[str, ...]:
    """The hindsight contexts a run reads."""
    names = config.sft.contexts if config.algorithm.imitates else config.algorithm.contexts
    return tuple(n for n in names if n != "none")


def make_hinter(config: RunConfig, format: ChatFormat, *, context: int, names: tuple[str, ...] | None = None) -> Hinter:
    """The writer of a view's hindsight; `names` instead of the run's own contexts."""
    settings = HintSettings(
        contexts=context_names(config) if names is None else names,
        max_tokens=config.hindsight.max_tokens,
        max_items=config.hindsight.max_items,
        source=config.hindsight.source,
        preface=find_format(config.agent.format).hindsight_preface,
    )
    return Hinter(settings, format, context=context, max_new_tokens=config.agent.max_new_tokens)


def settled(config: RunConfig, folder: Path | None = None) -> RunConfig:
    """The config with what would differ elsewhere or tomorrow: the format that `agent.format: auto` stands for in its
    environment, and the date that the chat template gets for today.

    Args:
        folder: the run's directory; a run that exists keeps its date.
    """
    if config.agent.format in (AUTO, TOOLS):
        env = env_maker(config.env, "train")()
        env.close()
        config = fitted(config, env)
    kwargs = config.agent.template_kwargs
    if NOW in kwargs or config.model.path is None or not reads_date(load_tokenizer(model_place(config.model.path))):
        return config
    earlier: dict[str, Any] = {}
    with suppress(RunError):  # no run yet, or one whose config RunDir explains
        earlier = {} if folder is None else load_run_config(folder).agent.template_kwargs
    kwargs = {**kwargs, NOW: earlier.get(NOW, date.today().isoformat())}
    return config.model_copy(update={"agent": config.agent.model_copy(update={"template_kwargs": kwargs})})

"""Builds the parts of a run from its config, in the order in which they can fail cheaply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import AUTO, find_format, format_for
from rlsd.agents.hf.models import Policy, load_policy, tiny_policy, train_tokenizer
from rlsd.agents.memory import FullHistory, LastTurns, Memory
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.prompt_file import PromptFile
from rlsd.agents.scripted import ExpertAgent
from rlsd.agents.seeding import derive, generator
from rlsd.agents.types import Sampler, TrainingSampler
from rlsd.algorithms import needs_reference
from rlsd.envs.core import Task, TextEnv
from rlsd.envs.registry import make
from rlsd.envs.remote.processes import shared_pool
from rlsd.harness.config import AgentConfig, ConfigError, RunConfig, TinyConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.hindsight.contexts import find_context
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.iteration.samplers import context_of, make_training_sampler
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.teacher import Teacher
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Group
from rlsd.harness.scoring.tables import epochs

HINT_WORDS = (
    "plan:\nmissing:\nwhere:\nanswer:\ndemonstration:\nsuccessful attempt:\nfeedback:\n"
    "what happened next:\nsteps to the goal:\n…\n"
)
"""The words of hindsight sections, so that a tokenizer made from scratch knows them."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything a run consists of."""

    config: RunConfig
    policy: Policy
    agent: PolicyAgent
    sampler: TrainingSampler
    learner: Learner
    teacher: Teacher
    reference: Teacher | None
    """Initial weights, where the loss has a KL term."""
    hinter: Hinter
    tasks: list[Task]

    def tasks_of(self, step: int) -> list[Task]:
        """Tasks of iteration `step`: every epoch is a seeded permutation of the training split."""
        return epochs(self.tasks, self.config.rollout.tasks, step, seed=self.config.seed, name="tasks")


def rollout_settings(config: RunConfig, *, hindsight: bool) -> RolloutSettings:
    c = config.rollout
    return RolloutSettings(
        slots=c.slots,
        max_turns=c.max_turns,
        step_timeout_s=c.step_timeout_s,
        retries=c.retries,
        hindsight=hindsight,
        seed=config.seed,
    )


def env_maker(config: RunConfig, split: str) -> Callable[[], TextEnv]:
    """A function that opens one environment of a split: "train", "valid" or "test"."""
    env = config.env
    name = {"train": env.train_split, "valid": env.valid_split, "test": env.test_split}[split]
    kwargs = env.kwargs if split == "train" or env.eval_kwargs is None else env.eval_kwargs
    if env.workers:
        pool = shared_pool(env.workers)
        return lambda: pool.open(env.id, split=name, **kwargs)
    return lambda: make(env.id, split=name, **kwargs)


def build(config: RunConfig, *, model_path: str | None = None, ranks: Ranks | None = None) -> Parts:
    """All parts, ready for iteration 0.

    Args:
        model_path: load these weights instead of what `config.model` names (resume, evaluation of a run).
        ranks: the processes that train together; None builds for this one alone, however the run was trained.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.learner.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; --set learner.device=cpu")
    for name in context_names(config):
        find_context(name)  # an unknown one is told before a model loads
    env = env_maker(config, "train")()
    tasks = list(env.tasks())
    env.close()
    config = _with_format(config, env)
    memory_of(config.agent)  # a prompt file that cannot be used is told before a model loads
    if not tasks:
        raise ConfigError(f"{config.env.id} lists no tasks in the split {config.env.train_split!r}")
    settings = config.learner if ranks else config.learner.alone()
    # shards go to the devices; the whole weights are only written from then on, if servers sample
    aside = settings.wrapper == "fsdp2" and config.sampler.kind == "vllm"
    on_cpu = aside and config.model.attention != "flash_attention_2"  # a model is tried out when it loads
    policy = _with_lora(load_or_make(config, model_path, device="cpu" if on_cpu else settings.device), config)
    if aside:
        policy.model.to("cpu")
    format = chat_format(policy, config.agent)
    context = context_of(config.agent, policy)
    # a server scores a prompt only if there is room for one token more
    hinter = make_hinter(config, format, context=context - config.sampler.score_teacher)
    learner = Learner(policy, settings, temperature=config.sampler.temperature, ranks=ranks)
    sampler = make_training_sampler(config, learner)
    teacher = config.algorithm.teacher
    parts = Parts(
        config=config,
        policy=policy,
        agent=make_agent(config.agent, format, sampler),
        sampler=sampler,
        learner=learner,
        teacher=Teacher(learner.model, teacher.weights, tau=teacher.tau, every=teacher.every, replica=learner.replica),
        reference=(
            Teacher(learner.model, "initial", replica=learner.replica) if needs_reference(config.algorithm) else None
        ),
        hinter=hinter,
        tasks=tasks,
    )
    if aside and not learner.ranks.main:
        learner.release()
    return parts


def context_names(config: RunConfig) -> tuple[str, ...]:
    """The hindsight contexts a run reads."""
    supervised = config.algorithm.name == "sft"
    return tuple(n for n in (config.sft.contexts if supervised else config.algorithm.contexts) if n != "none")


def make_hinter(config: RunConfig, format: ChatFormat, *, context: int) -> Hinter:
    settings = HintSettings(
        contexts=context_names(config),
        max_tokens=config.hindsight.max_tokens,
        max_items=config.hindsight.max_items,
        source=config.hindsight.source,
        preface=find_format(config.agent.format).hindsight_preface,
    )
    return Hinter(settings, format, context=context, max_new_tokens=config.agent.max_new_tokens)


def make_agent(agent: AgentConfig, format: ChatFormat, sampler: Sampler) -> PolicyAgent:
    return PolicyAgent(chat=format, memory=memory_of(agent), sampler=sampler, max_new_tokens=agent.max_new_tokens)


def chat_format(policy: Policy, agent: AgentConfig) -> ChatFormat:
    """The model's own chat template, with the agent's system message."""
    return ChatFormat(policy.tokenizer, sorted(policy.eos_ids), system=agent.system)


def memory_of(agent: AgentConfig) -> Memory:
    """What the agent remembers, in a format that is settled (not "auto").

    Raises:
        FormatError: an unknown format, or a prompt file that cannot be used.
    """
    format, template = find_format(agent.format), None if agent.prompt is None else PromptFile(agent.prompt)
    if agent.memory == "full":
        return FullHistory(format=format, template=template)
    return LastTurns(format=format, history_turns=agent.history_turns, template=template)


def settled(config: RunConfig) -> RunConfig:
    """The config with the format that `agent.format: auto` stands for in its environment."""
    if config.agent.format != AUTO:
        return config
    env = env_maker(config, "train")()
    env.close()
    return _with_format(config, env)


def _with_format(config: RunConfig, env: TextEnv) -> RunConfig:
    """The config with a format that `env` can use."""
    name = format_for(config.agent.format, env, env_id=config.env.id)
    return config.model_copy(update={"agent": config.agent.model_copy(update={"format": name})})


def load_or_make(config: RunConfig, model_path: str | None = None, *, device: str) -> Policy:
    """The policy a config names."""
    path = model_path or config.model.path
    if path is not None:
        folder = Path(path)
        if (folder / "config.yaml").is_file():  # a run directory
            folder = folder / "best" if (folder / "best").is_dir() else folder
        return load_policy(
            folder if folder.exists() else path,
            dtype=config.model.dtype,
            device=device,
            attention=config.model.attention,
        )
    assert config.model.tiny is not None
    return _from_scratch(config, config.model.tiny, device=device)


def _from_scratch(config: RunConfig, tiny: TinyConfig, *, device: str) -> Policy:
    """A tiny Llama whose tokenizer was trained on episodes of `sft.expert` in the training split."""
    if tiny.dim % tiny.heads:
        raise ConfigError(f"model.tiny.dim {tiny.dim} is not a multiple of model.tiny.heads {tiny.heads}")
    make_env = env_maker(config, "train")
    env = make_env()
    tasks = list(env.tasks())
    env.close()
    pick = generator(config.seed, "tokenizer").permutation(len(tasks))[: tiny.text_episodes]
    expert = ExpertAgent(config.sft.expert)
    rollout = Rollout(make_env, expert, RolloutSettings(slots=1, seed=config.seed))
    groups = rollout.groups([tasks[int(i)] for i in pick], 1, stream="tokenizer", iteration=0)
    rollout.close()
    tokenizer = train_tokenizer(_texts(groups), vocab_size=tiny.vocab)
    return tiny_policy(
        tokenizer,
        layers=tiny.layers,
        dim=tiny.dim,
        heads=tiny.heads,
        context=tiny.context,
        seed=derive(config.seed, "weights"),
        device=device,
    )


def _texts(groups: list[Group]) -> list[str]:
    out = [HINT_WORDS]
    for group in groups:
        for trajectory in group.trajectories:
            for turn in trajectory.turns:
                h = turn.hindsight_before
                out += [turn.observation, turn.action.text, *h.plan, *h.missing, *h.whereabouts, h.feedback]
                out += [h.answer] if h.answer else []
            out.append(trajectory.turns[-1].next_observation if trajectory.turns else "")
    return out


def _with_lora(policy: Policy, config: RunConfig) -> Policy:
    lora = config.model.lora
    if lora is None:
        return policy
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigError("model.lora needs the package peft: pip install 'rlsd[lora]'") from error
    torch.manual_seed(derive(config.seed, "lora"))
    wrapped = get_peft_model(
        policy.model,
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM"),
    )
    return Policy(model=wrapped, tokenizer=policy.tokenizer, eos_ids=policy.eos_ids, context=policy.context)

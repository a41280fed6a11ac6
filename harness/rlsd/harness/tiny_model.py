"""A tiny Llama from scratch, with a tokenizer trained on the environment's own text."""

from __future__ import annotations

from collections.abc import Sequence

from rlsd.agents.hf.models import Policy, tiny_policy, train_tokenizer
from rlsd.agents.scripted import ExpertAgent
from rlsd.agents.seeding import derive, generator
from rlsd.harness.config.blocks import ConfigError, EnvConfig, TinyConfig
from rlsd.harness.rollout.environments import env_maker, tasks_of
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.rollout.trajectory import Group

HINT_WORDS = (
    "plan:\nmissing:\nwhere:\nanswer:\ndemonstration:\nsuccessful attempt:\nfeedback:\n"
    "what happened next:\nsteps to the goal:\n…\n"
)
"""Words of hindsight sections, so that a tokenizer trained from scratch knows them."""


def tiny_model(tiny: TinyConfig, env: EnvConfig, *, expert: str, seed: int, device: str) -> Policy:
    """A tiny Llama whose tokenizer was trained on episodes of `expert` in the training split.

    Raises:
        ConfigError: the width is not a multiple of the number of heads.
    """
    if tiny.dim % tiny.heads:
        raise ConfigError(f"model.tiny.dim {tiny.dim} is not a multiple of model.tiny.heads {tiny.heads}")
    make_env = env_maker(env, "train")
    tasks = tasks_of(make_env)
    pick = generator(seed, "tokenizer").permutation(len(tasks))[: tiny.text_episodes]
    rollout = Rollout(make_env, ExpertAgent(expert), RolloutSettings(slots=1, seed=seed))
    groups = rollout.groups([tasks[int(i)] for i in pick], 1, stream="tokenizer", iteration=0)
    rollout.close()
    return tiny_policy(
        train_tokenizer(_texts(groups), vocab_size=tiny.vocab),
        layers=tiny.layers,
        dim=tiny.dim,
        heads=tiny.heads,
        context=tiny.context,
        seed=derive(seed, "weights"),
        device=device,
    )


def _texts(groups: Sequence[Group]) -> list[str]:
    out = [HINT_WORDS]
    for group in groups:
        for trajectory in group.trajectories:
            for turn in trajectory.turns:
                h = turn.hindsight_before
                out += [turn.observation, turn.action.text, *h.plan, *h.missing, *h.whereabouts, h.feedback]
                out += [h.answer] if h.answer else []
            out.append(trajectory.turns[-1].next_observation if trajectory.turns else "")
    return out

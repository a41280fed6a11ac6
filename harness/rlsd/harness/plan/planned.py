"""A config's plan: the model as shapes, its largest passes, and what they need."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from rlsd.agents.hf.abilities import context_length
from rlsd.algorithms import needs_teacher
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.learner.parallel import takes_masks
from rlsd.harness.learner.tensor_parallel import check_split
from rlsd.harness.plan.episodes import Longest, longest
from rlsd.harness.plan.gpus import Gpu
from rlsd.harness.plan.memory import Memory, Sizes, memory
from rlsd.harness.plan.passes import Pass, Passes, Sampling
from rlsd.harness.plan.shapes import model_config, of_teacher, without_values
from rlsd.harness.plan.speed import Rate, rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one process of a run needs."""

    sizes: Sizes
    episode: Longest
    update: Pass
    scoring: Pass
    sampling: Sampling
    """Of the sampler in this process, or of the server with all episodes."""
    memory: Memory
    serves: bool
    """vLLM servers sample."""

    @property
    def server(self) -> int | None:
        """Bytes that the servers need in all, weights once: None without servers."""
        return self.sizes.weights + self.sampling.cache if self.serves else None

    def rates(self, config: RunConfig, gpu: Gpu) -> dict[str, Rate]:
        """Least times on a GPU."""
        return rates(
            config,
            self.sizes,
            self.episode,
            gpu,
            update=self.update,
            scoring=self.scoring,
            sampling=None if self.serves else self.sampling,
        )


def plan(config: RunConfig, *, row: int | None = None, turns: int | None = None) -> Plan:
    """The plan of a run whose every turn is as long as it may be.

    Args:
        row: tokens of a row instead of the longest that the context allows.
        turns: turns of an episode instead of `rollout.max_turns`.

    Raises:
        ModelError: the model's config cannot be read.
        ConfigError: a row with no room for a response, or a model whose passes need values.
    """
    text = model_config(config.model).get_text_config(decoder=True)
    context = min(config.agent.context or context_length(text), context_length(text))
    try:
        episode = longest(config, context=context, row=row, turns=turns)
    except ValueError as error:
        raise ConfigError(f"{error}; raise agent.context or --tokens") from error
    other = None if config.algorithm.teacher.weights != "external" else _other(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # meant for models that run
        mode = FakeTensorMode()
        model = own = without_values(config, mode)
        if (parts := config.learner.tensor_parallel) > 1:
            check_split(model, parts)
            own = without_values(config, mode, parts)
        with mode:
            update, scoring, sampling = _passes(model, own, config, episode)
    lora = config.model.lora
    sizes = Sizes.of(model, four_bits=lora is not None and lora.quantize is not None)
    return Plan(
        sizes=sizes,
        episode=episode,
        update=update,
        scoring=scoring,
        sampling=sampling,
        serves=config.sampler.backend == "vllm",
        memory=memory(
            config,
            sizes,
            episode,
            update=update,
            scoring=scoring,
            sampling=None if config.sampler.backend == "vllm" or config.algorithm.imitates else sampling,
            other=other,
            cache_a_token=sampling.cache_a_token // parts,
            gradients=Sizes.of(own).trained,
        ),
    )


def planned_masks(model: Any, config: RunConfig) -> bool:
    """Whether a mask may separate the views in one row."""
    return takes_masks(model) and "flash" not in config.model.attention


def _passes(model: Any, own: Any, config: RunConfig, episode: Longest) -> tuple[Pass, Pass, Sampling]:
    """
    Args:
        own: what one process of the learner computes with; the sampler has the whole `model`.
    """
    masks, temperature = planned_masks(model, config), config.sampler.temperature
    passes, whole = (
        Passes(each, config.learner, episode, temperature=temperature, masks=masks) for each in (own, model)
    )
    try:
        scoring = passes.scoring(hindsight=needs_teacher(config.algorithm, 0))
        sampling = whole.sampling(min(config.rollout.max_concurrent, config.rollout.episodes))
        update = passes.update(imitates=config.algorithm.imitates)  # last: it leaves recomputation switched on
    except Exception as error:  # a model that reads values of its own tensors can raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"{type(model).__name__} cannot be planned without values ({reason})") from error
    return update, scoring, sampling


def _other(config: RunConfig) -> int:
    """Bytes of an external teacher."""
    return Sizes.of(without_values(of_teacher(config), FakeTensorMode())).weights

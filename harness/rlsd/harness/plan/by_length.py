"""What one row costs by its length, on paper: a micro-batch of a single row through the run's own passes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from rlsd.algorithms import needs_teacher
from rlsd.harness.config import ConfigError, RunConfig
from rlsd.harness.plan.episodes import Longest, longest
from rlsd.harness.plan.memory import Sizes
from rlsd.harness.plan.passes import Passes
from rlsd.harness.plan.planned import planned_masks
from rlsd.harness.plan.shapes import without_values


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCost:
    """One row of a length; beside what the model's weights, gradients and moments need."""

    tokens: int
    """Of the student view."""
    keys_and_values: int
    """Bytes in the sampler's cache."""
    scoring: int
    """Bytes at the peak of scoring, hindsight included."""
    update: int
    """Bytes at the peak of an update, without gradients."""
    flops: float
    """Floating-point operations of scoring and update."""
    whole_mask: int
    """Bytes that a mask of all pairs of columns, hindsight included, would take."""


def row_costs(config: RunConfig, lengths: Sequence[int]) -> list[RowCost]:
    """What a row costs, by its length; also beyond the model's context, which needs another RoPE scaling.

    Raises:
        ModelError: the model's config cannot be read.
        ConfigError: a length with no room for a response.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # meant for models that run
        mode = FakeTensorMode()
        model = without_values(config, mode, config.learner.tensor_parallel)
        with mode:
            return [_cost(config, model, length) for length in lengths]


def _cost(config: RunConfig, model: Any, length: int) -> RowCost:
    hindsight = needs_teacher(config.algorithm, 0)
    try:
        episode = longest(config, context=length, row=length)
    except ValueError as error:
        raise ConfigError(f"{error}; raise --row") from error
    short = longest(config, context=length, row=min(length, config.agent.max_new_tokens + 64))
    settings = config.learner.model_copy(update={"micro_batch_tokens": 64})  # one row

    def passes(of: Longest) -> Passes:
        return Passes(model, settings, of, temperature=1.0, masks=planned_masks(model, config))

    sizes = Sizes.of(model)
    scoring = passes(episode).scoring(hindsight=hindsight)
    a_token = passes(short).sampling(1).cache_a_token
    update = passes(episode).update(imitates=config.algorithm.imitates)
    columns = len((episode.both() if hindsight or config.algorithm.imitates else episode.student()).ids)
    return RowCost(
        tokens=length,
        keys_and_values=a_token * length * config.learner.tensor_parallel,  # the sampler has all heads
        scoring=scoring.peak,
        update=update.peak - sizes.trained,
        flops=scoring.flops + update.flops,
        whole_mask=columns**2 * passes(episode).tokens.mask_dtype.itemsize,
    )

"""What a model leaves of a run's settings: refused in one line where log-probs would be wrong, or done another way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlsd.agents.hf.abilities import attention_of, limits, sliding_window, text_config
from rlsd.agents.hf.models import ModelError
from rlsd.harness.config.blocks import ConfigError
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.scoring.probe import LOW_TOLERANCE, probe, probe_small
from rlsd.harness.scoring.spliced import spliced_fault
from rlsd.harness.scoring.token_model import LOW
from rlsd.harness.scoring.ways import TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the learner runs a model."""

    masks: bool
    """Pieces of a row are told apart by a mask; else every view is a row of its own."""
    settings: LearnerConfig
    """With `prefix_sharing` off where it does not work."""
    notes: tuple[str, ...] = ()
    """What is done another way than the settings say, a line each."""


def fit_learner(model: Any, settings: LearnerConfig, *, context: int) -> Fit:
    """The way in which the learner computes this model's log-probs, checked by the probe.

    Args:
        context: longest sequence of the run in tokens.

    Raises:
        ModelError: a batch of plain rows does not give the log-probs of each row alone; the model cannot be trained.
        ConfigError: `learner.packing` with a model that mixes up the pieces of a row.
    """
    ways, name = probe(model, context=context), _name(model)
    if not ways["plain"].exact:
        fixes = _fixes(model, "plain", context)
        raise ModelError(
            f"{name} cannot be trained like this: its rows do not give the log-probs of its own forward pass on each "
            f"sequence alone ({ways['plain'].fault}); {'set ' + ' or '.join(fixes) if fixes else 'take another model'}"
        )
    flash, sharing = "flash" in attention_of(model), ways["shared" if not ways["shared"].exact else "pieces"]
    masks = ways["packed"].exact and not flash
    packing = ways["packed" if masks else "packing"]
    if settings.packing and not packing.exact:
        raise ConfigError(f"learner.packing does not work with {name}: {packing.fault}; set learner.packing=false")
    notes: list[str] = []
    if not masks and not flash:
        notes.append(
            f"{name} does not keep the views in one row apart ({ways['packed'].fault}): every view is a row of its own "
            "(same log-probs, slower)"
        )
    elif masks and settings.prefix_sharing and not sharing.exact:
        notes.append(f"{name} does not share prefixes ({sharing.fault}): learner.prefix_sharing is off")
    elif flash and settings.prefix_sharing and sharing.exact:
        low = LOW if settings.precision == "bfloat16" else None
        fault = spliced_fault(model, low=low, tolerance=TOLERANCE, low_tolerance=LOW_TOLERANCE)
        if fault is None:
            return Fit(masks=False, settings=settings)
        notes.append(f"{name} reads no hindsight over shared prefixes ({fault}): every view is a row of its own")
    if settings.prefix_sharing and not (masks and sharing.exact):
        settings = settings.model_copy(update={"prefix_sharing": False})
    return Fit(masks=masks, settings=settings, notes=tuple(notes))


def check_sampler(model: Any, *, context: int) -> None:
    """Check that the sampler in this process says of its tokens what a plain forward pass says.

    Raises:
        ConfigError: it does not; names what does work.
    """
    way = probe(model, context=context)["sampler"]
    if way.exact:
        return
    fixes = " or ".join([*_fixes(model, "sampler", context), "sampler.backend=vllm"])
    window = sliding_window(model)
    if window is not None and window < context:
        raise ConfigError(
            f"the model's attention slides over {window} tokens, which the sampler in this process cannot do for a "
            f"context of {context}: set {fixes}"
        )
    raise ConfigError(f"the sampler in this process does not work with {_name(model)}: {way.fault}; set {fixes}")


def _fixes(model: Any, way: str, context: int) -> list[str]:
    """Settings, each as key=value, with which a way works."""
    out: list[str] = []
    shorter = min((v for v in limits(text_config(model)).values() if v < context), default=None)
    if shorter is not None and _works(model, way, context=shorter):
        out.append(f"agent.context={shorter}")
    for other in {"sdpa", "eager"} - {attention_of(model)}:
        if _works(model, way, context=context, attention=other):
            out.append(f"model.attention={other}")
    return out


def _works(model: Any, way: str, *, context: int, attention: str | None = None) -> bool:
    found = probe_small(model, context=context, attention=attention or attention_of(model))
    return found is not None and found[way].exact and found["plain"].exact


def _name(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__

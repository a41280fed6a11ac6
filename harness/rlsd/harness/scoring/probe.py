"""The probe when a model loads: does every way of computing log-probs agree with the model's plain forward pass?

A small model of the same config plays three turns (`small_model`, `ways`). What comes out depends on the config, the
model's class, the attention implementation and the versions of the code alone, so it is kept in a file of the user's
cache folder under a digest of these: $RLSD_CACHE, else $XDG_CACHE_HOME/rlsd, else ~/.cache/rlsd.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from rlsd.agents.hf import abilities, generator, kv_cache, models
from rlsd.agents.hf.abilities import attention_of
from rlsd.agents.hf.models import ModelError, quiet
from rlsd.harness.scoring import masks, prefix_cache, scorer, sequences, small_model, stored_prefixes, token_model, ways
from rlsd.harness.scoring.small_model import CUTS, make_small, small_config
from rlsd.harness.scoring.ways import TOLERANCE, WAYS, Way, Ways, one_line, play

LOW_TOLERANCE = 0.1
"""Tolerance where the loaded model itself must play, in less than float32."""
ROUNDING = 0.01
"""Differences below may be rounding, and are looked at in float64."""
CODE = (abilities, generator, kv_cache, models, prefix_cache, scorer, sequences, small_model, stored_prefixes)
CODE += (masks, token_model, ways)
_known: dict[Path, Ways] = {}


def probe(model: Any, *, context: int) -> Ways:
    """How each way of computing log-probs compares with a plain forward pass of `model`.

    Args:
        model: a causal LM, perhaps with adapters; it is not run, unless no small one can be made like it.
        context: longest sequence of the run in tokens; decides whether attention windows matter.

    Raises:
        ModelError: the plain forward pass itself fails.
    """
    reasons: list[str] = []
    found = probe_small(model, context=context, attention=attention_of(model), reasons=reasons)
    return _itself(_inner(model), reasons) if found is None else found


def probe_small(model: Any, *, context: int, attention: str, reasons: list[str] | None = None) -> Ways | None:
    """The same with another attention implementation; None if no small model can be made that runs with it.

    Args:
        reasons: collects why.
    """
    model = _inner(model)
    if "flash" in attention or "flex" in attention:
        attention = "sdpa"  # their kernels need a GPU, and what they are asked for is the same
    for cut in CUTS:
        try:
            config = small_config(model, context, cut)
            name = _digest(model, config, attention)
            file = cache_folder() / "probe" / f"{name}.json"
            found = _known.get(file) or _read(file)
            if found is None:
                with quiet(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = _without_rounding(make_small(model, config, attention))
                _write(file, found)
        except Exception as error:  # a config that cannot be cut down like this
            if reasons is not None:
                reasons.append(one_line(error))
            continue
        _known[file] = found
        return found
    return None


def _without_rounding(model: Any) -> Ways:
    """All ways with a small model. Deep ones round by more than the tolerance: a small difference that float64 removes
    is none."""
    found = play(model)
    if not any(w.error is None and TOLERANCE < w.largest < ROUNDING for w in found.values()):
        return found
    try:
        finer = play(model.double())
    except Exception:  # an architecture with float32 written into its code
        return found
    return {k: finer[k] if w.error is None and w.largest < ROUNDING and finer[k].exact else w for k, w in found.items()}


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _itself(model: Any, reasons: list[str]) -> Ways:
    """The loaded model plays, as it is."""
    try:
        found = play(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be tried out: its forward pass raises {one_line(error)} "
            f"(a small one: {reasons[-1]})"
        ) from error
    if next(model.parameters()).dtype == torch.float32:
        return found
    return {k: Way(largest=w.largest, error=w.error, tolerance=LOW_TOLERANCE) for k, w in found.items()}


def cache_folder() -> Path:
    """Where results are kept; it need not exist."""
    if own := os.environ.get("RLSD_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rlsd"


def _read(file: Path) -> Ways | None:
    """A result of an earlier process; None if there is none, or none that can be read."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {way: Way(largest=float(data[way]["largest"]), error=data[way]["error"]) for way in WAYS}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(file: Path, found: Ways) -> None:
    """Keep a result, if the folder can be written: whole or not at all."""
    text = json.dumps({way: {"largest": found[way].largest, "error": found[way].error} for way in WAYS})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as partial:
            partial.write(text)
        os.replace(partial.name, file)
    except OSError:
        return


def _digest(model: Any, config: dict[str, Any], attention: str) -> str:
    kind = type(model)
    parts = [
        f"{kind.__module__}.{kind.__qualname__}",
        json.dumps(config, sort_keys=True, default=str),
        attention,
        f"torch {torch.__version__}, transformers {transformers.__version__}, {TOLERANCE}",
        _source(inspect.getsourcefile(kind)),
        *(_source(module.__file__) for module in CODE),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@cache
def _source(file: str | None) -> str:
    """Digest of a source file."""
    try:
        return hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
    except OSError:
        return "no source"

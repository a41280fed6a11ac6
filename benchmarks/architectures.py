"""Which architectures rlsd samples and trains exactly: every way of computing log-probs against a plain forward pass.

    python benchmarks/architectures.py [--only WORD ...] [--write]

Tiny models with random weights, built from transformers' configs (`tiny_architectures.py`). Each plays three turns
with hindsight itself, and the probe at loading speaks from the config alone. "exact" is within 1e-4 nats in float32;
all else is refused with one line, or for rows replaced by plain rows. A way that the probe passes and the model fails
would be silently wrong: then, or after a traceback, the exit code is 1. `--write` renews results/architectures.md; the
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_architectures import ARCHITECTURES, CONTEXT, Architecture, tiny

from rlsd.agents.hf.abilities import context_length, text_config
from rlsd.agents.hf.models import check_head
from rlsd.envs.errors import RlsdError
from rlsd.harness.config import LearnerConfig
from rlsd.harness.scoring.fit import check_sampler, fit_learner
from rlsd.harness.scoring.probe import probe
from rlsd.harness.scoring.ways import TOLERANCE, Ways, one_line, play

RESULT = Path(__file__).resolve().parents[1] / "results" / "architectures.md"
HEAD = """# Architectures

Tiny models, as printed by `python benchmarks/architectures.py`: largest difference in nats from a plain forward pass,
of every way in which rlsd computes log-probs.
"""
WAYS = ("sampler", "packed", "shared", "plain")


@dataclass(slots=True)
class Outcome:
    """One line of the table."""

    measured: Ways | None = None
    """By the tiny model itself; None if it is refused before anything is played."""
    said: Ways | None = None
    """By the probe."""
    sentences: list[str] = field(default_factory=list)
    """What rlsd prints: errors and notes."""
    traceback: str | None = None

    def cell(self, way: str) -> str:
        if self.traceback:
            return f"traceback: {self.traceback}"
        if self.measured is None or self.said is None:
            return "refused: " + self.sentences[0]
        if not self.said[way].exact:
            return f"refused: {self.said[way].fault}" + ("" if way in ("sampler", "plain") else "; plain rows instead")
        if not self.measured[way].exact:
            return f"SILENTLY WRONG: {self.measured[way].fault}"
        return f"exact ({self.measured[way].largest:.1g})"


def outcome(architecture: Architecture) -> Outcome:
    out = Outcome()
    try:
        model = tiny(architecture)
        context = min(CONTEXT, context_length(text_config(model)))
        try:
            check_head(model)
            out.said = probe(model, context=context)
        except RlsdError as error:
            out.sentences.append(str(error))
            return out
        out.measured = play(model, seed=1)
        try:
            out.sentences += fit_learner(model, LearnerConfig(), context=context).notes
        except RlsdError as error:
            out.sentences.append(str(error))
        try:
            check_sampler(model, context=context)
        except RlsdError as error:
            out.sentences.append(str(error))
    except Exception as error:  # what the table is about
        out.traceback = one_line(error)
    return out


def table(outcomes: dict[str, Outcome]) -> str:
    lines = [f"| architecture | attention | {' | '.join(WAYS)} |", "|---|---|" + "---|" * len(WAYS)]
    for name, found in outcomes.items():
        cells = [found.cell(way).replace("|", "/") for way in WAYS]
        lines.append(f"| {name} | {ARCHITECTURES[name].attention} | {' | '.join(cells)} |")
    lines += ["", "What is printed for those that are not exact in every way:", ""]
    for name, found in outcomes.items():
        lines += [f"* **{name}**: {sentence}" for sentence in found.sentences]
    return "\n".join(lines)


def summary(outcomes: dict[str, Outcome], seconds: float) -> dict[str, Any]:
    cells = [found.cell(way) for found in outcomes.values() for way in WAYS]
    return {
        "architectures": len(outcomes),
        "exact": sum(cell.startswith("exact") for cell in cells),
        "refused": sum(cell.startswith("refused") for cell in cells),
        "silently_wrong": sum(cell.startswith("SILENTLY") for cell in cells),
        "tracebacks": sum(found.traceback is not None for found in outcomes.values()),
        "exact_in_every_way": sum(all(f.cell(w).startswith("exact") for w in WAYS) for f in outcomes.values()),
        "tolerance": TOLERANCE,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="architectures whose names contain one of these words")
    parser.add_argument("--write", action="store_true", help=f"renew {RESULT.parent.name}/{RESULT.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    words, start = [w.lower() for w in arguments.only or [""]], time.perf_counter()
    outcomes = {n: outcome(a) for n, a in ARCHITECTURES.items() if any(w in n.lower() for w in words)}
    text, result = table(outcomes), summary(outcomes, time.perf_counter() - start)
    print(text)
    print(json.dumps(result))
    if arguments.write:
        RESULT.write_text(f"{HEAD}\n{text}\n\n```json\n{json.dumps(result)}\n```\n", encoding="utf-8")
    return int(bool(result["silently_wrong"] or result["tracebacks"]))


if __name__ == "__main__":
    sys.exit(main())

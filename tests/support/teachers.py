"""Other models as teachers: a tiny one on disk, and the settings that name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlsd.harness.config import parse_config
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.runs.weights import save_merged
from tests.support.smallest_run import small_run

TINY = {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 4}


def parts_of(algorithm: Any, **blocks: Any) -> Parts:
    env = {"kwargs": {"games": "gen-tiny", "max_steps": 3}}
    return build(parse_config(small_run(algorithm=algorithm, env=env, **blocks)))


def saved(folder: Path, *, seed: int = 0, shift: float = 0.0, **tiny: Any) -> Path:
    """A tiny model on disk; `shift` moves its weights at random."""
    parts = parts_of("grpo", seed=seed, model={"tiny": TINY | tiny})
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in parts.policy.model.parameters():
            p.add_(shift * torch.randn(p.shape, generator=generator))
    save_merged(parts.policy, folder, parts.config.agent)
    return folder


def opd(path: Path | str, name: str = "opd", **more: Any) -> dict[str, Any]:
    return {"name": name, "teacher": {"weights": "external", "path": str(path)}, **more}

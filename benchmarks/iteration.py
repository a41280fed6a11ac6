"""The cost of an RLSD iteration relative to a GRPO iteration on the same episodes: generation, scoring, update.

All sides start every iteration from the same weights and random numbers, so they play the same episodes (on a GPU
nearly: `sampled_tokens` is their ratio), and alternate in going first. Like RLSD, GRPO skips trajectories without an
advantage, and has no reference pass.

    grpo       outcomes alone
    rlsd       live teacher, hindsight on the keys and values of the student view
    naive      the same, every hinted turn as a separate row in a second pass
    separate   moving-average teacher: its separate weights must read everything
    progress   exact hindsight multiplies the advantage: no teacher pass
    progress_add   exact hindsight is added, so that groups without contrast are trained on too

Sizes are from the config: 16 tasks × 8 episodes, minutes of one core. The last line is one JSON object. Ratios are of
totals over all iterations; `…_time_median` is the ratio of the median iterations, with the lowest and highest ratio of
a pair of iterations. On a CPU they use CPU time of one thread; wall-clock ratios are reported too. Other jobs
share caches and memory, which changes even CPU time by up to a third: each iteration is run `--repeats` times,
alternating between the sides, and the minimum time of each stage (rollout, scoring, update, the rest) counts.

    python benchmarks/iteration.py [--sides grpo rlsd] [--steps 6] [--repeats 5] [--set rollout.tasks_per_iteration=4] …

If a model is too weak to get different outcomes (all advantages 0, nothing to train or measure), `--all-count` gives
the episodes of a group unequal returns: no trajectory is idle, the most expensive case for RLSD.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlsd.envs.alfworld.hindsight import forget_states
from rlsd.envs.errors import RlsdError
from rlsd.harness.config import RunConfig, load_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.rollout.environments import env_maker
from rlsd.harness.rollout.rollout import RewardFn
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration

ROOT = Path(__file__).parents[1]
REAL = ["env.kwargs.games=real", "env.kwargs.max_steps=15"]
SIDES: dict[str, list[str]] = {
    "grpo": ["algorithm.name=grpo"],
    "rlsd": ["algorithm.name=rlsd"],
    "naive": ["algorithm.name=rlsd", "learner.prefix_sharing=false"],
    "separate": ["algorithm.name=rlsd", "algorithm.teacher.weights=ema"],
    "progress": ["algorithm.name=progress"],
    "progress_add": ["algorithm.name=progress_add"],
}
UPDATE = ("score_s", "update_s")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one iteration."""

    stages: dict[str, float]
    """Seconds by the side's clock."""
    wall: float
    tokens: dict[str, int]
    metrics: dict[str, Any]


@dataclass
class Side:
    """One method and its measurements, one entry per iteration."""

    config: RunConfig
    reward: RewardFn | None = None
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    """Scoring and optimizer steps."""
    rollout: list[float] = field(default_factory=list)
    tokens: list[dict[str, int]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    episodes: Sequence[Trajectory] = ()
    """Of the last run."""

    def __post_init__(self) -> None:
        self.now = time.process_time if self.config.learner.device == "cpu" else time.perf_counter
        self.parts = build(self.config)
        self.iteration = Iteration(self.parts, reward=self.reward, progress=Progress(quiet=True), now=self.now)
        self.start = {k: v.clone() for k, v in self.parts.learner.weights().items()}
        self.teacher = {k: v.clone() for k, v in self.parts.teacher.state().items()}

    def share(self, other: Side) -> None:
        """Share the weight tensors of another side: their memory location affects speed."""
        for mine, theirs in zip(self.parts.policy.model.parameters(), other.parts.policy.model.parameters()):
            mine.data = theirs.data

    def run(self, step: int) -> Run:
        """Iteration `step` from the initial weights, with an empty cache of game states."""
        learner, sampler = self.parts.learner, self.parts.sampler
        learner.load(self.start, {}, {})
        learner.optimizer.state.clear()
        learner.updates = 0
        self.parts.teacher.load_state(self.teacher)
        sampler.refresh(0)
        forget_states()
        prefilled, decoded = prefilled_tokens(sampler), sampler.decoded_tokens
        wall, begun = time.perf_counter(), self.now()
        outcome = self.iteration.run(step)
        seconds, wall = self.now() - begun, time.perf_counter() - wall
        self.episodes = outcome.trajectories
        stages = {name: outcome.timing[name] for name in ("rollout_s", *UPDATE)}
        played = {"prefill": prefilled_tokens(sampler) - prefilled, "decode": sampler.decoded_tokens - decoded}
        return Run(
            stages={**stages, "rest_s": seconds - sum(stages.values())},
            wall=wall,
            tokens={**played, **outcome.metrics["forwarded_tokens"]},
            metrics={**outcome.metrics, "timing": outcome.timing},
        )

    def add(self, runs: Sequence[Run]) -> None:
        """One iteration, run several times: the minimum time of each stage."""
        least = {name: min(r.stages[name] for r in runs) for name in runs[0].stages}
        self.seconds.append(sum(least.values()))
        self.update.append(sum(least[name] for name in UPDATE))
        self.rollout.append(least["rollout_s"])
        self.wall.append(min(r.wall for r in runs))
        self.tokens.append(runs[0].tokens)
        self.metrics.append(runs[0].metrics)


def prefilled_tokens(sampler: Any) -> int:
    """Prompt tokens fed so far; 0 for a server, which does not report it."""
    return getattr(sampler, "prefilled_tokens", 0)


def by_number(trajectory: Trajectory) -> float:
    """A return that differs between all episodes of a group."""
    return float(trajectory.key.sibling)


def measure(
    base: Path,
    overrides: list[str],
    names: list[str],
    steps: int,
    *,
    repeats: int = 1,
    warm_up: int = 1,
    reward: RewardFn | None = None,
) -> dict[str, Side]:
    """`steps` iterations of every side, each run `repeats` times, after `warm_up` uncounted ones."""
    sides = {name: Side(load_config(base, [*overrides, *SIDES[name]]), reward) for name in names}
    for side in sides.values():
        side.share(sides[names[0]])
    gc.collect()
    gc.freeze()  # otherwise collecting the objects of all sides is charged to some iteration at random
    for step in range(steps + warm_up):
        runs: dict[str, list[Run]] = {name: [] for name in names}
        for i in range(repeats if step >= warm_up else 1):
            for name in names if (step + i) % 2 else names[::-1]:
                runs[name].append(sides[name].run(step))
        for name, side in sides.items():
            side.add(runs[name])
        line = "  ".join(f"{n} {s.seconds[-1]:.2f} s (update {s.update[-1]:.2f})" for n, s in sides.items())
        print(f"iteration {step}{' (warm-up)' if step < warm_up else ''}: {line}", flush=True)
    for side in sides.values():
        for series in (side.seconds, side.wall, side.update, side.rollout, side.tokens, side.metrics):
            del series[:warm_up]
    return sides


def report(sides: dict[str, Side]) -> dict[str, Any]:
    """Every side over GRPO."""
    grpo, out = sides["grpo"], {}
    for name, side in sides.items():
        if name == "grpo":
            continue
        pairs = [(m["tokens"], n["tokens"]) for m, n in zip(side.metrics, grpo.metrics)]
        if side.config.learner.device == "cpu":
            assert all(a == b for a, b in pairs), "the sides played different episodes"
        else:  # on a GPU results differ in their last bits, and so does one sample in many thousands
            out[f"{name}_over_grpo_sampled_tokens"] = ratio(*map(list, zip(*pairs)))
        out[f"{name}_over_grpo_time"] = ratio(side.seconds, grpo.seconds)
        out[f"{name}_over_grpo_time_median"] = spread(side.seconds, grpo.seconds)
        out[f"{name}_over_grpo_wall"] = ratio(side.wall, grpo.wall)
        out[f"{name}_over_grpo_update_time"] = ratio(side.update, grpo.update)
        mine, theirs = [sum(t.values()) for t in side.tokens], [sum(t.values()) for t in grpo.tokens]
        out[f"{name}_over_grpo_tokens"] = ratio(mine, theirs)
    if "naive" in sides:
        pairs = list(zip(sides["rlsd"].metrics, sides["naive"].metrics))
        out["rlsd_minus_naive_loss"] = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
        out["rlsd_minus_naive_grad_norm"] = max(abs(a["grad_norm"] - b["grad_norm"]) for a, b in pairs)
    out["tokens_an_iteration"] = {
        name: {k: round(statistics.mean(t.get(k, 0) for t in side.tokens)) for k in sorted(set().union(*side.tokens))}
        for name, side in sides.items()
    }
    out["grpo_rollout_share"] = round(sum(grpo.rollout) / sum(grpo.seconds), 3)
    out["idle_trajectories"] = statistics.mean(m["idle_trajectories"] for m in grpo.metrics)
    return out


def ratio(mine: list[Any], theirs: list[Any]) -> float:
    return round(sum(mine) / sum(theirs), 4)


def spread(mine: list[float], theirs: list[float]) -> list[float]:
    """Ratio of the medians, and the lowest and highest ratio of a pair."""
    pairs = [a / b for a, b in zip(mine, theirs, strict=True)]
    return [round(x, 4) for x in (statistics.median(mine) / statistics.median(theirs), min(pairs), max(pairs))]


def games(base: Path) -> list[str]:
    """Settings for the published games if they are on this machine, else for generated ones."""
    try:
        env_maker(load_config(base, REAL).env, "train")().close()
    except RlsdError:
        return []
    return REAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2, help="runs of every iteration; the minimum times count")
    parser.add_argument("--warm-up", type=int, default=1, help="uncounted iterations")
    parser.add_argument(
        "--all-count", action="store_true", help="unequal returns, so that every trajectory is trained on"
    )
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--generated", action="store_true", help="generated games even if the published ones are here")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    arguments = parser.parse_args()
    world = [] if arguments.generated else games(arguments.config)
    model = [f"model.path={ROOT / 'checkpoints' / 'warm_tiny'}"] if arguments.config.stem == "quickstart" else []
    overrides = ["threads=1", *world, *model, *arguments.overrides]
    names = ["grpo", *(n for n in arguments.sides if n != "grpo")]
    reward = by_number if arguments.all_count else None
    sides = measure(
        arguments.config,
        overrides,
        names,
        arguments.steps,
        repeats=arguments.repeats,
        warm_up=arguments.warm_up,
        reward=reward,
    )
    config = sides["grpo"].config
    setup = {
        "games": "published" if world else "generated",
        "clock": "processor seconds, one thread" if config.learner.device == "cpu" else "wall seconds",
        "model": Path(config.model.path).name if config.model.path else "tiny",
        "steps": arguments.steps,
        "repeats": arguments.repeats,
        "episodes": config.rollout.tasks_per_iteration * config.rollout.group_size,
        "torch": torch.__version__,
    }
    print(json.dumps({**report(sides), **setup}))


if __name__ == "__main__":
    main()

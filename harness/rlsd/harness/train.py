"""The training loop. It does not know which algorithm it runs: parts do the work, each line is a verb."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from rlsd.agents.seeding import derive
from rlsd.envs.core import Panel, Task
from rlsd.harness import fail_points
from rlsd.harness.config import ConfigError, RunConfig, import_function
from rlsd.harness.distributed import Ranks, RanksError, open_ranks
from rlsd.harness.evals.evaluate import EvalResult, evaluate, panel_of
from rlsd.harness.iteration.iteration import Iteration, Outcome
from rlsd.harness.iteration.parts import Parts, build, env_maker, make_agent, rollout_settings, settled
from rlsd.harness.iteration.samplers import eval_sampler
from rlsd.harness.learner.optimizer_state import random_state, set_random_state
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.metrics import MetricsLog
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import RunDir, replace_folder
from rlsd.harness.runs.weights import save_merged
from rlsd.harness.sft import read_trajectories


def train(config: RunConfig, folder: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train until `config.iterations`, going on from the newest checkpoint in `folder` if there is one.

    Started by torchrun, every process must call; the first one alone writes and talks.

    Returns:
        The last evaluation's summary on the validation panel, {} if none was made.
    """
    config = settled(config)
    learner = config.learner
    ranks = open_ranks(learner.device, processes=learner.processes, timeout_s=learner.timeout_s)
    run = RunDir(folder)
    told: list[int] = []
    try:
        if ranks.world > 1:  # torchrun stops all processes when one ends
            on_stop(told)
        if ranks.main:
            run.open(config)
        ranks.wait()
        training = _Training(config, run, ranks, progress if progress and ranks.main else Progress(quiet=True))
        with closing(training):
            result = training.run()
        ranks.wait()
        ranks.close()
        return result
    except KeyboardInterrupt:
        if not told:
            raise
        raise RanksError(
            "another process of this run is gone, so this one was told to stop; start the same command again"
        ) from None
    finally:
        run.close()


def on_stop(told: list[int]) -> Any:
    """Let SIGTERM end what runs as Ctrl-C does, which event loops know how to unwind, and remember in `told` that it
    came; what handled it before."""

    def handle(number: int, _: Any) -> None:
        told.append(number)
        signal.raise_signal(signal.SIGINT)

    return signal.signal(signal.SIGTERM, handle)


class _Training:
    """One process's share of a run: parts, counters, and the loop."""

    def __init__(self, config: RunConfig, run: RunDir, ranks: Ranks, progress: Progress) -> None:
        self.config = config
        self.run_dir = run
        self.ranks = ranks
        self.progress = progress
        torch.manual_seed(derive(config.seed, "torch"))  # a fresh process starts at a random state
        with progress.status("loading model and environment"):
            reward = None if config.reward is None else import_function(config.reward, "reward")
            if config.sft.trajectories is not None:
                read_trajectories(config.sft.trajectories, config.env.id)  # a broken line is told before a model loads
            self.parts: Parts = build(config, ranks=ranks)
            self.parts.sampler.connect()
            self.valid = self._panel() if config.eval.every or config.eval.at_start else None
        self.iteration = Iteration(self.parts, reward=reward, progress=progress)
        self.iterate: Callable[[int], Outcome] = self.iteration.run
        self.best: dict[str, Any] = {}
        self.last_eval: dict[str, Any] = {}
        self.step = self._resume()
        held = self.step - 1 if self.step else -2  # the evaluation before the first step is number -1
        self.metrics = MetricsLog(run.path if ranks.main else None, resume_step=held, tensorboard=config.tensorboard)
        if ranks.main:
            run.write_versions({} if self.valid is None else {"valid": self.valid[0].digest})

    def run(self) -> dict[str, Any]:
        """The loop: iterate, log, evaluate, checkpoint."""
        config = self.config
        if self.step == 0 and config.eval.at_start and self.valid is not None:
            self._evaluate(-1)
        while self.step < config.iterations:
            step, started = self.step, time.perf_counter()
            outcome = self.iterate(step)
            self._keep_rollouts(step, outcome)
            timing = {**outcome.timing, "iteration_s": time.perf_counter() - started}
            record = self.metrics.write(step=step, kind="train", timing=timing, **outcome.metrics)
            self.progress.iteration(record)
            last = step + 1 == config.iterations
            if config.eval.every and ((step + 1) % config.eval.every == 0 or last):
                self._evaluate(step)
            self.step += 1
            if self.step % config.checkpoint_every == 0 or last:
                self._checkpoint()
        return self.last_eval

    def close(self) -> None:
        self.iteration.close()
        self.parts.sampler.close()
        self.metrics.close()

    def _panel(self) -> tuple[Panel, list[Task]]:
        env = env_maker(self.config, "valid")()
        try:
            return panel_of(env, self.config.eval.episodes)
        finally:
            env.close()

    def _evaluate(self, step: int) -> EvalResult:
        """Play the validation panel with the present weights; remember the best."""
        started = time.perf_counter()
        result = evaluate_parts(self.parts, "valid", panel=self.valid, progress=self.progress)
        summary = result.summary()
        timing = {"eval_s": time.perf_counter() - started}
        self.metrics.write(step=step, kind="eval", timing=timing, **summary)
        self.progress.evaluation(step, summary)
        self.last_eval = summary
        if not self.best or summary["success"] > self.best["success"]:
            self.best = {"step": step, "success": summary["success"], "panel": summary["panel"]["digest"]}
            if self.ranks.main:
                self._save_best()
        return result

    def _save_best(self) -> None:
        partial = self.run_dir.path / "best.partial"
        shutil.rmtree(partial, ignore_errors=True)  # a killed process may have left one
        save_merged(self.parts.policy, partial, self.config.agent)
        replace_folder(partial, self.run_dir.best)

    def _keep_rollouts(self, step: int, outcome: Outcome) -> None:
        every = self.config.save_rollouts_every
        if self.ranks.main and every and step % every == 0 and outcome.turn_credit is not None:
            self.run_dir.write_rollouts(step, outcome.trajectories, outcome.turn_credit)

    def _checkpoint(self) -> None:
        folder = self.run_dir.checkpoints / f"step-{self.step:06d}"
        learner = self.parts.learner
        state = {
            "step": self.step,
            "updates": learner.updates,
            "sampler_version": self.parts.sampler.version,
            "best": self.best,
            "last_eval": self.last_eval,
        }
        optimizer, scalars = learner.optimizer_state()
        tensors = {
            "model": learner.weights(),
            "optimizer": optimizer,
            "teacher": self.parts.teacher.state(),
            "random": random_state(learner.device),
        }
        checkpoint.save(folder, tensors, {**state, "optimizer": scalars}, self.ranks)
        if self.ranks.main:
            checkpoint.prune(self.run_dir.checkpoints, self.config.keep_checkpoints, spare=set())
        fail_points.point("after-checkpoint")

    def _resume(self) -> int:
        """Load the newest checkpoint; the step to go on from."""
        folder = checkpoint.latest(self.run_dir.checkpoints)
        if folder is None:
            return 0
        tensors, state = checkpoint.load(folder, self.ranks)
        try:
            self.parts.learner.load(tensors["model"], tensors.get("optimizer", {}), state["optimizer"])
            self.parts.teacher.load_state(tensors.get("teacher", {}))
            set_random_state(tensors["random"], self.parts.learner.device)
        except (KeyError, RuntimeError) as error:
            raise checkpoint.CheckpointError(f"{folder} does not fit this config: {error}") from error
        self.parts.learner.updates = state["updates"]
        if self.parts.sampler.live:
            self.parts.sampler.refresh(state["sampler_version"])
        self.best, self.last_eval = state["best"], state["last_eval"]
        return int(state["step"])


def evaluate_parts(
    parts: Parts,
    split: str,
    *,
    panel: tuple[Panel, list[Task]] | None = None,
    episodes: int | None = None,
    progress: Progress | None = None,
) -> EvalResult:
    """Evaluate a run's policy as it is now, with the config's evaluation settings."""
    config = parts.config
    if split not in ("train", "valid", "test"):
        raise ConfigError(f"unknown split {split!r}; expected train, valid or test")
    agent = make_agent(config.agent, parts.agent.chat, eval_sampler(parts))
    count = len(panel[1]) if panel else episodes
    with (progress or Progress(quiet=True)).bar(f"evaluate {split}", count) as advance:
        return evaluate(
            env_maker(config, split),
            agent,
            stream=split,
            settings=rollout_settings(parts.config, hindsight=False),
            episodes=episodes,
            panel=panel,
            on_episode=lambda _: advance(),
            ranks=parts.learner.ranks,
        )

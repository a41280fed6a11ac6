"""One process of a run: its parts, counters and files on disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rlsd.agents.seeding import derive
from rlsd.harness import fail_points, manifest
from rlsd.harness.config.load import import_function
from rlsd.harness.config.run import RunConfig
from rlsd.harness.distributed import Ranks, RanksError, open_ranks
from rlsd.harness.evals.evaluate import evaluate_parts, panel_of
from rlsd.harness.iteration.header import header
from rlsd.harness.iteration.outcome import Outcome
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.learner.finite import broken_weight
from rlsd.harness.learner.optimizer_state import random_state, set_random_state
from rlsd.harness.learner.step import WeightError
from rlsd.harness.plan.shapes import check_layers
from rlsd.harness.rollout.environments import open_valid
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.metrics import MetricsLog
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import RunDir, RunError, replace_folder
from rlsd.harness.runs.signals import on_stop
from rlsd.harness.runs.token_credit import tokens_path
from rlsd.harness.runs.trackers import check_tracker, open_tracker
from rlsd.harness.runs.weights import save_merged


@contextmanager
def open_session(config: RunConfig, folder: Path, progress: Progress | None) -> Iterator[Session]:
    """A session of the run in `folder`, resumed from its newest checkpoint if there is one; closed at the end.

    Under torchrun every process must call; only the first one writes and prints.

    Raises:
        RanksError: another process of the run has ended.
    """
    learner = config.learner
    ranks = open_ranks(learner.device, processes=learner.processes, timeout_s=learner.timeout_s)
    run = RunDir(folder)
    received: list[int] = []
    try:
        if ranks.world > 1:  # torchrun stops all processes when one ends
            on_stop(received)
        if ranks.main:
            run.open(config)
        ranks.wait()
        session = Session(config, run, ranks, progress if progress and ranks.main else Progress(quiet=True))
        try:
            yield session
        except WeightError as error:
            raise WeightError(f"{error}. Nothing of it was published or saved; {session.last_good()}") from error
        finally:
            session.close()
        ranks.wait()
        ranks.close()
    except KeyboardInterrupt:
        if not received:
            raise
        raise RanksError(
            "another process of this run is gone, so this one was stopped; start the same command again"
        ) from None
    finally:
        run.close()


class Session:
    """Counts iterations, logs them, evaluates, and writes checkpoints.

    Raises:
        CheckpointError: a checkpoint that does not fit the config.
    """

    def __init__(self, config: RunConfig, run: RunDir, ranks: Ranks, progress: Progress) -> None:
        self.config = config
        self.run_dir = run
        self.ranks = ranks
        self.progress = progress
        torch.manual_seed(derive(config.seed, "torch"))  # a fresh process starts at a random state
        with progress.status("loading model and environment"):
            self.reward = None if config.reward is None else import_function(config.reward, "reward")
            check_tracker(config.tracker)
            if config.sft.trajectories is not None:
                read_trajectories(config.sft.trajectories, config.env.id)  # a bad line is an error before a model loads
            check_layers(config, ranks.world)
            self.parts: Parts = build(config, ranks=ranks)
            self.parts.sampler.connect()
            self.valid = self._panel() if config.eval.every or config.eval.at_start else None
        for note in self.parts.notes if ranks.main else ():
            progress.warning(note)
        self.stopping = False
        self.best: dict[str, Any] = {}
        self.last_eval: dict[str, Any] = {}
        self.step = self._resume()
        kept = self.step - 1 if self.step else -2  # the evaluation before the first step is number -1
        self.metrics = MetricsLog(
            run.path if ranks.main else None,
            resume_step=kept,
            tensorboard=config.tensorboard,
            tracker=open_tracker(config, run.path, progress.warning) if ranks.main else None,
        )
        if self.metrics.lost:
            progress.warning(self.metrics.lost)
        if ranks.main:
            run.write_versions({} if self.valid is None else {"valid": self.valid[0].digest})
        progress.header(lambda: header(self.parts, run.path, self.step))
        self._started = time.perf_counter()

    def steps(self) -> Iterator[int]:
        """The remaining iterations; evaluates before the first, and evaluates and saves after each when due."""
        config = self.config
        if self.step == 0 and config.eval.at_start and self.valid is not None:
            self._evaluate(-1)
        while self.step < config.iterations and not self.parts.spent() and not self.stopping:
            self._started = time.perf_counter()
            yield self.step
            last = self._last()
            if config.eval.every and ((self.step + 1) % config.eval.every == 0 or last):
                self._evaluate(self.step)
            self.step += 1
            if self.step % config.checkpoint_every == 0 or last:
                self._checkpoint()

    def stop(self) -> None:
        """Make the present iteration the last one: it is evaluated and saved like that."""
        self.stopping = True

    def end_here(self) -> None:
        """End a run at the checkpoint that it continues from: evaluate its weights and keep them as best/, if there is
        none yet."""
        if self.step and self.valid is not None and not self.run_dir.best.exists():
            self._evaluate(self.step - 1)

    def log(self, outcome: Outcome) -> None:
        """Write the present iteration's metrics, and its trajectories every `save_rollouts_every` iterations and at the
        end."""
        every = self.config.save_rollouts_every
        if self.ranks.main and every and (self.step % every == 0 or self._last()):
            self._keep(outcome)
        timing = {**outcome.timing, "iteration_s": time.perf_counter() - self._started}
        record = self.metrics.write(step=self.step, kind="train", timing=timing, **outcome.metrics)
        self.progress.iteration(record)

    def last_good(self) -> str:
        """Which checkpoint the same command goes on from."""
        newest = checkpoint.latest(self.run_dir.checkpoints)
        return "there is no checkpoint yet" if newest is None else f"the last good checkpoint is {newest}"

    def close(self) -> None:
        self.parts.sampler.close()
        self.metrics.close()

    def _last(self) -> bool:
        """Whether the present iteration, once it has been played, is the run's last."""
        return self.step + 1 == self.config.iterations or self.parts.spent() or self.stopping

    def _keep(self, outcome: Outcome) -> None:
        """Save the present iteration's trajectories and their tokens, if it has any with credit; trajectories last."""
        if outcome.turn_credit is None:
            return
        if self.config.save_token_credit and outcome.tokens is not None:
            path = tokens_path(self.run_dir.rollouts(self.step))
            outcome.tokens.write(path, self.parts.agent.chat.tokenizer)
        self.run_dir.write_rollouts(self.step, outcome.trajectories, outcome.turn_credit, outcome.hindsight)

    def _panel(self) -> Any:
        env = open_valid(self.config.env)
        try:
            return panel_of(env, self.config.eval.episodes)
        finally:
            env.close()

    def _evaluate(self, step: int) -> None:
        """Evaluate the present weights on the validation panel; save them if they are the best so far."""
        started = time.perf_counter()
        summary = evaluate_parts(self.parts, "valid", panel=self.valid, progress=self.progress).summary()
        timing = {"eval_s": time.perf_counter() - started}
        self.metrics.write(step=step, kind="eval", timing=timing, **summary)
        self.progress.evaluation(step, summary)
        self.last_eval = summary
        if not self.best or summary["success"] > self.best["success"]:
            self.best = {"step": step, "success": summary["success"], "panel": summary["panel"]["digest"]}
            if self.ranks.main:
                self._save_best()

    def _save_best(self) -> None:
        partial = self.run_dir.path / "best.partial"
        shutil.rmtree(partial, ignore_errors=True)  # a killed process may have left one
        save_merged(self.parts.policy, partial, self.config.agent, step=self.best["step"] + 1)
        manifest.write(partial)
        replace_folder(partial, self.run_dir.best)

    def _checkpoint(self) -> None:
        folder = self.run_dir.checkpoints / f"step-{self.step:06d}"
        learner = self.parts.learner
        optimizer, scalars = learner.optimizer_state()
        state = {
            "step": self.step,
            "updates": learner.updates,
            "sampler_version": self.parts.sampler.version,
            "best": self.best,
            "last_eval": self.last_eval,
            "optimizer": scalars,
            "played": self.parts.played,
            "tasks": self.parts.task_sampler.state(),
        }
        tensors = {
            "model": learner.weights(),
            "optimizer": optimizer,
            "teacher": self.parts.teacher.state(),
            "critic": {} if self.parts.critic is None else self.parts.critic.state(),
            "random": random_state(learner.device),
        }
        checkpoint.save(folder, tensors, state, self.ranks)
        if self.ranks.main:
            checkpoint.prune(self.run_dir.checkpoints, self.config.keep_checkpoints)
        fail_points.point("after-checkpoint")

    def _resume(self) -> int:
        """Load the newest checkpoint; returns the step to continue from.

        Raises:
            CheckpointError: it is damaged, or does not fit the config.
            RunError: the best weights are damaged.
        """
        folder = checkpoint.latest(self.run_dir.checkpoints)
        if folder is None:
            return 0
        tensors, state = checkpoint.load(folder, self.ranks)
        try:
            self.parts.learner.load(tensors["model"], tensors.get("optimizer", {}), state["optimizer"])
            self.parts.teacher.load_state(tensors.get("teacher", {}))
            if self.parts.critic is not None:
                self.parts.critic.load_state(tensors["critic"])
            set_random_state(tensors["random"], self.parts.learner.device)
        except (KeyError, RuntimeError) as error:
            raise checkpoint.CheckpointError(f"{folder} does not fit this config: {error}") from error
        broken = broken_weight(self.parts.learner.model)
        if self.ranks.any(broken is not None):
            raise checkpoint.CheckpointError(
                f"{folder} holds a weight that is infinite or NaN{'' if broken is None else f': {broken}'}; delete the "
                "folder to resume from an older checkpoint"
            )
        self.parts.learner.updates = state["updates"]
        self.parts.played = state.get("played", state["step"] * self.config.rollout.episodes)  # older ones lack it
        self.parts.task_sampler.load_state(state.get("tasks", {}))
        if self.parts.sampler.live:
            self.parts.sampler.refresh(state["sampler_version"])
        self.best, self.last_eval = state["best"], state["last_eval"]
        if self.ranks.main:
            self._look_at_best()
        return int(state["step"])

    def _look_at_best(self) -> None:
        best = self.run_dir.best
        if self.best and not best.is_dir():
            self.progress.warning(f"{best} is gone; the next evaluation writes it again")
            self.best = {}
        elif self.best and (best / manifest.MANIFEST).exists() and (found := manifest.problem(best)):
            raise RunError(f"{best} {found}; delete it to go on: the next evaluation writes it again")

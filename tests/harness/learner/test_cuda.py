"""A run with `learner.device: cuda`: no tensor is where it should not be.

On a pretended device, or on the real one where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.agents.hf.out_of_memory import out_of_memory
from rlsd.harness.cli.export import export_run
from rlsd.harness.config import RunConfig, parse_config
from rlsd.harness.distributed import open_ranks
from rlsd.harness.evals.diagnose import diagnose
from rlsd.harness.iteration.outcome import Outcome
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.learner.step import LossError, TokenSlice
from rlsd.harness.rollout.trajectory import Trajectory
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import RunDir
from rlsd.harness.scoring.sequences import student_rows
from rlsd.harness.sft import Imitation
from rlsd.harness.train import Iteration, train
from tests.support.pretend_device import Pretended, pretend_cuda
from tests.support.worlds import Played

REAL = torch.cuda.is_available()
pretended = pytest.mark.skipif(REAL, reason="a real device does not tell")


@contextmanager
def device() -> Iterator[Pretended | None]:
    """A CUDA device; None if it is a real one."""
    if REAL:
        yield None
        return
    with pretend_cuda() as gpu:
        yield gpu


def by_number(trajectory: Trajectory) -> float:
    """A return that no two siblings share."""
    return float(trajectory.key.sibling)


def config_of(algorithm: Any = "rlsd", *, device: str = "cuda", **blocks: Any) -> RunConfig:
    base: dict[str, Any] = {
        "algorithm": algorithm,
        "env": {"kwargs": {"games": "gen-tiny", "max_steps": 3}},
        "model": {"tiny": {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 2}},
        "agent": {"format": "compact", "memory": "full", "max_new_tokens": 5},
        "rollout": {"tasks_per_iteration": 2, "group_size": 3},
        "hindsight": {"max_tokens": 120},
        "learner": {"lr": 1e-3, "device": device},
    }
    for name, value in blocks.items():
        base[name] = {**base.get(name, {}), **value} if isinstance(value, dict) else value
    return parse_config(base)


def played_on(config: RunConfig, *, steps: int = 2) -> tuple[Parts, Outcome]:
    parts = build(config)
    rl = Iteration(parts, reward=by_number, progress=Progress(quiet=True))
    iteration = Imitation(parts) if config.algorithm.imitates else rl
    outcome = [iteration.run(step) for step in range(steps)][-1]
    iteration.close()
    return parts, outcome


def weights(parts: Parts) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in parts.policy.model.parameters()])


CASES: dict[str, RunConfig] = {
    "grpo": config_of("grpo"),
    "a divergence over the vocabulary": config_of({"name": "opsd", "contexts": ["plan"]}),
    "a gate": config_of("sdar"),
    "moving average, reference": config_of({"name": "rlsd", "teacher": {"weights": "ema"}, "loss": {"kl_coef": 0.1}}),
    "low precision, recomputed": config_of(learner={"precision": "bfloat16", "gradient_checkpointing": True}),
    "packed": config_of(learner={"packing": True, "minibatches": 2}),
    "every view apart, short memory": config_of(
        learner={"prefix_sharing": False}, agent={"memory": "last", "history_turns": 2}
    ),
    "ahead, eager": config_of(
        {"name": "rlsd", "loss": {"tis_cap": 2.0}},
        rollout={"async_steps": True},
        sampler={"dispatch": "eager"},
        iterations=2,
    ),
    "gspo": config_of({"name": "rlsd", "loss": {"policy": "gspo", "tis_cap": 2.0}}),
    "hindsight of the episode": config_of({"name": "rlsd", "contexts": ["demonstration"]}),
}
MORE: dict[str, RunConfig] = {
    "belief": config_of({"name": "rlsd", "credit": {"method": "belief"}}),
    "anchors": config_of("gigpo"),
    "hard copies": config_of({"name": "rlsd", "teacher": {"weights": "sync", "every": 1}}),
    "sampler's log-probs again": config_of("grpo", sampler={"reuse_logps": True}),
    "everything low": config_of(
        {"name": "opsd", "contexts": ["plan"], "teacher": {"weights": "ema"}},
        learner={"precision": "bfloat16", "gradient_checkpointing": True, "packing": True},
    ),
}


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_an_iteration_keeps_to_its_device(case: str) -> None:
    with device() as gpu:
        config = {**CASES, **MORE}[case]
        parts, outcome = played_on(config)
        assert all(p.is_cuda for p in parts.policy.model.parameters())
        assert all(moment.is_cuda for moment in parts.learner.optimizer_state()[0].values())
        assert all(t.is_cuda for t in parts.teacher.state().values())
    assert outcome.metrics["grad_norm"] > 0
    if config.learner.precision == "bfloat16":
        assert outcome.metrics["sampler_gap"] > 1e-5, "autocast is the device's"
    assert gpu is None or gpu.calls["synchronize"] > 0, "stages end when the device is done"


@pretended
def test_the_device_changes_nothing() -> None:
    with pretend_cuda():
        parts, _ = played_on(config_of())
        found = weights(parts)
    torch.testing.assert_close(found, weights(played_on(config_of(device="cpu"))[0]), atol=1e-6, rtol=0)


def test_lora_switches_off_for_the_first_weights() -> None:
    pytest.importorskip("peft")
    with device():
        parts, outcome = played_on(
            config_of({"name": "rlsd", "teacher": {"weights": "initial"}}, model={"lora": {"rank": 2}})
        )
        assert all(p.is_cuda for p in parts.policy.model.parameters())
    assert outcome.metrics["grad_norm"] > 0


def test_supervision_keeps_to_its_device() -> None:
    with device():
        _, outcome = played_on(config_of("sft", env={"kwargs": {"games": "gen-tiny", "max_steps": 30}}), steps=1)
    assert outcome.metrics["grad_norm"] > 0
    assert outcome.metrics["loss_teacher"] > 0


@pretended
@pytest.mark.parametrize("memory", ["full", "last"])
def test_sampling_waits_once_a_token(memory: str) -> None:
    """Every forward pass is followed by one draw, and what it drew is the only thing the processor asks for."""
    with pretend_cuda() as gpu:
        played = Played("compact", memory=memory, siblings=3, device="cuda")
        assert gpu.reads <= played.sampler.passes + 1  # one look at the logits when the model is made
    assert played.sampler.decoded_tokens > played.sampler.passes  # several rows a pass


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Weights, moments, teacher, and the device's random numbers; evaluation, export and the diagnostic on the way."""
    blocks: dict[str, Any] = {
        "algorithm": {"name": "rlsd", "teacher": {"weights": "ema"}},
        "checkpoint_every": 1,
        "eval": {"every": 2, "episodes": 2, "at_start": False},
        "reward": f"{__name__}:by_number",
        "learner": {"precision": "bfloat16"},
    }
    for folder, stops in (("whole", [2]), ("halted", [1, 2])):
        for iterations in stops:
            with device() as gpu:
                if gpu is not None and iterations == stops[0]:
                    gpu.seed = torch.arange(16, dtype=torch.uint8)
                assert train(config_of(iterations=iterations, **blocks), tmp_path / folder)["episodes"] == 2
                assert gpu is None or gpu.seed.tolist() == list(range(16)), "the device's random state came back"
    (whole, _), (halted, _) = (checkpoint.load(_newest(tmp_path / folder)) for folder in ("whole", "halted"))
    assert set(whole) == {"model", "optimizer", "teacher", "random"}
    for stem, tensors in whole.items():
        assert tensors.keys() == halted[stem].keys()
        assert REAL or all(torch.equal(tensors[name], halted[stem][name]) for name in tensors)
    export_run(tmp_path / "halted", tmp_path / "last", last=True)  # on a machine without a GPU
    with device():
        export_run(tmp_path / "halted", tmp_path / "best")
        parts = build(config_of(**blocks), model_path=str(tmp_path / "best"))
        assert all(p.is_cuda for p in parts.policy.model.parameters())
        assert math.isnan(diagnose(parts, episodes=2)["auc"][0])  # no action reduced the distance to the goal


def test_a_loss_that_is_no_number_names_its_token() -> None:
    with device():
        played = Played("compact", device="cuda")
        with pytest.raises(LossError, match=r"the loss is nan; no step was taken"):
            played.learner.update(student_rows(played.trajectories), lambda part: part.logp.sum() * math.nan)
        with torch.no_grad():
            played.policy.model.get_input_embeddings().weight.fill_(math.nan)
        with pytest.raises(LossError, match=r"\(token 0 has no finite log-prob\)"):
            played.learner.update(student_rows(played.trajectories)[:1], lambda part: part.logp.sum())


def test_memory_is_given_back_before_the_halves_are_tried() -> None:
    failures = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")]

    def loss(part: TokenSlice) -> torch.Tensor:
        if failures:
            raise failures.pop()
        return part.logp.mean()

    with device() as gpu:
        played = Played("compact", siblings=3, device="cuda")
        assert played.learner.update(student_rows(played.trajectories)[:2], loss).splits == 1
    assert gpu is None or gpu.calls["empty_cache"] == 1


def _newest(run: Path) -> Path:
    found = checkpoint.latest(RunDir(run).checkpoints)
    assert found is not None
    return found


def test_one_process_may_use_one_device_after_another() -> None:
    with device():
        for kind in ("cuda", "cpu", "cuda"):
            assert open_ranks(kind, processes=None, timeout_s=9).device.type == kind


def test_every_way_of_running_out_of_memory_is_known() -> None:
    for words in (
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
    ):
        assert out_of_memory(RuntimeError(words))
    assert not out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))

"""A weight that an update made infinite or NaN ends the run before anybody reads it."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rlsd.agents.hf.models import ModelError, load_policy, save_policy
from rlsd.harness.config import AgentConfig, parse_config
from rlsd.harness.iteration.parts import Parts, settled
from rlsd.harness.learner.finite import broken_weight, first_broken
from rlsd.harness.learner.step import TokenSlice, WeightError
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.weights import save_merged
from rlsd.harness.scoring.sequences import student_rows
from rlsd.harness.session import open_session
from rlsd.harness.train import Iteration, train
from tests.support.smallest_run import small_run
from tests.support.two_processes import started
from tests.support.worlds import Played

BAD = [float("nan"), float("inf"), -float("inf")]


def mean(part: TokenSlice) -> torch.Tensor:
    return -part.logp.mean()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_one_value_in_any_place_is_found_by_name(bad: float, dtype: torch.dtype) -> None:
    for place in (0, 500, 999):
        weights = {"a": torch.ones(3), "b": torch.ones(10, 100, dtype=dtype), "c": torch.ones(2, dtype=dtype)}
        assert first_broken(weights.items()) is None
        weights["b"].view(-1)[place] = bad
        assert first_broken(weights.items()) == "b (1 of 1,000 values)"
    weights["a"][:2] = bad
    assert first_broken(weights.items()) == "a (2 of 3 values)"


def test_large_finite_weights_empty_ones_and_numbers_that_count_are_sound() -> None:
    """Their squares overflow, the weights do not."""
    weights = {
        "half": torch.full((100,), 65504.0, dtype=torch.float16),
        "single": torch.full((100,), 3e38),
        "none": torch.empty(0, 4),
        "counts": torch.tensor([2**62]),
    }
    assert first_broken(weights.items()) is None
    assert first_broken([]) is None
    assert broken_weight(nn.Linear(3, 3)) is None


def test_an_update_that_breaks_a_weight_is_told_with_its_number_and_name() -> None:
    played = Played("compact")
    rows, learner = student_rows(played.trajectories), played.learner
    learner.update(rows, mean)
    with torch.no_grad():
        broken = dict(learner.model.named_parameters())["model.layers.1.mlp.up_proj.weight"]
        learner.optimizer.register_step_post_hook(lambda *_: broken.data[3, 4].fill_(float("nan")))
    with pytest.raises(WeightError, match=r"update 2 made .* NaN: model\.layers\.1\.mlp\.up_proj\.weight \(1 of 3"):
        learner.update(rows, mean)


def broken_run(folder: Path, *, at: int, **blocks: Any) -> str:
    """What a run says in which a trained weight is NaN after the update of iteration `at`."""
    evals = {"every": 1, "episodes": 1, "at_start": False}
    config = parse_config(small_run(iterations=4, checkpoint_every=1, eval=evals, **blocks))

    def spoil(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        optimizer.param_groups[0]["params"][-1].data.view(-1)[-1:].fill_(float("inf"))

    used: list[Parts] = []

    def run() -> None:
        with (
            open_session(settled(config), folder, None) as session,
            closing(Iteration(session.parts, reward=session.reward, progress=session.progress)) as loop,
        ):
            used.append(session.parts)
            for step in session.steps():
                if step == at:
                    session.parts.learner.optimizer.register_step_post_hook(spoil)
                session.log(loop.run(step))

    with pytest.raises(WeightError) as told:
        run()
    assert used[0].sampler.version == used[0].learner.updates - 1, "the broken weights went to no sampler"
    return str(told.value)


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4}], ids=["full", "lora"])
def test_a_run_ends_in_one_line_before_it_saves_or_publishes(lora: Any, tmp_path: Path) -> None:
    error = broken_run(tmp_path / "run", at=0, **({} if lora is None else {"model": {"lora": lora}}))
    assert error.startswith("update 1 made a weight infinite or NaN: ")
    assert error.endswith("Nothing of it was published or saved; there is no checkpoint yet")
    assert "\n" not in error
    assert ("lora_" in error) == (lora is not None)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "best").exists()
    assert read_metrics(tmp_path / "run" / "metrics.jsonl") == []


def test_the_last_good_checkpoint_is_named_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    error = broken_run(folder, at=2)
    assert error.startswith("update 2 made")  # an iteration had nothing to learn from
    assert error.endswith(f"the last good checkpoint is {folder / 'checkpoints' / 'step-000002'}")
    kept, state = checkpoint.load(folder / "checkpoints" / "step-000002")
    assert first_broken(kept["model"].items()) is None
    assert state["updates"] == 1
    config = small_run(iterations=4, checkpoint_every=1, eval={"every": 1, "episodes": 1, "at_start": False})
    train(parse_config(config), folder)
    assert [r["step"] for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "train"] == [0, 1, 2, 3]


def test_a_checkpoint_with_a_broken_weight_is_not_resumed(tmp_path: Path) -> None:
    config = parse_config(small_run(checkpoint_every=1))
    train(config, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "step-000002"
    tensors, state = checkpoint.load(folder)
    kept = {stem: dict(named.items()) for stem, named in tensors.items()}
    next(iter(kept["model"].values())).view(-1)[0] = float("nan")
    shutil.rmtree(folder)
    checkpoint.save(folder, kept, state)
    with pytest.raises(checkpoint.CheckpointError, match="step-000002 holds a weight that is infinite or NaN: "):
        train(parse_config(small_run(checkpoint_every=1, iterations=3)), tmp_path / "run")


def test_what_is_broken_already_is_neither_loaded_nor_saved_nor_resumed(tmp_path: Path) -> None:
    played = Played("compact")
    save_policy(played.policy, tmp_path / "sound")
    load_policy(tmp_path / "sound")
    with torch.no_grad():
        played.policy.model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(WeightError, match=r"layers\.0\.mlp\.up_proj\.weight \(1 of"):
        save_merged(played.policy, tmp_path / "merged", AgentConfig())
    assert not (tmp_path / "merged").exists()
    save_policy(played.policy, tmp_path / "broken")
    with pytest.raises(ModelError, match="logits are infinite or NaN"):
        load_policy(tmp_path / "broken")


def test_one_process_of_two_that_breaks_ends_both(tmp_path: Path) -> None:
    done = started("tests.support.broken_rank")
    assert done.returncode == 0, done.stderr[-3000:]
    told = sorted(re.findall(r"process \d: update(?:(?!process \d: update).)*", done.stdout))  # lines may run together
    assert len(told) == 2
    for rank, line in enumerate(told):
        assert line.startswith(f"process {rank}: update 1 made a weight infinite or NaN on process 1: ")
        assert "up_proj.weight (1 of" in line

"""A teacher that is another model: what it is asked, and which models cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlsd.algorithms.methods_distill import METHODS
from rlsd.harness.config import ConfigError, RunConfig, parse_config
from rlsd.harness.evals.agents import parts_of as parts_of_run
from rlsd.harness.iteration.parts import Parts
from rlsd.harness.iteration.score import Scored, score
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.weights import save_merged
from rlsd.harness.scoring.sequences import student_rows
from rlsd.harness.train import Iteration, train
from tests.support.smallest_run import BASE
from tests.support.teachers import TINY, opd, parts_of, saved


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("teacher") / "model", shift=0.3)


def mixed(trajectory: Any) -> float:
    """Differs between siblings, so that advantages are not all 0."""
    return sum(len(t.action.token_ids) for t in trajectory.turns) / 10


def scored(parts: Parts) -> Scored:
    iteration = Iteration(parts, reward=mixed, progress=Progress(quiet=True))
    return score(parts, iteration.player.take(0).groups, 0)


def trained(algorithm: Any, steps: int = 1, **blocks: Any) -> tuple[Parts, list[dict[str, Any]]]:
    parts = parts_of(algorithm, **blocks)
    iteration = Iteration(parts, reward=mixed, progress=Progress(quiet=True))
    return parts, [iteration.run(step).metrics for step in range(steps)]


def weights(parts: Parts) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parts.policy.model.parameters()])


@pytest.mark.parametrize("memory", ["full", "last"])
def test_it_reads_the_students_own_prompt(other: Path, memory: str) -> None:
    parts = parts_of(opd(other), agent={"memory": memory})
    got = scored(parts)
    assert bool(got.batch.hinted.all())
    assert got.hints.counts["given"] == len(got.batch.trajectory)
    with parts.teacher.weights() as model:
        rows = student_rows(got.trajectories, merge=False)
        want = parts.scorer.logprobs(rows, len(got.batch.turn), model=model).logp
    torch.testing.assert_close(got.batch.teacher_logp, want, atol=1e-5, rtol=0)
    assert float(got.batch.gap.abs().mean()) > 0.05


def test_it_reads_hindsight_where_the_method_has_some(other: Path) -> None:
    got = scored(parts_of(opd(other, contexts=["plan"])))
    assert got.hints.counts["given"] > 0
    assert all(hint.turn or hint.episode for hint in got.hints.insertions.values())


def test_the_students_distribution_comes_nearer_to_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "near", shift=0.1)
    alone = {"policy_coef": 0.0, "distill": {"coef": 1.0}}
    blocks = {"learner": {"lr": 1e-2}, "rollout": {"tasks_per_iteration": 4}}
    _, metrics = trained(opd(path, "dgrpo", loss=alone), steps=6, **blocks)
    assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]


def test_it_may_be_of_another_size(tmp_path: Path) -> None:
    larger = saved(tmp_path / "larger", dim=48, layers=2)
    for name in ("opd", "dgrpo"):
        _, (metrics,) = trained(opd(larger, name))
        assert metrics["grad_norm"] > 0


def test_a_teacher_with_the_students_weights_teaches_nothing(tmp_path: Path) -> None:
    start = parts_of("grpo")
    save_merged(start.policy, tmp_path / "same", start.config.agent)
    parts, (metrics,) = trained(opd(tmp_path / "same"))
    assert abs(metrics["credit"]["gap"]) < 1e-6
    assert metrics["grad_norm"] < 1e-5
    assert parts.teacher.state() == {}, "its weights are in its own folder"


def test_a_ratio_anchored_at_the_students_own_weights_is_grpo(tmp_path: Path) -> None:
    start = parts_of("grpo")
    save_merged(start.policy, tmp_path / "same", start.config.agent)
    got, want = trained(opd(tmp_path / "same", "trrd"))[0], trained("grpo")[0]
    torch.testing.assert_close(weights(got), weights(want), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_step(name: str, other: Path) -> None:
    """Where the world has no demonstration or win of a sibling to show, the plan stands in."""
    config = METHODS[name].config
    external = config.teacher.weights == "external"
    algorithm: Any = opd(other, name) if external else {"name": name, "contexts": ["plan"]}
    parts, (metrics,) = trained(algorithm)
    assert metrics["updates"] == 1
    assert metrics["loss"] == metrics["loss"]
    assert metrics["grad_norm"] > 0
    assert parts.learner.updates == 1


def small(path: Path, iterations: int = 2) -> RunConfig:
    data = BASE | {"algorithm": opd(path), "iterations": iterations, "checkpoint_every": 1}
    return parse_config(data | {"model": {"tiny": TINY}})


def test_a_resumed_run_has_the_same_teacher_and_evaluation_needs_none(tmp_path: Path) -> None:
    path = saved(tmp_path / "teacher", shift=0.3)
    train(small(path), tmp_path / "straight", progress=Progress(quiet=True))
    for iterations in (1, 2):
        train(small(path, iterations), tmp_path / "stopped", progress=Progress(quiet=True))
    newest = [tmp_path / run / "checkpoints" / "step-000002" for run in ("straight", "stopped")]
    straight, stopped = (load_file(folder / "model.safetensors") for folder in newest)
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)
    assert not (newest[0] / "teacher.safetensors").exists(), "its weights are in its own folder"
    path.rename(tmp_path / "gone")
    assert parts_of_run(tmp_path / "straight", external=False).teacher.kind == "live"
    with pytest.raises(ConfigError, match="no tokenizer can be read from"):
        parts_of_run(tmp_path / "straight")


# ---------------------------------------------------------------------- what cannot be a teacher


def refusal(algorithm: dict[str, Any], **blocks: Any) -> str:
    with pytest.raises(ConfigError) as error:
        parts_of(algorithm, **blocks)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_tokenizer_is_refused(tmp_path: Path, other: Path) -> None:
    path = saved(tmp_path / "words", vocab=420)
    message = refusal(opd(path))
    assert "algorithm.teacher.path" in message
    assert "another tokenizer" in message
    assert "of 400 tokens differ" in message
    student = {"tiny": None, "path": str(other)}
    assert refusal(opd(path), model=student) == message, "before the student loads, if it has a folder"


def test_a_teacher_without_a_folder_is_refused(tmp_path: Path) -> None:
    assert "--set algorithm.teacher.path=FOLDER" in refusal({"name": "opd"})
    assert "no tokenizer can be read from" in refusal(opd(tmp_path / "nowhere"))


def test_a_shorter_context_is_refused(tmp_path: Path) -> None:
    assert "takes 256 tokens, but episodes may have 512" in refusal(opd(saved(tmp_path / "short", context=256)))


def test_whole_distributions_need_as_many_logits(other: Path, tmp_path: Path) -> None:
    parts = parts_of("grpo")
    parts.policy.model.resize_token_embeddings(416)  # as models that pad their vocabulary have
    save_merged(parts.policy, tmp_path / "padded", parts.config.agent)
    message = refusal(opd(tmp_path / "padded", "dgrpo"))
    assert "has 416 logits and the student 400" in message
    assert trained(opd(tmp_path / "padded"))[1][0]["updates"] == 1, "sampled tokens do not"

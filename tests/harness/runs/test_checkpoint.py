"""Checkpoints exist whole or not at all, and give back what was put in."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rlsd.agents.hf.models import save_policy
from rlsd.harness.config import LearnerConfig
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.optimizer_state import moments, put_back
from rlsd.harness.learner.step import TokenSlice
from rlsd.harness.runs import checkpoint
from rlsd.harness.runs.checkpoint import CheckpointError
from rlsd.harness.runs.rundir import RunDir, replace_folder, write_atomic
from rlsd.harness.scoring.sequences import student_rows
from tests.support.worlds import Played

TENSORS = {
    "model": {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])},
    "optimizer": {"a.weight/exp_avg": torch.full((2, 3), 0.5)},
    "teacher": {},
}
STATE = {"step": 3, "best": {"success": 0.25}, "name": "é"}


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step-000003", TENSORS, STATE)
    tensors, state = checkpoint.load(tmp_path / "step-000003")
    assert state == STATE
    assert set(tensors) == {"model", "optimizer"}, "empty parts make no file"
    for part, named in tensors.items():
        assert set(named) == set(TENSORS[part])
        for name, value in named.items():
            assert torch.equal(value, TENSORS[part][name])
            assert value.dtype == TENSORS[part][name].dtype
    manifest = json.loads((tmp_path / "step-000003" / "MANIFEST.json").read_text())
    assert set(manifest) == {"model.safetensors", "optimizer.safetensors", "state.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["step-000003"]


def test_no_pickle_anywhere(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step-000003", TENSORS, STATE)
    assert {p.suffix for p in (tmp_path / "step-000003").iterdir()} == {".safetensors", ".json"}


def test_views_and_shared_storage_are_saved_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    checkpoint.save(tmp_path / "step-000001", {"model": {"t": base.T, "whole": base, "row": base[1]}}, {})
    tensors, _ = checkpoint.load(tmp_path / "step-000001")
    assert torch.equal(tensors["model"]["t"], base.T)
    assert torch.equal(tensors["model"]["row"], base[1])


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    partial = tmp_path / "step-000003.partial"
    partial.mkdir()
    (partial / "junk.safetensors").write_bytes(b"x")
    checkpoint.save(tmp_path / "step-000003", TENSORS, STATE)
    checkpoint.load(tmp_path / "step-000003")
    assert not partial.exists()


@contextmanager
def small_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond `largest` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step-000001", {"model": {"w": torch.ones(4)}}, {"step": 1})
    folder, played = tmp_path / "step-000002", Played("compact")
    with small_disk(1 << 16), pytest.raises(CheckpointError, match=f"{folder} cannot be written: .*os error"):
        checkpoint.save(folder, {"model": {"w": torch.ones(1 << 20)}}, {"step": 2})
    with small_disk(1 << 16), pytest.raises(CheckpointError, match=f"{folder} cannot be written: .*File too large"):
        checkpoint.save(folder, {"model": {"w": torch.ones(4)}}, {"step": 2, "long": "x" * (1 << 20)})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]
    with small_disk(1 << 16), pytest.raises(OSError, match=f"cannot be written to {tmp_path / 'best'}"):
        save_policy(played.policy, tmp_path / "best")


def test_latest_and_prune(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None
    for step in (1, 2, 9, 10, 11):
        checkpoint.save(tmp_path / f"step-{step:06d}", TENSORS, STATE)
    (tmp_path / "step-000012.partial").mkdir()
    (tmp_path / "notes").mkdir()
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.name == "step-000011"
    checkpoint.prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("notes", "step-000010", "step-000011", "step-000012.partial")
    ]


def test_a_file_nobody_wrote_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step-000003", TENSORS, STATE)
    (tmp_path / "step-000003" / "teacher.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors"):
        checkpoint.load(tmp_path / "step-000003")


def test_every_byte_counts(tmp_path: Path) -> None:
    """Each file in turn, flipped at many places; the message names the file."""
    folder = tmp_path / "step-000003"
    checkpoint.save(folder, TENSORS, STATE)
    for path in sorted(folder.iterdir()):
        if path.name == checkpoint.MANIFEST:
            continue
        whole = path.read_bytes()
        for i in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
            with pytest.raises(CheckpointError, match=path.name):
                checkpoint.load(folder)
        path.write_bytes(whole)
    checkpoint.load(folder)


def test_learner_goes_on_from_its_state_bit_for_bit(tmp_path: Path) -> None:
    played = Played("compact")
    rows = student_rows(played.trajectories)

    def loss(part: TokenSlice) -> torch.Tensor:
        return -part.logp.mean()

    learner = played.learner
    learner.update(rows, loss)
    learner.update(rows, loss)
    buffers, counts = learner.optimizer_state()
    checkpoint.save(tmp_path / "step-000002", {"model": learner.weights(), "optimizer": buffers}, {"counts": counts})
    learner.update(rows, loss)
    want = {k: v.clone() for k, v in learner.weights().items()}

    other = Played("compact")
    fresh = Learner(other.policy, LearnerConfig(lr=1e-3, micro_batch_tokens=600), temperature=1.0)
    tensors, state = checkpoint.load(tmp_path / "step-000002")
    fresh.load(tensors["model"], tensors["optimizer"], state["counts"])
    fresh.updates = 2
    fresh.update(rows, loss)
    assert all(torch.equal(want[k], v) for k, v in fresh.weights().items())
    assert len(want) > 5


def test_an_optimizer_without_step_counts_is_restored_too() -> None:
    """SGD with momentum keeps a buffer a weight, and no count."""
    played, other = Played("compact"), Played("compact")
    models = [played.policy.model, other.policy.model]
    first, second = (torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in models)
    for p in models[0].parameters():
        p.grad = torch.ones_like(p)
    first.step()
    tensors, counts = moments(models[0], first)
    assert counts == {}
    put_back(models[1], second, dict(models[0].named_parameters()), tensors, counts)
    for optimizer, model in ((first, models[0]), (second, models[1])):
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.5)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters()))


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_replacing_a_folder(tmp_path: Path) -> None:
    for text in ("old", "new"):
        partial = tmp_path / "best.partial"
        partial.mkdir()
        (partial / "w").write_text(text)
        replace_folder(partial, tmp_path / "best")
    assert (tmp_path / "best" / "w").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_best_weights_survive_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    from rlsd.harness.config import parse_config

    run, old = RunDir(tmp_path), tmp_path / "best.old"
    for _ in range(2):
        run.open(parse_config({"model": {"path": "m"}}))
        run.close()
        if not run.best.exists():
            old.mkdir()
            (old / "w").write_text("old")
    assert (tmp_path / "best" / "w").read_text() == "old"
    assert not old.exists()


def shards(folder: Path, pieces: list[tuple[int, torch.Tensor]], total: int) -> None:
    """A checkpoint as two processes with sharded weights write it."""
    folder.mkdir()
    for i, (start, piece) in enumerate(pieces):
        rows = {"rows": json.dumps({"w": (start, total)})}
        save_file({"w": piece}, folder / f"model-{i + 1:05d}-of-{len(pieces):05d}.safetensors", rows)
    (folder / "state.json").write_text("{}")
    found = {
        p.name: {"bytes": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in folder.iterdir()
    }
    (folder / checkpoint.MANIFEST).write_text(json.dumps(found))


def test_rows_of_many_processes_are_one_tensor_again(tmp_path: Path) -> None:
    whole = torch.arange(15.0).reshape(5, 3)
    shards(tmp_path / "a", [(0, whole[:2]), (2, whole[2:4]), (4, whole[4:])], 5)
    tensors, _ = checkpoint.load(tmp_path / "a")
    assert list(tensors) == ["model"]
    assert torch.equal(tensors["model"]["w"], whole)
    shards(tmp_path / "b", [(0, whole[:2]), (4, whole[4:])], 5)
    with pytest.raises(CheckpointError, match="only a part of w"):
        checkpoint.load(tmp_path / "b")[0]["model"]["w"]


def test_links_among_checkpoints(tmp_path: Path) -> None:
    """A link is a checkpoint like another; only the link is deleted, and one to nothing is not passed over."""
    parent, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    for step in (1, 2, 3):
        checkpoint.save(parent / f"step-{step:06d}", TENSORS, STATE)
    elsewhere.mkdir()
    for step in (1, 3):
        (parent / f"step-{step:06d}").rename(elsewhere / f"{step}")
        (parent / f"step-{step:06d}").symlink_to(elsewhere / f"{step}")
    newest = checkpoint.latest(parent)
    assert newest == parent / "step-000003"
    checkpoint.load(newest)
    checkpoint.prune(parent, 2)
    assert sorted(p.name for p in parent.iterdir()) == ["step-000002", "step-000003"]
    checkpoint.load(elsewhere / "1")
    (elsewhere / "3").rename(elsewhere / "moved")
    with pytest.raises(CheckpointError, match="step-000003 is no folder, or a link to one that is gone"):
        checkpoint.latest(parent)
    (parent / "step-000003").unlink()
    assert checkpoint.latest(parent) == parent / "step-000002"
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"link .*nothing, which is gone"):
        checkpoint.latest(tmp_path / "link")

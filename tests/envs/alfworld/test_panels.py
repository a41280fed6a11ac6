"""The published panels: sizes, digests and disjointness of the whole release; needs the archives named by RLSD_DATA."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from rlsd.envs import Panel, make
from rlsd.envs.alfworld import games
from rlsd.envs.alfworld.games import PUBLISHED

ROOT = Path(os.environ.get("RLSD_DATA", "no-such-folder")) / "alfworld"
ARCHIVES = {
    "games_valid_unseen_valid_train.tar.xz": ("valid_unseen", "valid_train"),
    "games_train_valid_seen.tar.xz": ("train", "valid_seen"),
}

needs_archives = pytest.mark.skipif(
    not all((ROOT / name).is_file() for name in ARCHIVES),
    reason="the packed release: RLSD_DATA names no alfworld/games_*.tar.xz",
)


def unpack(archive: str, folder: Path, split: str | None = None) -> None:
    with tarfile.open(ROOT / archive) as tar:
        for member in tar:
            if member.name.endswith("game.tw-pddl") and (split is None or f"/{split}/" in f"/{member.name}"):
                tar.extract(member, folder, filter="data")


def contents(folder: Path, split: str) -> tuple[str, list[str]]:
    """Digest of a split, and what each of its games is, task sentence and numbering included."""
    env = make("rlsd/ALFWorld-v0", games=folder, split=split)
    count, digest = PUBLISHED[split]
    assert len(env.tasks()) == count
    panel = Panel.of(env, env.tasks())
    assert panel.digest == digest
    return panel.digest, [env.content(task.task_id) for task in env.tasks()]


@needs_archives
def test_the_unseen_panel_is_the_published_one(tmp_path: Path) -> None:
    unpack("games_valid_unseen_valid_train.tar.xz", tmp_path, "valid_unseen")
    digest, games = contents(tmp_path, "valid_unseen")
    assert len(digest) == 16
    assert len(set(games)) == len(games) == 134


@pytest.mark.slow
@needs_archives
def test_published_splits_share_no_game(tmp_path: Path) -> None:
    for archive in ARCHIVES:
        unpack(archive, tmp_path)
    found = {split: set(contents(tmp_path, split)[1]) for split in PUBLISHED}
    for split in ("valid_seen", "valid_unseen"):
        assert not found["train"] & found[split]
    assert not found["valid_seen"] & found["valid_unseen"]


def test_only_so_many_games_are_kept(tmp_path: Path) -> None:
    """Games are read when they are opened, shared within the process, and the oldest are forgotten."""
    info = games._read_cached.cache_info()
    assert info.maxsize == games._CACHED_GAMES
    folder = tmp_path / "valid_seen" / "pick_and_place_simple-x"
    for number in range(3):
        (folder / f"trial_{number}").mkdir(parents=True)
        (folder / f"trial_{number}" / "game.tw-pddl").write_text("not read before it is opened")
    env = make("rlsd/ALFWorld-v0", games=tmp_path, split="valid_seen")
    assert [task.task_type for task in env.tasks()] == ["pick_and_place_simple"] * 3
    assert games._read_cached.cache_info().misses == info.misses

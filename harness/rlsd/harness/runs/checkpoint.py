"""Checkpoints: safetensors and JSON with checksums, written to a temporary folder that is renamed when complete.

With several processes each writes its share, model-00001-of-00002.safetensors and so on: the rows it has of sharded
tensors (numbered in the file's header), and every n-th of the whole ones. Any number of processes can read them back.

checkpoints/step-000040/
    model.safetensors      trained weights (the adapter's alone with LoRA)
    optimizer.safetensors  first and second moments by weight name
    teacher.safetensors    teacher weights that differ from the model's, if any
    critic.safetensors     weights and moments of the critic, if any
    state.json             counters, the best evaluation and the last one
    MANIFEST.json          size and SHA-256 of each file; written last
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from rlsd.envs.errors import RlsdError
from rlsd.harness import fail_points
from rlsd.harness.distributed import Ranks, rows_held

MANIFEST = "MANIFEST.json"
ALONE = Ranks()


class CheckpointError(RlsdError):
    """A checkpoint that is damaged, belongs to another run or cannot be written."""


class Stored(Mapping[str, Tensor]):
    """The tensors of one file stem by name, read on access and joined from the shares of all processes."""

    def __init__(self, files: list[Path]) -> None:
        self._files = [safe_open(path, framework="pt") for path in files]
        self._pieces: dict[str, list[tuple[int, int, int]]] = {}
        for i, file in enumerate(self._files):
            rows = json.loads((file.metadata() or {}).get("rows", "{}"))
            for name in file.keys():  # noqa: SIM118 (no mapping)
                start, total = rows.get(name, (0, -1))
                self._pieces.setdefault(name, []).append((start, total, i))

    def __getitem__(self, name: str) -> Tensor:
        """
        Raises:
            CheckpointError: rows are missing.
        """
        pieces = sorted(self._pieces[name])
        shares = [self._files[i].get_tensor(name) for _, _, i in pieces]
        total = pieces[0][1]
        if total < 0:
            return shares[0]
        if [start for start, _, _ in pieces] != _starts(shares) or sum(len(t) for t in shares) != total:
            raise CheckpointError(f"the checkpoint holds only a part of {name}; delete it to use an older one")
        return torch.cat(shares)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def save(folder: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], ranks: Ranks = ALONE) -> None:
    """Write a checkpoint completely or not at all; every process must call, with a folder that all of them see.

    Args:
        folder: final place; must not exist.
        tensors: file stem → name → tensor, whole (the same on every process) or sharded.
        state: JSON-able.

    Raises:
        CheckpointError: writing failed; nothing of it is left.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        _save(folder, partial, tensors, state, ranks)
    except (SafetensorError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"checkpoint {folder} cannot be written: {error}. Make room there or give the right to write; the same "
            "command goes on from the last whole checkpoint"
        ) from error


def _save(
    folder: Path, partial: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], ranks: Ranks
) -> None:
    if ranks.main:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    ranks.wait()
    part = "" if ranks.world == 1 else f"-{ranks.rank + 1:05d}-of-{ranks.world:05d}"
    written = [path for stem in tensors if (path := _write(partial / f"{stem}{part}", tensors[stem], ranks))]
    if ranks.main:
        (partial / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))
        written.append(partial / "state.json")
    mine = {p.name: {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in written}
    for path in written:
        _sync(path)
    manifest = {name: entry for files in ranks.gather(mine) for name, entry in files.items()}
    if ranks.main:
        (partial / MANIFEST).write_text(json.dumps(dict(sorted(manifest.items())), indent=1))
        _sync(partial / MANIFEST)
        _sync(partial)
        fail_points.point("before-rename")
        os.rename(partial, folder)
        _sync(folder.parent)
    ranks.wait()


def load(folder: Path, ranks: Ranks = ALONE) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
    """Tensors by file stem (each read on access), and the state.

    Raises:
        CheckpointError: a file is missing, truncated or changed since it was written; names it.
    """
    if ranks.main:
        verify(folder)
    ranks.wait()
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        files.setdefault(re.sub(r"-\d{5}-of-\d{5}$", "", path.stem), []).append(path)
    try:
        return {stem: Stored(paths) for stem, paths in files.items()}, json.loads((folder / "state.json").read_text())
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {error}") from error


def verify(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: naming the file that differs.
    """
    try:
        manifest = {name: (entry["bytes"], entry["sha256"]) for name, entry in _json(folder / MANIFEST).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {folder} has no readable {MANIFEST}; delete the folder to use an older one"
        ) from error
    unlisted = sorted({p.name for p in folder.iterdir()} - {MANIFEST, *manifest})
    if unlisted:
        raise CheckpointError(f"checkpoint {folder}: {unlisted[0]} is not in its {MANIFEST}; delete what is damaged")
    for name, (size, digest) in manifest.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"checkpoint {folder} lacks {name}; delete the folder to use an older checkpoint")
        if path.stat().st_size != size or _sha256(path) != digest:
            raise CheckpointError(
                f"checkpoint {folder}: {name} is corrupt (SHA-256 differs from {MANIFEST}); "
                "delete the folder to resume from an older checkpoint"
            )


def latest(parent: Path) -> Path | None:
    """The newest whole checkpoint folder below `parent`."""
    folders = _whole(parent)
    return folders[-1] if folders else None


def prune(parent: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    folders = _whole(parent)
    for path in folders[:-keep] if keep else []:
        shutil.rmtree(path)


def _whole(parent: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in parent.glob("step-*") if p.is_dir() and not p.name.endswith(".partial"))


def _write(stem: Path, named: dict[str, Tensor], ranks: Ranks) -> Path | None:
    """Write this process's share of some tensors; None if it has none of them."""
    plain: dict[str, Tensor] = {}
    rows: dict[str, tuple[int, int]] = {}
    for i, (name, value) in enumerate(named.items()):
        rows_here, start, total = rows_held(value.detach())
        if isinstance(value, DTensor):
            if not rows_here.shape[0]:
                continue
            rows[name] = (start, total)
        elif i % ranks.world != ranks.rank:
            continue
        plain[name] = rows_here.to("cpu", copy=True).contiguous()  # a copy on the GPU might not fit beside the run
    if not plain:
        return None
    path = stem.with_name(stem.name + ".safetensors")
    save_file(plain, path, {"rows": json.dumps(rows)} if rows else None)
    return path


def _starts(pieces: list[Tensor]) -> list[int]:
    out, at = [], 0
    for piece in pieces:
        out.append(at)
        at += len(piece)
    return out


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

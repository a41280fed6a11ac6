"""Checkpoints: safetensors and JSON in a folder, checksummed, written beside and renamed when whole.

checkpoints/step-000040/
    model.safetensors      trained weights (the adapter's alone with LoRA)
    optimizer.safetensors  first and second moments by weight name
    teacher.safetensors    teacher weights that differ from the model's, if any
    state.json             counters, random states, what the run was
    MANIFEST.json          size and SHA-256 of each file; written last
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlsd.envs.errors import RlsdError
from rlsd.harness import faults

MANIFEST = "MANIFEST.json"


class CheckpointError(RlsdError):
    """A checkpoint that is damaged or belongs to another run."""


def save(folder: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write a checkpoint so that it exists whole or not at all.

    Args:
        folder: final place; must not exist.
        tensors: file stem → name → tensor.
        state: JSON-able.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem, named in tensors.items():
        if named:
            plain = {k: v.detach().contiguous().clone() for k, v in named.items()}
            save_file(plain, partial / f"{stem}.safetensors")
    (partial / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))
    manifest = {p.name: {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in sorted(partial.iterdir())}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for path in partial.iterdir():
        _sync(path)
    _sync(partial)
    faults.point("before-rename")
    os.rename(partial, folder)
    _sync(folder.parent)


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors by file stem, and the state.

    Raises:
        CheckpointError: a file is missing, cut short or changed since it was written; says which.
    """
    verify(folder)
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        for path in folder.glob("*.safetensors"):
            tensors[path.stem] = load_file(path)
        return tensors, json.loads((folder / "state.json").read_text())
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
    found = _whole(parent)
    return found[-1] if found else None


def prune(parent: Path, keep: int, *, spare: set[str]) -> None:
    """Delete all but the newest `keep` checkpoints; never those named in `spare`."""
    found = _whole(parent)
    for path in found[:-keep] if keep else []:
        if path.name not in spare:
            shutil.rmtree(path)


def _whole(parent: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in parent.glob("step-*") if p.is_dir() and not p.name.endswith(".partial"))


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

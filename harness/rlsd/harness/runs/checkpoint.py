"""Checkpoints: safetensors and JSON with checksums, written to a temporary folder that is renamed when complete.

With several processes each writes its share, model-00001-of-00002.safetensors and so on: the rows (and with tensor
parallelism columns) it has of sharded tensors, numbered in the file's header, and every n-th of the whole ones. Any
number of processes can read them back.

checkpoints/step-000040/
    model.safetensors      trained weights (the adapter's alone with LoRA)
    optimizer.safetensors  first and second moments by weight name
    teacher.safetensors    teacher weights that differ from the model's, if any
    critic.safetensors     weights and moments of the critic, if any
    state.json             counters, the best evaluation and the last one
    MANIFEST.json          size and SHA-256 of each file; written last
"""

from __future__ import annotations

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
from rlsd.harness import fail_points, manifest
from rlsd.harness.distributed import Ranks, held
from rlsd.harness.manifest import MANIFEST as MANIFEST

ALONE = Ranks()


class CheckpointError(RlsdError):
    """A checkpoint that is damaged, belongs to another run or cannot be written."""


class Stored(Mapping[str, Tensor]):
    """The tensors of one file stem by name, read on access and joined from the shares of all processes."""

    def __init__(self, files: list[Path]) -> None:
        self._files = [safe_open(path, framework="pt") for path in files]
        self._pieces: dict[str, dict[tuple[int, int], int]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        for i, file in enumerate(self._files):
            header = file.metadata() or {}
            rows, columns = json.loads(header.get("rows", "{}")), json.loads(header.get("columns", "{}"))
            for name in file.keys():  # noqa: SIM118 (no mapping)
                (row, height), (column, width) = rows.get(name, (0, -1)), columns.get(name, (0, -1))
                self._pieces.setdefault(name, {})[row, column] = i  # processes may have the same part
                self._sizes[name] = height, width

    def __getitem__(self, name: str) -> Tensor:
        """
        Raises:
            CheckpointError: a part is missing.
        """
        height, width = self._sizes[name]
        bands: dict[int, list[tuple[int, Tensor]]] = {}
        for (row, column), i in sorted(self._pieces[name].items()):
            bands.setdefault(row, []).append((column, self._files[i].get_tensor(name)))
        rows = [(row, _joined(name, band, 1, width)) for row, band in bands.items()]
        return _joined(name, rows, 0, height)

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
    files = {name: entry for mine in ranks.gather(manifest.entries(written)) for name, entry in mine.items()}
    if ranks.main:
        manifest.write(partial, files)
        fail_points.point("before-rename")
        os.rename(partial, folder)
        manifest.sync(folder.parent)
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
    if found := manifest.problem(folder):
        raise CheckpointError(f"checkpoint {folder} {found}; delete the folder to resume from an older checkpoint")


def latest(parent: Path) -> Path | None:
    """The newest whole checkpoint folder below `parent`.

    Raises:
        CheckpointError: the newest one, or the folder of all, is a link to nothing, or no folder: an older checkpoint
            would be taken, or none.
    """
    if parent.is_symlink() and not parent.exists():
        raise CheckpointError(
            f"{parent} is a link to {os.readlink(parent)}, which is gone; put it back or delete the link"
        )
    found = _finished(parent)
    if found and not found[-1].is_dir():
        raise CheckpointError(
            f"checkpoint {found[-1]} is no folder, or a link to one that is gone; put it back, or delete it to resume "
            "from an older checkpoint"
        )
    return found[-1] if found else None


def prune(parent: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints; of a link the link alone."""
    folders = _finished(parent)
    for path in folders[:-keep] if keep else []:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)


def _finished(parent: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in parent.glob("step-*") if re.fullmatch(r"step-\d+", p.name))


def _write(stem: Path, named: dict[str, Tensor], ranks: Ranks) -> Path | None:
    """Write this process's share of some tensors; None if it has none of them."""
    plain: dict[str, Tensor] = {}
    places: dict[str, dict[str, tuple[int, int]]] = {"rows": {}, "columns": {}}
    for i, (name, value) in enumerate(named.items()):
        mine, place = held(value.detach())
        if isinstance(value, DTensor):
            if not mine.numel():
                continue
            for side, part, size in zip(places.values(), place, value.shape):
                if side is places["rows"] or part != slice(0, size):
                    side[name] = (part.start, size)
        elif i % ranks.world != ranks.rank:
            continue
        plain[name] = mine.to("cpu", copy=True).contiguous()  # a copy on the GPU might not fit beside the run
    if not plain:
        return None
    path = stem.with_name(stem.name + ".safetensors")
    save_file(plain, path, {side: json.dumps(found) for side, found in places.items() if found} or None)
    return path


def _joined(name: str, parts: list[tuple[int, Tensor]], dim: int, size: int) -> Tensor:
    """Parts of a tensor, each with its first index in dimension `dim`; -1 is the size of one that is not divided."""
    at = 0
    for start, part in parts if size >= 0 else []:
        at = at + part.shape[dim] if start == at else -1
    if at != max(0, size):
        raise CheckpointError(f"the checkpoint holds only a part of {name}; delete it to use an older one")
    return torch.cat([part for _, part in parts], dim) if size >= 0 else parts[0][1]

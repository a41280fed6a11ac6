"""MANIFEST.json of a folder: size and SHA-256 of each file, written last and compared when the folder is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST.json"


def entries(paths: Iterable[Path]) -> dict[str, Any]:
    """Name → size and SHA-256 of files, which are on the disk afterwards."""
    found = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths}
    for path in paths:
        sync(path)
    return found


def write(folder: Path, files: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of a folder's files, or of the `entries` given."""
    if files is None:
        files = entries([path for path in folder.iterdir() if path.is_file()])
    (folder / MANIFEST).write_text(json.dumps(dict(sorted(files.items())), indent=1))
    sync(folder / MANIFEST)
    sync(folder)


def problem(folder: Path) -> str | None:
    """The first difference between a folder and its manifest, as the end of a sentence about the folder; None if there
    is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        listed = {str(name): (entry["bytes"], entry["sha256"]) for name, entry in manifest.items()}
        present = {path.name for path in folder.iterdir()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"has no readable {MANIFEST}"
    if unlisted := sorted(present - {MANIFEST, *listed}):
        return f"holds {unlisted[0]}, which is not in its {MANIFEST}"
    for name, (size, digest) in listed.items():
        path = folder / name
        if not path.is_file():
            return f"lacks {name}"
        try:
            if path.stat().st_size != size or sha256(path) != digest:
                return f"is damaged: {name} is corrupt (SHA-256 differs from {MANIFEST})"
        except OSError as error:
            return f"cannot be read: {name}: {error.strerror}"
    return None


def sha256(path: Path) -> str:
    """Hex digits of a file's hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The lower bound of every direct dependency in pyproject.toml as a constraint: what `make test-oldest` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

APART = {"torch"}
"""Installed by itself, in the one version that the Makefile names."""


def oldest(pyproject: Path) -> list[str]:
    """Lines `name==version` for the package and its `dev` extra."""
    project = tomllib.loads(pyproject.read_text())["project"]
    bounds = sorted({*project["dependencies"], *project["optional-dependencies"]["dev"]})
    found = [re.fullmatch(r"([\w.-]+)>=([\w.]+)", bound) for bound in bounds]
    assert all(found), f"expected name>=version alone, got {bounds}"
    return [f"{m[1]}=={m[2]}" for m in found if m and m[1] not in APART]


if __name__ == "__main__":
    print("\n".join(oldest(Path(__file__).resolve().parents[2] / "pyproject.toml")))

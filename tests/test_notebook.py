"""docs/notebooks/first_run.ipynb works from its first cell to its last, in a smaller setting; it has no outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "docs" / "notebooks" / "first_run.ipynb"


def _texts(cell: Any) -> str:
    return "".join(out.get("text", "") for out in cell.outputs)


def _kinds(cell: Any) -> set[str]:
    return {kind for out in cell.outputs for kind in out.get("data", {})}


def test_the_notebook_is_valid_and_has_no_outputs() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("configs", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, size in {"ITERATIONS": 1, "GAMES": 2, "HELD_OUT": 6}.items():
        monkeypatch.setenv(f"RLSD_NOTEBOOK_{name}", str(size))
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, trained, curves, coloured, compared = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert (tmp_path / "runs" / "notebook" / "rlsd" / "metrics.jsonl").is_file(), _texts(trained)
    assert "image/png" in _kinds(curves)
    assert "text/html" in _kinds(coloured)
    (html,) = [out["data"]["text/html"] for out in coloured.outputs if "text/html" in out.get("data", {})]
    assert html.count("<span style='background:rgba(") > 10
    assert "McNemar" in str(compared.outputs)
    assert "of 6 held-out games" in _texts(compared)

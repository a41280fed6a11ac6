"""docs/configs.md, docs/cli.md and the tables of docs/algorithms.md and docs/install.md are what the code says; every
key and option says what it means."""

from __future__ import annotations

import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.listing import method_text

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configs.md", "cli.md", "algorithms.md", "install.md"])
def test_the_page_is_what_the_code_says(generate: Any, page: str) -> None:
    assert (DOCS / page).read_text() == generate.PAGES[page](), "run `make docs-generate`"


@pytest.mark.parametrize("page", ["configs.md", "cli.md"])
def test_every_row_has_a_meaning(generate: Any, page: str) -> None:
    rows = [line for line in generate.PAGES[page]().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_a_key_shows_type_default_and_meaning(generate: Any) -> None:
    page = generate.configs_page()
    assert "| `reduce` | `mean` \\| `sum` | `mean` | How a unit's Δ are pooled;" in page
    assert "| `slope` | number | `1.0` |" in page
    assert "| `model` | block | (must be given) |" in page
    assert "### `algorithm.credit.lam`, `algorithm.loss.distill.coef`" in page


def test_an_option_shows_type_default_and_meaning(generate: Any) -> None:
    page = generate.cli_page()
    assert "## rlsd serve env\n" in page
    assert "| `--port` | whole number | `8017` | 0 takes a free one and prints it. |" in page
    assert "| `--hashes`, `--no-hashes` | switch | `--hashes` |" in page
    assert "| `--set` | text |  | Change one setting: --set learner.lr=1e-5. May be given several times. |" in page


def test_the_shown_method_is_what_the_command_prints() -> None:
    page = (DOCS / "algorithms.md").read_text()
    assert f"$ rlsd methods rlsd\n{method_text('rlsd')}\n```" in page


def test_a_comment_ends_before_its_commands(generate: Any) -> None:
    assert generate.first_comment("# One.\n# Two.\n#   rlsd train\nseed: 1\n") == "One. Two."
    assert generate.first_comment("# One. In two shells:\n#   rlsd train\n") == "One."
    assert generate.first_comment("# Success by set:\n#   rlsd eval\n") == "Success by set."


def test_every_extra_is_explained_in_the_readme_and_no_other(generate: Any) -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    purposes = generate.extra_purposes((DOCS.parent / "README.md").read_text())
    assert set(purposes) == set(project["optional-dependencies"])
    assert all(purposes.values())

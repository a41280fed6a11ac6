"""What `make docs` builds: every page is in the navigation, methods have pages made from the code, links lead to pages,
nothing is loaded from other hosts. The build itself is part of .ci/run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from rlsd.algorithms import METHODS, AdvantageConfig, CreditConfig, DistillConfig, LossConfig
from rlsd.algorithms.blocks import SQUASHES
from rlsd.algorithms.divergence import DIVERGENCES
from rlsd.algorithms.gates import GATES
from rlsd.algorithms.signals import SIGNALS
from rlsd.algorithms.token_weights import AGGREGATIONS
from tests.support.doc_blocks import ROOT, blocks_of, fault, shell_lines

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hooks() -> Iterator[Any]:
    sys.path.append(str(DOCS))
    yield import_module("site_hooks")
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def pages(hooks: Any) -> Any:
    return import_module("method_pages")


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose slugs are a Python object."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def _nav(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    for inner in entry.values() if isinstance(entry, dict) else entry:
        yield from _nav(inner)


def test_every_page_is_in_the_navigation_once(hooks: Any) -> None:
    named = list(_nav(yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)["nav"]))
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    there = written | set(hooks.OUTSIDE.values()) | set(hooks.NOTEBOOKS)
    assert there - set(named) == set(), "add the page to `nav` in mkdocs.yml, one line"
    assert set(named) - there == set()
    assert len(named) == len(set(named))


def test_every_method_has_a_page_in_one_section(pages: Any) -> None:
    named = [name for names in pages.grouped().values() for name in names]
    assert sorted(named) == sorted(METHODS)
    assert all(pages.grouped().values())


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_page_has_its_parts_and_commands_that_work(
    pages: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = pages.method_page(name)
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    differs = ["What differs from the source"] if METHODS[name].differs not in ("", "ours") else []
    assert sections == ["Formula", "Settings", *differs, "What to expect", "Use it"]
    lines = [line for b in blocks_of(name, text) if b.language in ("bash", "console") for line in shell_lines(b)]
    assert len(lines) == 2
    assert [found for line in lines if (found := fault(line))] == []


def test_a_methods_page_has_the_equations_of_its_parts(pages: Any) -> None:
    text = pages.method_page("rlsd")
    assert "grpo   A_i = (R_i − mean_G R) / (std_G R + 1e-6)" in text
    assert "multiply   Â_t = A (1 + λ g_t (w_t − 1)) = A m_t" in text
    assert "turn_token   m_t = (1 − λ) + λ c(e_k) c(Δ_t) / mean_{u∈k} c(Δ_u):\n" in text
    assert "the mean of m over the turn is exactly its turn value" in text
    assert "Δ_t = log π_T(y_t) − log π_S(y_t)" in text
    general = pages.method_page("progress")
    assert "x = direction · slope · (scaled e − shift)" in general
    assert "linear   1 + x" in general
    assert "x = direction" not in text
    assert "forward_kl   Σ_v T(v) log T(v)/S(v)" in pages.method_page("opsd")
    assert "V(s) = mean over the visits of γ^{T−k} R" in pages.method_page("g2po")


def test_a_methods_page_says_what_it_needs_and_what_was_measured(pages: Any) -> None:
    rlsd, grpo, opsd = map(pages.method_page, ("rlsd", "grpo", "opsd"))
    assert "λ falls to 0 in 50 iterations" in rlsd
    assert "success, %: 63.3; minus the warm start, points [95 %]: +17.1 [+11.7, +22.4]" in rlsd
    assert "No teacher pass" in grpo
    assert rlsd.count("Measured on") == grpo.count("Measured on") == 3
    assert "`progress` and `progress_add` beat GRPO by" in pages.method_page("progress")
    assert "](../../results/README.md#study-of-the-quickstart" in pages.method_page("progress_add")
    assert "servers cannot score its teacher" in opsd
    assert "have no run with it" in pages.method_page("cepo")
    assert "--set algorithm.teacher.path=models/larger" in pages.method_page("kdrl")


def test_every_name_that_a_config_can_have_is_explained_at_a_modules_head(pages: Any) -> None:
    def values(model: Any, field: str) -> tuple[str, ...]:
        return get_args(model.model_fields[field].annotation)

    named = [
        *(("advantage", name) for name in values(AdvantageConfig, "method")),
        *(("credit", name) for name in values(CreditConfig, "combine")),
        *(("rlsd", name) for name in values(CreditConfig, "level")),
        *(("blocks", name) for name in (*SQUASHES, "softmax")),
        *(("signals", name) for name in SIGNALS),
        *(("gates", name) for name in GATES),
        *(("loss", name) for name in values(LossConfig, "policy")),
        *(("divergence", name) for name in DIVERGENCES),
        *(("distill", n) for n in values(DistillConfig, "kind") if n not in ("none", *DIVERGENCES)),
        *(("token_weights", name) for name in AGGREGATIONS),
    ]
    assert len(named) > 60
    assert [one for one in named if not pages.equations(*one)] == []
    with pytest.raises(AssertionError, match="no row 'nothing'"):
        pages.equations("advantage", "nothing")


def test_links_of_method_pages_lead_to_headings(pages: Any) -> None:
    links = {link for name in METHODS for link in re.findall(r"\]\((\.\./[^)]+)\)", pages.method_page(name))}
    assert len(links) >= 6
    for link in links:
        path, _, anchor = link.removeprefix("../").partition("#")
        headings = re.findall(r"^#+ (.*)$", (DOCS / path).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, link


PAGES = {"index.md", "concepts.md", "changelog.md", "results/README.md", "howto/model.md", "notebooks/first_run.md"}


@pytest.mark.parametrize(
    ("source", "page", "given", "expected"),
    [
        ("docs/concepts.md", "concepts.md", "[r](../results/README.md#a)", "[r](results/README.md#a)"),
        ("docs/howto/model.md", "howto/model.md", "[c](../concepts.md)", "[c](../concepts.md)"),
        ("CHANGELOG.md", "changelog.md", "[c](docs/concepts.md#x)", "[c](concepts.md#x)"),
        ("results/README.md", "results/README.md", "[c](../CHANGELOG.md)", "[c](../changelog.md)"),
        ("docs/concepts.md", "concepts.md", "[home](../README.md#known-limits)", "[home](index.md#known-limits)"),
        ("docs/concepts.md", "concepts.md", "[n](notebooks/first_run.ipynb)", "[n](notebooks/first_run.md)"),
        (
            "docs/concepts.md",
            "concepts.md",
            "[code](../harness/x.py) and [w](https://a.b)",
            "code and [w](https://a.b)",
        ),
        ("docs/concepts.md", "concepts.md", "`[c](x.md)` [h](#here)", "`[c](x.md)` [h](#here)"),
        ("docs/concepts.md", "concepts.md", "```text\n[c](x.md)\n```\n", "```text\n[c](x.md)\n```\n"),
    ],
)
def test_links_between_files_become_links_between_pages(
    hooks: Any, source: str, page: str, given: str, expected: str
) -> None:
    assert hooks.with_links(given, source, page, PAGES) == expected


def _text_lines(text: str) -> Iterator[tuple[str, str]]:
    """(line before, line) of a page, blocks left out."""
    lines = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    return zip(["", *lines], lines)


def test_tables_and_headings_have_an_empty_line_around_them_or_the_site_would_run_them_together() -> None:
    for path in [*DOCS.rglob("*.md"), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]:
        for before, line in _text_lines(path.read_text()):
            free = (not before.strip(), not line.strip(), before.startswith("<!--"), line.startswith("<!--"))
            table = before.startswith("|") != line.startswith("|")
            item = line.startswith("* ") and not before.startswith((" ", "* "))
            assert any(free) or not (table or item or line.startswith("#")), (path.name, before, line)


def test_what_a_page_would_load_from_another_host_is_found(hooks: Any) -> None:
    page = """<link rel="stylesheet" href="assets/a.css"><link rel="canonical" href="https://x.y/">
    <script src="https://cdn.x/a.js"></script><img src="//x.y/b.png"><a href="https://arxiv.org/">paper</a>
    <link rel="stylesheet" href="https://fonts.x/c.css"><img src="local.png">"""
    assert hooks.loaded(page) == ["https://cdn.x/a.js", "//x.y/b.png", "https://fonts.x/c.css"]


def test_a_site_that_loads_from_another_host_is_refused(hooks: Any, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<script src="a.js"></script>')
    assert hooks.found_elsewhere(tmp_path) == set()
    (tmp_path / "a.html").write_text('<script src="https://cdn.x/a.js"></script>')
    (tmp_path / "b.css").write_text("@import 'https://x.y/z.css'; p { background: url(data:x); }")
    assert hooks.found_elsewhere(tmp_path) == {"a.html: https://cdn.x/a.js", "b.css: https://x.y/z.css"}

"""Imports go one way: no module of the four layers imports, directly or not, one that imports it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.structure import circles, folder_graph, imports, module_graph, modules

ROOT = Path(__file__).resolve().parents[1]
KNOWN = modules(ROOT)
MODULES = module_graph(KNOWN)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert len(MODULES) > 400
    assert circles(MODULES) == []


def test_the_folders_in_a_circle_are_the_one_pair_that_is_known() -> None:
    """The registry opens environments that run elsewhere; the process that runs one opens it by the registry."""
    found = circles(folder_graph(ROOT, KNOWN, MODULES))
    assert found == [["envs/rlsd/envs/remote", "rlsd.envs.registry"]]


def test_circles_are_found_through_others() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str](), "e": {"a"}}
    assert circles(graph) == [["a", "b", "c"]]


def test_imports_inside_functions_and_of_types_alone_count(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.two import Two\n"
        "def f():\n    from p import three\n    import p.four\n"
    )
    known: dict[str, Path] = dict.fromkeys(("p", "p.two", "p.three", "p.four", "p.five"), file)
    assert sorted(imports(file, known)) == ["p.four", "p.three", "p.two"]

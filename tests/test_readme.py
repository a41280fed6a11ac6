"""README and docs name only what exists: commands, options, make targets, files, configs, settings, modules, links."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from rlsd.envs import TextEnv
from rlsd.harness.cli.app import app
from rlsd.harness.config import RunConfig, parse_config
from rlsd.harness.suite.plan import SuiteConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
GENERATED = ("docs/configs.md", "docs/cli.md")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FOLDERS = "agents|algorithms|benchmarks|checkpoints|configs|docs|envs|examples|harness|results|tests"


def _blocks(*languages: str, pages: Any = PAGES) -> Iterator[tuple[str, str]]:
    """(page, text) of every fenced block in one of these languages."""
    for page in pages:
        for language, text in BLOCK.findall(PAGES[page]):
            if language in languages:
                yield page, text


def _shell_lines(pages: Any = PAGES) -> list[str]:
    lines: list[str] = []
    for _, text in _blocks("bash", "console", pages=pages):
        lines += [line.strip().removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return lines


def _rlsd_lines(pages: Any = PAGES) -> list[list[str]]:
    """Words after `rlsd` of every command line shown, comments left out."""
    found = (re.search(r"(?:^|\| |-- )rlsd (.*)$", line) for line in _shell_lines(pages))
    return [shlex.split(match[1], comments=True) for match in found if match]


def _code_spans() -> set[tuple[str, str]]:
    """(page, text) of everything in single backticks outside of blocks."""
    return {(page, span) for page, text in PAGES.items() for span in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))}


def _options(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}


def _inner_model(annotation: Any) -> Any:
    """The config block that a field holds, or None."""
    return next(
        (t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)), None
    )


def _is_setting(name: str) -> bool:
    """Whether a dotted name leads to a key of a run's config; below a free mapping anything does."""
    model: Any = RunConfig
    for part in name.split("."):
        if part not in model.model_fields:
            return False
        annotation = model.model_fields[part].annotation
        if "dict" in str(annotation):
            return True
        model = _inner_model(annotation) or BaseModel
    return True


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 260


def test_every_command_is_shown_on_a_page_that_people_wrote() -> None:
    shown = _rlsd_lines([page for page in PAGES if page not in GENERATED])
    assert {words[0] for words in shown} == set(COMMANDS)
    for group, command in COMMANDS.items():
        if hasattr(command, "commands"):
            assert {words[1] for words in shown if words[0] == group} == set(command.commands)


@pytest.mark.parametrize("words", _rlsd_lines(), ids=" ".join)
def test_shown_commands_have_these_options(words: list[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    command = COMMANDS[name]
    if hasattr(command, "commands"):  # a group: rlsd serve search
        name, *rest = rest
        assert name in command.commands
        command = command.commands[name]
    ours = rest[: rest.index("--")] if "--" in rest else rest  # behind it: options of vLLM, handed on
    assert {w.partition("=")[0] for w in ours if w.startswith("--")} <= _options(command)


@pytest.mark.parametrize("words", _rlsd_lines(), ids=" ".join)
def test_shown_settings_exist(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option == "--set":
            assert _is_setting(value.partition("=")[0]), value


def test_settings_named_in_the_text_exist() -> None:
    spans = {(page, re.split(r"[:=] ?", span)[0]) for page, span in _code_spans()}
    dotted = {(page, name) for page, name in spans if re.fullmatch(r"[a-z]\w*(\.\w+)+", name)}
    named = {(page, name) for page, name in dotted if name.split(".")[0] in RunConfig.model_fields}
    assert len(named) > 50
    unknown = {(page, name) for page, name in named if not _is_setting(name)}
    assert {u for u in unknown if not (u[1].startswith("env.") and hasattr(TextEnv, u[1][4:]))} == set()


def test_commands_named_in_the_text_exist() -> None:
    named = {words for _, span in _code_spans() if (words := tuple(span.split()))[0] == "rlsd" and len(words) > 1}
    assert len(named) > 10
    others = ("--version", "--install-completion", "--show-completion", "COMMAND")
    assert {words for words in named if words[1] not in COMMANDS and words[1] not in others} == set()


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [*_shell_lines(), *(span for _, span in _code_spans())]
    named = {m for line in lines for m in re.findall(r"^make ([a-z-]+)", line)}
    assert {"quickstart", "test", "check", "docs-generate"} <= named <= targets


def test_every_phony_target_is_explained_to_contributors() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert [
        t for t in phony if t not in ("quickstart", "versions") and f"make {t}" not in PAGES["CONTRIBUTING.md"]
    ] == []


def test_named_files_exist() -> None:
    named = {
        (page, path.rstrip("."))
        for page, text in PAGES.items()
        for path in re.findall(rf"(?<![\w/.:-])((?:{FOLDERS})/[\w./-]*\w/?)", text)
    }
    assert len(named) > 60
    assert {(page, path) for page, path in named if not (ROOT / path).exists()} == set()


def test_named_modules_can_be_imported() -> None:
    named = {span for _, span in _code_spans() if re.fullmatch(r"rlsd(\.\w+)+", span)} - {"rlsd.json", "rlsd.envs"}
    assert named
    for name in named:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


def test_the_code_map_names_every_folder_of_the_four_layers() -> None:
    tree = next(text for page, text in _blocks("") if page == "docs/concepts.md" and text.startswith("envs/rlsd/envs/"))
    named = {line.split("  ")[0] for line in tree.splitlines()}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    for layer in ("envs", "agents", "algorithms", "harness"):
        for folder in (ROOT / layer / "rlsd").rglob("*/"):
            if (folder / "__init__.py").is_file():
                assert f"{folder.relative_to(ROOT)}/" in named


def test_shown_yaml_is_a_config() -> None:
    shown = list(_blocks("yaml"))
    assert len(shown) >= 4
    for _, text in shown:
        data = yaml.safe_load(text)
        if "agents" in data:
            assert SuiteConfig.model_validate(data)
            continue
        assert parse_config({"model": {"path": "checkpoints/warm_tiny"}, **data})


def test_internal_links_resolve() -> None:
    links = [
        (page, *link.partition("#")[::2])
        for page, text in PAGES.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", text))
        if not link.startswith(("http://", "https://"))
    ]
    assert len(links) > 30
    for page, path, anchor in links:
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), (page, path)
        if anchor:
            assert anchor in _anchors(target.read_text()), (page, path, anchor)


def _anchors(text: str) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

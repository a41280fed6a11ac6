"""The README names only what exists: commands, options, make targets, files, configs, settings."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rlsd.harness.cli.app import app
from rlsd.harness.config import RunConfig

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _shell_lines() -> list[str]:
    lines: list[str] = []
    for language, text in BLOCKS:
        if language in ("bash", "console"):
            lines += [line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return lines


def _rlsd_lines() -> list[list[str]]:
    """Words after `rlsd` of every command line shown, comments left out."""
    found = []
    for line in _shell_lines():
        match = re.search(r"(?:^|\| )rlsd (.*)$", line)
        if match:
            found.append(shlex.split(match[1], comments=True))
    return found


def _options(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}


def test_every_command_is_shown() -> None:
    assert {words[0] for words in _rlsd_lines()} == set(COMMANDS)
    for group, command in COMMANDS.items():
        if hasattr(command, "commands"):
            assert {words[1] for words in _rlsd_lines() if words[0] == group} == set(command.commands)


@pytest.mark.parametrize("words", _rlsd_lines(), ids=" ".join)
def test_shown_commands_have_these_options(words: list[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    command = COMMANDS[name]
    if hasattr(command, "commands"):  # a group: rlsd serve search
        name, *rest = rest
        assert name in command.commands
        command = command.commands[name]
    given = {w.partition("=")[0] for w in rest if w.startswith("--")}
    assert given <= _options(command)


@pytest.mark.parametrize("words", _rlsd_lines(), ids=" ".join)
def test_shown_settings_exist(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option != "--set":
            continue
        model: Any = RunConfig
        for part in value.partition("=")[0].split("."):
            assert part in model.model_fields, value
            types = [model.model_fields[part].annotation]
            types += getattr(types[0], "__args__", ())
            model = next((t for t in types if hasattr(t, "model_fields")), None)


def test_shown_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {m for line in _shell_lines() for m in re.findall(r"^make ([a-z-]+)", line)}
    assert shown
    assert shown <= targets


def test_every_config_has_a_row_and_every_row_a_config() -> None:
    rows = set(re.findall(r"^\| `(configs/[^`]+)`", README, re.MULTILINE))
    assert rows == {str(p.relative_to(ROOT)) for p in (ROOT / "configs").rglob("*.yaml")}


def test_rows_name_the_right_algorithm() -> None:
    for path, algorithm in re.findall(r"^\| `(configs/[^`]+)` \| `([^`]+)`", README, re.MULTILINE):
        value = yaml.safe_load((ROOT / path).read_text()).get("algorithm", "rlsd")
        assert (value if isinstance(value, str) else value["name"]) == algorithm


def test_the_file_tree_exists() -> None:
    tree = next(text for _, text in BLOCKS if text.startswith("envs/rlsd/envs/"))
    for line in tree.splitlines():
        for name in line.split("  ")[0].split():
            assert (ROOT / name).exists(), name


def test_shown_yaml_is_yaml_with_known_keys() -> None:
    for language, text in BLOCKS:
        if language == "yaml":
            assert set(yaml.safe_load(text)) <= set(RunConfig.model_fields)

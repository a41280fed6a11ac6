"""The fenced blocks of README and docs, and what is wrong with a line of a shell block."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import typer

from rlsd.envs.errors import RlsdError
from rlsd.harness.cli.app import app
from rlsd.harness.config import load_config

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<why>.+?) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
ROOT_COMMAND: Any = typer.main.get_command(app)
ELSEWHERE = (
    "openai:",
    "vllm:",
    "example.com",
    "rlsd fetch",
    "rlsd serve",
    "alfworld-download",
    "sampler.urls=",
    "http://127.0.0.1",
)
"""What makes a block need a server, an endpoint or a network: it has to be marked `<!-- not run: why -->`."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: str
    """From the repository root."""
    line: int
    """Line of its first fence, counted from 1."""
    language: str
    text: str
    why: str | None
    """Why it cannot run here, as its mark says."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    """All blocks of a page, in order."""
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            text=dedent(match["text"]),
            why=match["why"],
        )
        for match in FENCE.finditer(text)
    ]


def all_blocks() -> list[Block]:
    """Blocks of README, CONTRIBUTING, SECURITY and of every page below docs/."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [block for page in pages for block in blocks_of(str(page.relative_to(ROOT)), page.read_text())]


def shell_lines(block: Block) -> list[str]:
    """Commands of a `bash` block, or those behind `$ ` in a `console` block, with its variables, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    values: dict[str, str] = {}
    found = []
    for line in lines:
        if match := re.fullmatch(r'([A-Z_]+)="([^"]*)"', line.strip()):
            values[match[1]] = match[2]
            continue
        for name, value in values.items():
            line = line.replace(f"${name}", value)
        if command := re.sub(r"(^|\s)#.*", "", line).strip():
            found.append(command)
    return found


def console_output(block: Block, line: str) -> list[str]:
    """The lines that a `console` block shows below a command; `…` alone stands for lines left out."""
    rest = re.split(rf"^\$ {re.escape(line)}.*\n", block.text.replace("\\\n", " "), maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^\$ ", rest, maxsplit=1, flags=re.MULTILINE)[0].splitlines()


def rlsd_words(line: str) -> list[str] | None:
    """The words after `rlsd` of a command line; None if it calls something else."""
    match = re.search(r"(?:^|\| |-- )(?:[A-Z_]+=\S+ )*rlsd (.*)$", line)
    return shlex.split(match[1], comments=True) if match else None


def fault(line: str) -> str | None:
    """What is wrong with a command line, in words; None if nothing is."""
    words = rlsd_words(line)
    if words is not None:
        return rlsd_fault(words)
    words = shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line), comments=True)
    if words[0] == "make":
        return make_fault(words[1])
    if words[:2] == ["pip", "install"]:
        return pip_fault(words[2:])
    if words[0].endswith("python"):
        return python_fault(words[1:])
    return f"unknown command {words[0]!r}"


def rlsd_fault(words: list[str]) -> str | None:
    """Parse a command line as the command line does, without running it; a config it names is read and checked too."""
    command, rest, name = ROOT_COMMAND, list(words), "rlsd"
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"unknown command {name!r}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        return None if rest and rest[0] in {o for p in command.params for o in p.opts} else f"no command in {words}"
    try:
        context = command.make_context(name, rest, resilient_parsing=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return error.format_message()  # type: ignore[attr-defined]
    return config_fault(context.params) if name in ("train", "eval", "exam", "diagnose") else None


def config_fault(parameters: dict[str, Any]) -> str | None:
    """What is wrong with a shipped config and the settings given to it; other configs are the reader's own."""
    path = parameters.get("config")
    if path is None or not str(path).startswith("configs/"):
        return None
    try:
        overlays = [ROOT / overlay for overlay in parameters.get("with_") or []]
        own = [setting for setting in parameters.get("set_") or [] if "my_" not in setting]
        load_config(ROOT / path, own, overlays)
    except (RlsdError, click.ClickException) as error:
        return str(error)
    return None


def make_fault(target: str) -> str | None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return None if target in targets else f"no make target {target!r}"


def pip_fault(packages: list[str]) -> str | None:
    """rlsd with extras that exist must be among the packages."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    ours = [match for word in packages if (match := re.fullmatch(r"rlsd(?:\[([\w,-]+)\])?", word))]
    if not ours:
        return f"pip installs {packages}, expected rlsd"
    unknown = {name for match in ours for name in (match[1] or "").split(",")} - extras - {""}
    return f"no extra {unknown}" if unknown else None


def python_fault(words: list[str]) -> str | None:
    if words[0] == "-m":
        return None if importlib.util.find_spec(words[1]) else f"no module {words[1]!r}"
    return None if (ROOT / words[0]).is_file() else f"no file {words[0]!r}"

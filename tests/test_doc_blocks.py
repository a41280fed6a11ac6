"""Every block of README and docs: Python runs, data loads, command lines parse, quick commands run and print what is
shown, and blocks that need a server, an endpoint or a network are marked and counted."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from typer.testing import CliRunner

from rlsd.harness.cli.app import app
from rlsd.harness.config import parse_config
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.train import train
from tests.support.doc_blocks import (
    ELSEWHERE,
    ROOT,
    ROOT_COMMAND,
    Block,
    all_blocks,
    blocks_of,
    console_output,
    fault,
    rlsd_words,
    shell_lines,
)

BLOCKS = all_blocks()
SHELL = [b for b in BLOCKS if b.language in ("bash", "console")]
OWN_TEST = ("docs/extending.md", "docs/environments.md")
"""Their Python blocks are files, run by tests/test_extending.py and tests/test_examples.py."""
PYTHON = [b for b in BLOCKS if b.language == "python" and b.page not in OWN_TEST]
QUICK = (
    *(
        "methods",
        "power --points 5 --rate 45",
        "profile list",
        "profile show",
        "envs --protocols",
        "new-env",
        "new-method",
    ),
    *("check-env examples/coin_env.py", "check-env lights/", "play rlsd/Keys", "eval --env examples/coin_env.py"),
    *("eval --env rlsd/Keys-v0 --agent random", "eval --env lights/", "compare random.json explorer.json"),
    *("eval --env rlsd/ALFWorld-v0 --arg games=gen-tiny --agent explorer", "report runs/rlsd"),
    "eval --env rlsd/ALFWorld-v0 --arg games=gen-tiny --agent random",
)
"""Beginnings of command lines that take seconds: these really run, page by page, in one folder a page."""


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration, for blocks that read one."""
    folder = tmp_path_factory.mktemp("tiny") / "rlsd"
    config = {
        "iterations": 1,
        "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny", "max_steps": 8}},
        "model": {"path": str(ROOT / "checkpoints" / "warm_tiny")},
        "agent": {"format": "compact", "memory": "full", "max_new_tokens": 12},
        "rollout": {"tasks_per_iteration": 2, "group_size": 4},
        "eval": {"every": 0, "at_start": False},
        "tensorboard": False,
    }
    train(parse_config(config), folder)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a checkout in which `runs/rlsd` and `runs/grpo` were trained; Python imports from it."""
    for name in ("configs", "checkpoints", "examples", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "runs").mkdir()
    for name in ("rlsd", "grpo"):
        (tmp_path / "runs" / name).symlink_to(tiny_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_blocks_are_of_languages_that_are_checked() -> None:
    assert {b.language for b in BLOCKS} == {"python", "bash", "console", "yaml", "toml", "json", "jinja", "text", ""}
    assert len(BLOCKS) > 100


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(checkout: Path, block: Block) -> None:
    code = compile(block.text, str(block), "exec")
    if block.why is None:
        exec(code, {"__name__": "__main__"})


def test_pages_with_python_are_known() -> None:
    assert len(PYTHON) >= 7
    assert {b.page for b in BLOCKS if b.language == "python"} - {b.page for b in PYTHON} == set(OWN_TEST)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "toml", "json", "jinja")], ids=str)
def test_data_loads(block: Block) -> None:
    readers: dict[str, Any] = {"yaml": yaml.safe_load, "toml": tomllib.loads, "jinja": jinja2.Template}
    readers["json"] = lambda text: [json.loads(line) for line in text.splitlines()]
    assert readers[block.language](block.text)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_line_of_a_shell_block_parses(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs name models and prompt files from there
    lines = shell_lines(block)
    assert lines
    assert {line: found for line in lines if (found := fault(line))} == {}


def _is_quick(line: str) -> bool:
    words = rlsd_words(line)
    return words is not None and " ".join(words).startswith(QUICK)


QUICK_PAGES = sorted({b.page for b in SHELL if not b.why and any(map(_is_quick, shell_lines(b)))})


@pytest.mark.parametrize("page", QUICK_PAGES)
def test_quick_commands_run_and_print_what_is_shown(checkout: Path, page: str) -> None:
    ran = 0
    for block in (b for b in SHELL if b.page == page and not b.why):
        for line in filter(_is_quick, shell_lines(block)):
            words, typed = rlsd_words(line), re.match(r"printf '(.*)' \| ", line)
            if words and words[0] == "new-env" and (checkout / words[1]).exists():
                continue  # the page shows it twice
            done = CliRunner().invoke(app, words, input=typed[1].replace("\\n", "\n") if typed else "quit\n")
            assert done.exit_code == 0, (line, done.output, done.exception)
            if block.language == "console":
                assert missing(console_output(block, line), done.output) == [], (str(block), done.output)
            ran += 1
    assert ran


def missing(shown: list[str], printed: str) -> list[str]:
    """Shown lines that were not printed, in this order. A narrow terminal may have wrapped long ones."""
    lines, lost = iter([line.rstrip() for line in printed.splitlines()]), []
    wrapped = " ".join(printed.split())
    for line in shown:
        if line.strip() in ("…", ""):
            continue
        if not any(line.rstrip() == other for other in lines) and (len(line) < 80 or line.strip() not in wrapped):
            lost.append(line)
    return lost


def test_most_pages_with_commands_have_some_that_run() -> None:
    assert len(QUICK_PAGES) >= 8
    assert {"README.md", "docs/concepts.md", "docs/faq.md", "docs/howto/environment.md"} <= set(QUICK_PAGES)


def test_blocks_that_need_a_server_or_a_network_are_marked_and_counted() -> None:
    needs = {b for b in SHELL if any(word in line for line in shell_lines(b) for word in ELSEWHERE)}
    marked = {b for b in BLOCKS if b.why}
    assert [str(b) for b in sorted(needs - marked, key=str)] == []
    assert [str(b) for b in sorted(marked - needs, key=str) if b.language != "python"] == []
    assert Counter(b.page for b in marked) == {
        "docs/adapters.md": 4,
        "docs/alfworld_parity.md": 1,
        "docs/environments.md": 2,
        "docs/evaluation.md": 2,
        "docs/sampling.md": 1,
        "docs/searchqa.md": 1,
        "docs/webshop.md": 1,
    }


TASK_PAGES = (
    "docs/faq.md",
    "docs/first_run.md",
    *sorted(f"docs/howto/{p.name}" for p in (ROOT / "docs/howto").glob("*")),
)


def test_options_named_in_answers_and_how_tos_exist() -> None:
    options = {
        name for command in leaves(ROOT_COMMAND) for p in command.params for name in (*p.opts, *p.secondary_opts)
    }
    named = {
        (page, option)
        for page in TASK_PAGES
        for option in re.findall(r"`(?:rlsd [a-z -]*)?(--[a-z-]+)", (ROOT / page).read_text())
    }
    assert len(named) >= 8
    assert {one for one in named if one[1] not in options} == set()


def leaves(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from leaves(inner)


def test_metrics_named_as_symptoms_are_metrics_of_a_run(tiny_run: Path) -> None:
    page = (ROOT / "docs" / "howto" / "not_learning.md").read_text()
    tables = [table for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE) if table.startswith("| look at")]
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()[2:]]
    named = {name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}
    assert len(named) >= 12
    record = next(r for r in read_metrics(tiny_run / "metrics.jsonl") if r["kind"] == "train")
    paths = {
        *record,
        *(f"{key}.{inner}" for key, value in record.items() if isinstance(value, dict) for inner in value),
    }
    assert named - paths == set()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("rlsd trian configs/quickstart.yaml", "unknown command 'trian'"),
        ("rlsd train configs/quickstart.yaml --ste seed=2", "No such option"),
        ("rlsd train configs/quickstart.yaml --set learner.lrr=1", "unknown config key 'learner.lrr'"),
        ("rlsd train configs/quickstart.yaml --set seed=two", "seed"),
        ("rlsd train configs/quickstrat.yaml", "quickstrat"),
        ("rlsd train configs/quickstart.yaml --set algorithm=grop", "grop"),
        ("rlsd eval --episodes many", "--episodes"),
        ("rlsd serve serach indices/test", "unknown command 'serach'"),
        ("rlsd warm-start", "ENV"),
        ("printf 'x\\n' | rlsd plya rlsd/Keys-v0", "unknown command 'plya'"),
        ("PYTHONPATH=. rlsd train configs/quickstart.yaml --set learner.lrr=1", "learner.lrr"),
        ("torchrun --standalone -m -- rlsd train configs/quickstart.yaml --wiht x.yaml", "No such option"),
        ("make tset", "no make target 'tset'"),
        ("pip install 'rlsd[severe]'", "no extra {'severe'}"),
        ("pip install 'rlsd[serve]' 'rlsd[x-y]' 'other<3'", "no extra {'x-y'}"),
        ("pip install other", "expected rlsd"),
        ("python benchmarks/nothing.py", "no file"),
        ("python -m rlsd.envs.webshopp build real x", "no module"),
        ("conda install rlsd", "unknown command 'conda'"),
    ],
)
def test_a_broken_line_is_noticed(line: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert found.lower() in (fault(line) or "").lower()


def test_blocks_are_found_with_their_marks_and_lines() -> None:
    page = "a\n\n<!-- not run: needs a GPU -->\n```bash\nx\n```\n\n* item\n\n    ```python\n    y\n      z\n    ```\n"
    first, second = blocks_of("p.md", page)
    assert (first.line, first.language, first.text, first.why) == (4, "bash", "x\n", "needs a GPU")
    assert (second.line, second.language, second.text, second.why) == (10, "python", "y\n  z\n", None)


def test_lines_of_a_block_are_joined_and_its_variables_filled_in() -> None:
    (block,) = blocks_of("p.md", '```bash\nA="--x 1"\nrlsd eval $A \\\n    --y\n# only a comment\n```\n')
    assert [line.split() for line in shell_lines(block)] == [["rlsd", "eval", "--x", "1", "--y"]]
    (shown,) = blocks_of("p.md", "```console\n$ rlsd a\none\n…\n$ rlsd b\ntwo\n```\n")
    assert shell_lines(shown) == ["rlsd a", "rlsd b"]
    assert console_output(shown, "rlsd a") == ["one", "…"]
    assert missing(["one", "…", "three"], "one\ntwo\nfour\n") == ["three"]

"""The formats of docs/extending.md work as they stand; runs and evaluations refuse formats that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.agents.formats import FORMATS, FormatError, find_format, format_for
from rlsd.agents.types import History
from rlsd.envs.registry import make
from rlsd.envs.remote.processes import WorkerPool
from rlsd.envs.remote.wire import RemoteEnv
from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.config.renames import hint
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.iteration.parts import build, settled
from rlsd.harness.runs.progress import Progress
from rlsd.harness.runs.rundir import load_run_config
from rlsd.harness.runs.weights import NOTE, noted_agent
from rlsd.harness.train import train
from tests.support.smallest_run import BASE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text()
SECTION = PAGE[PAGE.index("## Response format and prompt") : PAGE.index("## Sampler")]
BLOCKS = dict(re.findall(r"```(python|jinja)\n(.*?)```", SECTION, re.DOTALL))


def changed(**agent: Any) -> dict[str, Any]:
    kept = {key: value for key, value in BASE["agent"].items() if key != "format"}
    return {**BASE, "save_rollouts_every": 1, "agent": {**kept, "max_new_tokens": 24, **agent}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's files."""
    (tmp_path / "my_format.py").write_text(BLOCKS["python"])
    (tmp_path / "prompt.jinja").write_text(BLOCKS["jinja"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_s_format_reads_what_it_writes(folder: Path) -> None:
    format = find_format("my_format:LINES")
    response = format.wrap("go to desk 1")
    parsed = format.parse(response)
    assert (parsed.text, parsed.valid) == ("go to desk 1", True)
    assert response[slice(*parsed.action)] == "go to desk 1"
    assert response[slice(*parsed.thought)] == "It reduces the distance to the goal.\n"
    assert not format.parse("Command:").valid


@pytest.mark.parametrize("memory", ["full", "last"])
def test_a_format_a_prompt_and_a_system_message_of_one_s_own_train_an_iteration(folder: Path, memory: str) -> None:
    own = {"format": "my_format:LINES", "prompt": "prompt.jinja", "system": "You play text games.", "memory": memory}
    data = {**changed(**own), "hindsight": {"max_tokens": 160}}
    data["model"] = {"tiny": {**BASE["model"]["tiny"], "context": 2048}}
    (folder / "run.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(SystemExit) as stop:
        main(["train", "run.yaml", "--run", "run", "--quiet"])
    assert not stop.value.code
    (record, *_) = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (record["kind"], record["step"]) == ("train", 0)
    parts = build(load_run_config(folder / "run"), model_path=str(folder / "run" / "best"))
    history = History(goal="g", observations=("You see a desk 1.",), actions=(), admissible=("go to desk 1", "look"))
    text = parts.agent.chat.decode(parts.agent.prompt(history).ids)
    assert "You play text games." in text
    assert "Give a short reason." in text
    assert "Step 1. You see a desk 1." in text
    assert ("You can: go to desk 1, look." in text) == (memory == "last")
    note = noted_agent(folder / "run" / "best")
    assert note["format"] == "my_format:LINES"
    assert Path(note["prompt"]).read_text() == BLOCKS["jinja"], "weights bring their prompt along"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_whose_environment_cannot_read_the_format_is_refused(workers: int) -> None:
    data = changed(format="search")
    config = parse_config({**data, "env": {**data["env"], "workers": workers}})
    with pytest.raises(FormatError, match=r"rlsd/ALFWorld-v0 cannot use agent\.format=search; it reads think, compact"):
        build(config)


@pytest.mark.parametrize("agent", ["hf:nowhere", "openai:http://127.0.0.1:9#m"])
def test_an_evaluation_whose_environment_cannot_read_the_format_is_refused(agent: str) -> None:
    request = EvalRequest(env="rlsd/Keys-v0", agent=agent, episodes=1, overrides=("agent.format=shop",))
    with pytest.raises(FormatError, match=r"rlsd/Keys-v0 cannot use agent\.format=shop; it reads think, compact"):
        run_eval(request, quiet=True)


def test_a_prompt_file_that_is_not_there_is_told_before_a_model_loads() -> None:
    data = {**changed(prompt="nowhere.jinja"), "model": {"path": "no-model-here"}}
    with pytest.raises(FormatError, match=r"nowhere\.jinja"):
        build(parse_config(data))


def test_an_environment_in_another_process_says_its_format() -> None:
    with WorkerPool(1) as pool:
        env = pool.open("rlsd/SearchQA-v0", questions="gen-tiny", format="tool")
        assert (env.response_format, env.accepts_formats) == ("tool", ("search", "tool", "compact"))
        plain = pool.open("tests.support.plain_worlds:Plain")
        assert (plain.response_format, plain.accepts_formats) == (None, None)


class OldServer:
    """Tells of an environment what servers told before there were response formats."""

    def ask(self, op: str, given: dict[str, Any]) -> Any:
        assert op == "about"
        return {"max_chars": 100}

    def close(self) -> None:
        pass

    abandon = close


def test_an_environment_behind_an_older_server_takes_any_format() -> None:
    env = RemoteEnv(OldServer())
    assert [format_for(name, env, env_id="x") for name in FORMATS] == list(FORMATS)
    assert format_for("auto", env, env_id="x") == "think"


def test_auto_is_settled_by_the_environment() -> None:
    shop = {"env": {"id": "rlsd/WebShop-v0", "kwargs": {"catalogue": "gen-tiny"}}}
    assert settled(parse_config({**changed(), **shop})).agent.format == "shop"
    assert settled(parse_config({**changed(format="compact"), **shop})).agent.format == "compact"
    assert settled(parse_config(changed())).agent.format == "think"
    assert make("rlsd/WebShop-v0", catalogue="gen-tiny").response_format == "shop"


def test_a_run_and_weights_of_the_old_names_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, quiet = tmp_path / "run", Progress(quiet=True)
    train(parse_config(BASE), run, progress=quiet)
    text = (run / "config.yaml").read_text()
    old = text.replace("  format: compact", "  style: compact").replace("  history_turns: 2", "  keep: 2")
    old = re.sub(r"  (system|prompt): null\n", "", old)
    assert old.count("style: ") == old.count("keep: ") == 1
    (run / "config.yaml").write_text(old)
    hint.cache_clear()
    capsys.readouterr()
    train(parse_config({**BASE, "iterations": 2}), run, progress=quiet)
    assert capsys.readouterr().err.splitlines() == [
        "agent.style is now agent.format; the old name works until 0.3",
        "agent.keep is now agent.history_turns; the old name works until 0.3",
    ]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 1
    assert load_run_config(run).agent.format == "compact"
    note = run / "best" / NOTE
    (run / "best" / "MANIFEST.json").unlink()  # which older versions did not write
    note.write_text(note.read_text().replace('"format"', '"style"'))
    hint.cache_clear()
    request = EvalRequest(
        env="rlsd/ALFWorld-v0", agent=f"hf:{run / 'best'}", episodes=1, env_kwargs={"games": "gen-tiny", "max_steps": 2}
    )
    result, _ = run_eval(request, quiet=True)
    assert capsys.readouterr().err == "agent.style is now agent.format; the old name works until 0.3\n"
    action = result.trajectories[0].turns[0].action
    assert action.text == action.response.strip(), "compact"


def test_a_run_of_the_old_default_goes_on_where_auto_means_the_same(tmp_path: Path) -> None:
    """Older versions wrote `think` where nothing was given."""
    data = {**BASE, "agent": {"memory": "full", "max_new_tokens": 4}}
    train(parse_config(data), tmp_path / "run", progress=Progress(quiet=True))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["agent"]["format"] == "think"
    train(parse_config({**data, "iterations": 2}), tmp_path / "run", progress=Progress(quiet=True))
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 1

"""Suites: checked before anything runs, killed and resumed, paid once, and one table at the end."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.harness.cli.app import main
from rlsd.harness.config import ConfigError
from rlsd.harness.evals.compare import compare_files
from rlsd.harness.evals.verify import verify
from rlsd.harness.suite.folder import SuiteError, SuiteFolder, freeze
from rlsd.harness.suite.plan import Cell, load_suite
from rlsd.harness.suite.report import rows_of, write_results
from rlsd.harness.suite.requests import check
from rlsd.harness.suite.runs import run_suite
from tests.support.faulty_endpoint import LOST, TASKS, FaultyEndpoint
from tests.support.plain_worlds import ReshuffledByProcess
from tests.support.stub_server import stub

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "configs" / "suite" / "example.yaml"
WORLD = "tests.support.plain_worlds:Plain"
PLAN: dict[str, Any] = {
    "environments": {"plain": {"id": WORLD, "kwargs": {"tasks": 6}}, "long": {"id": WORLD, "kwargs": {"length": 5}}},
    "agents": {"random": "random", "echo": {"agent": "echo", "environments": ["plain"]}},
    "seeds": 2,
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
    return path


def played(file: Path, folder: Path, *, jobs: int = 1) -> list[str]:
    """What was told."""
    lines: list[str] = []
    suite = load_suite(file)
    run_suite(suite, freeze(suite, folder), file, jobs=jobs, tell=lines.append)
    write_results(suite, SuiteFolder(path=folder))
    return lines


def files(folder: Path) -> dict[str, bytes]:
    """All that two equal suites share: everything but times, calls, logs and locks."""
    found = [folder / "results.json", *folder.glob("results/**/*.json"), *folder.glob("episodes/**/about.json")]
    found += folder.glob("episodes/**/step-*.jsonl.gz")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def command(file: Path, folder: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlsd", "eval", "--suite", str(file), "--run", str(folder), *options],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_example_is_played_and_tabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["eval", "--suite", str(EXAMPLE), "--run", str(tmp_path / "s"), "--json"])
    assert not end.value.code
    results = json.loads(capsys.readouterr().out)
    assert (results["finished"], results["cells"]) == (16, 16)
    success = {(e, a): r["success"] for e, v in results["environments"].items() for a, r in v["agents"].items()}
    assert {v for (_, agent), v in success.items() if agent != "random"} == {1.0}
    assert all(v < 0.7 for (_, agent), v in success.items() if agent == "random")
    assert json.loads((tmp_path / "s" / "results.json").read_text()) == results
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "s" / "results").rglob("*.json")}
    before = files(tmp_path / "s")
    with pytest.raises(SystemExit):
        main(["eval", "--suite", str(EXAMPLE), "--run", str(tmp_path / "s")])
    told = capsys.readouterr().out
    assert "16 of 16 evaluations" in " ".join(told.split())
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "nothing is played twice"
    assert files(tmp_path / "s") == before

    a, b = (tmp_path / "s" / "results" / "keys" / agent / "seed-0.json" for agent in ("random", "explorer"))
    assert compare_files(a, b)["verdict"] == "better"
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "s" / "episodes" / "house" / "explorer" / "seed-1"), "--groups", "2"])
    assert not end.value.code
    page = (tmp_path / "s" / "episodes" / "house" / "explorer" / "seed-1" / "report.html").read_text()
    assert "2 of 20 tasks" in page
    assert "success<b>100.0 %</b>" in page


def test_jobs_file_order_and_concurrency_change_no_number(tmp_path: Path) -> None:
    first = played(written(tmp_path), tmp_path / "a")
    assert len(first) == 6
    turned = {name: dict(reversed(PLAN[name].items())) for name in ("environments", "agents")}
    turned["agents"]["random"] = {"agent": "random", "concurrency": 1}
    played(written(tmp_path, **turned), tmp_path / "b", jobs=2)
    mine, theirs = files(tmp_path / "a"), files(tmp_path / "b")
    a, b = json.loads(mine.pop("results.json")), json.loads(theirs.pop("results.json"))
    assert mine == theirs
    assert len(mine) == 6 * 3
    assert (a["environments"], a["digest"]) == (b["environments"], b["digest"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"environment": {}}, r"unknown config key 'environment'\. Did you mean 'environments'"),
        ({"environments": {}}, "environments: expected at least one"),
        ({"agents": {"a b": "random"}}, "agents: 'a b' is no name"),
        ({"agents": {"r": {"agent": "random", "temprature": 1}}}, r"temprature'\. Did you mean 'temperature'"),
        ({"agents": {"r": {"agent": "random", "environments": ["plane"]}}}, r"no environment 'plane'\. Did you mean"),
        ({"seeds": 0}, "seeds: expected at least one"),
        ({"seeds": [1, 1]}, "each once"),
        ({"max_cost": 1.0}, "max_cost needs prices"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_suite(written(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"agents": {"a": "randon"}}, r"agents\.a in plain: unknown agent 'randon'\. Did you mean 'random'"),
        ({"agents": {"a": "openai:http://127.0.0.1:9"}}, "name the model too"),
        ({"agents": {"a": "run:nowhere"}}, "nowhere/best does not exist"),
        ({"agents": {"a": "recorded:nowhere"}}, "cannot read 'nowhere'"),
        ({"agents": {"a": {"agent": "random", "rate": "1/s"}}}, "are for chat endpoints"),
        (
            {"agents": {"a": {"agent": "openai:http://h#m", "rate": "1"}}},
            r"--rate: '1' is no rate",
        ),
        ({"agents": {"a": {"agent": "openai:http://h#m", "settings": {"formt": "think"}}}}, r"Did you mean 'format'"),
        ({"environments": {"e": {"id": "rlsd/Key-v0"}}}, r"environments\.e: .*rlsd/Keys-v0"),
        ({"environments": {"e": {"id": WORLD, "kwargs": {"task": 3}}}}, r"environments\.e: .*task"),
        ({"environments": {"e": {"id": WORLD, "kwargs": {"tasks": 0}}}}, "has no tasks"),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_played(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    suite = load_suite(written(tmp_path, **{"agents": {"random": "random"}, **changes}))
    with pytest.raises(ConfigError, match=message) as error:
        check(suite, SuiteFolder(path=tmp_path / "s"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_options_of_one_evaluation_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in ((["--seed", "3"], "--seed"), (["--agent", "random"], "--agent"), (["x.yaml"], "CONFIG")):
        with pytest.raises(SystemExit) as end:
            main(["eval", *words, "--suite", str(written(tmp_path))])
        assert end.value.code == 2
        assert f"{told} is about one evaluation: with --suite it stands in the file" in capsys.readouterr().err


def test_a_finished_evaluation_does_not_change_but_others_may_come(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    played(written(tmp_path), folder)
    before = files(folder)
    more = {**PLAN["agents"], "second": "random"}
    more["random"] = {"agent": "random", "concurrency": 3}
    assert len(played(written(tmp_path, agents=more, seeds=[0, 1, 5]), folder)) == 2 * 2 + 5, "only what is new"
    assert {k: v for k, v in files(folder).items() if k in before and k != "results.json"} == {
        k: v for k, v in before.items() if k != "results.json"
    }
    for changes, key in (
        ({"agents": {**more, "random": {"agent": "random", "temperature": 0.5}}}, "agent.temperature"),
        ({"environments": {**PLAN["environments"], "long": {"id": WORLD}}}, "environment.kwargs.length"),
        ({"samples": 2}, "samples"),
    ):
        with pytest.raises(SuiteError, match=f"has the result of .* with another '{key}': take the change back"):
            freeze(load_suite(written(tmp_path, **changes)), folder)


def test_a_cell_that_fails_is_named_and_the_others_are_played(tmp_path: Path) -> None:
    agents = {"random": "random", "oracle": "oracle"}
    file = written(tmp_path, agents=agents, seeds=1)
    process = command(file, tmp_path / "s")
    out, error = process.communicate()
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert "SuiteError: 2 of 4 evaluations failed, the first: plain/oracle/0 (" in error
    assert "2 of 4 evaluations" in " ".join(out.split()), "the table of the others"
    assert not (tmp_path / "s" / "results" / "plain" / "oracle" / "seed-0.json").exists()


def test_a_reshuffled_panel_is_caught(tmp_path: Path) -> None:
    environments = {"e": {"id": "tests.support.plain_worlds:Reshuffled"}}
    with pytest.raises(SuiteError, match=r"environment e: e/random/0 was played on panel \w+ and e/echo/0 on \w+") as e:
        played(
            written(tmp_path, environments=environments, agents={"random": "random", "echo": "echo"}), tmp_path / "s"
        )
    assert "\n" not in str(e.value)


def test_processes_that_each_shuffle_the_tasks_for_themselves_are_caught(tmp_path: Path) -> None:
    environments = {"e": {"id": "tests.support.plain_worlds:ReshuffledByProcess"}}

    def play(seeds: int) -> None:
        played(written(tmp_path, environments=environments, agents={"random": "random"}, seeds=seeds), tmp_path / "s")

    play(1)
    play(2)  # one order throughout is a panel like any other
    ReshuffledByProcess.turn = 1
    try:
        with pytest.raises(SuiteError, match=r"environment e: e/random/0 was played on panel \w+ and e/random/2 on"):
            play(3)
    finally:
        ReshuffledByProcess.turn = 0


def test_samples_give_pass_at_k_and_results_can_be_verified(tmp_path: Path) -> None:
    environments = {"keys": {"id": "rlsd/Keys-v0", "episodes": 5}}
    file = written(tmp_path, environments=environments, agents={"random": "random"}, samples=3)
    played(file, tmp_path / "s")
    results = write_results(load_suite(file), SuiteFolder(path=tmp_path / "s"))
    agent = results["environments"]["keys"]["agents"]["random"]
    assert agent["episodes"] == 2 * 5 * 3
    assert list(agent["pass_at"]) == list(agent["pass_hat"]) == ["1", "2", "3"]
    assert agent["pass_at"]["1"] == pytest.approx(agent["success"])
    assert agent["pass_hat"]["3"] <= agent["success"] <= agent["pass_at"]["3"]
    saved = [json.loads(p.read_text()) for p in sorted((tmp_path / "s/results/keys/random").iterdir())]
    won = [any(outcome["wins"]) for data in saved for outcome in data["outcomes"].values()]
    assert agent["pass_at"]["3"] == pytest.approx(sum(won) / len(won))
    header, row = rows_of(results)
    assert row[header.index("pass@k")] == f"{100 * agent['pass_at']['3']:.1f} %"
    assert verify(tmp_path / "s/results/keys/random/seed-1.json")["verdict"] == "confirmed"
    with gzip.open(tmp_path / "s/episodes/keys/random/seed-0/rollouts/step-000000.jsonl.gz", "rt") as kept:
        assert len(kept.readlines()) == 15


def test_without_a_finished_evaluation_there_is_no_table(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path))
    with pytest.raises(SuiteError, match=r"no evaluation of .* is finished yet"):
        write_results(suite, SuiteFolder(path=tmp_path / "s"))
    place = SuiteFolder(path=tmp_path / "s").result(Cell(env="plain", agent="random", seed=0))
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    with pytest.raises(SuiteError, match=r"was not written by .* delete it, and the same command plays it again"):
        write_results(suite, SuiteFolder(path=tmp_path / "s"))


# ------------------------------------------------------------------ chat endpoints


def chatting(folder: Path, url: str, *, agents: int = 2, **changes: Any) -> Path:
    """A suite of agents at one endpoint, which play one episode at a time."""
    agent = {"agent": f"openai:{url}#m", "concurrency": 1, "timeout_s": 2.0, "temperature": 0.7}
    return written(
        folder,
        environments={"plain": {"id": WORLD, "kwargs": {"tasks": TASKS}}},
        agents={f"a{i}": {**agent, "body": {"top_p": 1 - i / 10}} for i in range(agents)},
        seeds=1,
        **changes,
    )


def test_a_faulty_endpoint_a_kill_and_the_same_files_with_no_call_paid_twice(tmp_path: Path) -> None:
    endpoint = FaultyEndpoint()
    with stub(lambda *given: endpoint(*given)) as server:
        file = chatting(tmp_path, server.url)
        played(file, tmp_path / "whole")
        assert set(endpoint.paid.values()) == {1}
        calls = sum(endpoint.paid.values())

        endpoint = FaultyEndpoint()
        for at in ("5", "11"):
            process = command(file, tmp_path / "killed", **{"RLSD_KILL_AT": f"mid-evaluation:{at}"})
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        with (tmp_path / "killed/episodes/plain/a1/seed-0/calls.jsonl").open("ab") as cut:
            cut.write(b'{"call": "0f3')  # as if it had been killed while it wrote
        process = command(file, tmp_path / "killed")
        error = process.communicate()[1]
        assert process.returncode == 0, error
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert set(endpoint.paid.values()) == {1}
    assert sum(endpoint.paid.values()) == calls

    suite = load_suite(file)
    results = write_results(suite, SuiteFolder(path=tmp_path / "killed"))
    for agent in results["environments"]["plain"]["agents"].values():
        assert agent["failures"] == dict.fromkeys(sorted(LOST.values()), 1)
        assert agent["success"] == 6 / 11
        assert agent["usage"] == {
            k: 18 * v + v * 5 for k, v in {"input": 50, "output": 8, "cached": 0, "reasoning": 3}.items()
        }
    assert rows_of(results)[1][:5] == ["plain", "a0", "1", "11", "54.5 % [28.0, 78.7]"]
    lost = json.loads((tmp_path / "killed/results/plain/a0/seed-0.json").read_text())["lost"]
    assert set(lost) == set(LOST)
    faults = [
        record["fault"]
        for line in (tmp_path / "whole/episodes/plain/a0/seed-0/calls.jsonl").read_text().splitlines()
        if "fault" in (record := json.loads(line))
    ]
    assert sorted(faults) == ["rate_limited", "server_error", "timeout"]


def test_a_kill_at_any_time_pays_at_most_for_what_was_on_its_way(tmp_path: Path) -> None:
    endpoint = FaultyEndpoint()
    with stub(lambda *given: endpoint(*given)) as server:
        file = chatting(tmp_path, server.url, agents=1)
        text = yaml.safe_load(file.read_text())
        text["agents"]["a0"]["concurrency"] = 8
        file.write_text(yaml.safe_dump(text))
        played(file, tmp_path / "whole")
        endpoint = FaultyEndpoint()
        process = command(file, tmp_path / "killed")
        while sum(endpoint.paid.values()) < 10:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
        process.communicate()
        process = command(file, tmp_path / "killed")
        error = process.communicate()[1]
        assert process.returncode == 0, error
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert sum(endpoint.paid.values()) - len(endpoint.paid) <= 8


def test_all_agents_share_the_budget_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("m: {input: 1, output: 10, cached: 0.1}\n")
    money: dict[str, Any] = {"prices": str(tmp_path / "prices.yaml")}
    endpoint = FaultyEndpoint()
    with stub(lambda *given: endpoint(*given)) as server:
        with pytest.raises(
            SuiteError, match=r"1 of 2 evaluations failed, the first: plain/a1/0 \(BudgetSpent: --max-c"
        ):
            played(chatting(tmp_path, server.url, **money, max_cost=0.005), tmp_path / "s")
        spent = sum(endpoint.paid.values())
        assert spent < 45
        played(chatting(tmp_path, server.url, **money, max_cost=0.05), tmp_path / "s")
        assert set(endpoint.paid.values()) == {1}
    agents = write_results(load_suite(chatting(tmp_path, server.url, **money)), SuiteFolder(path=tmp_path / "s"))
    for agent in agents["environments"]["plain"]["agents"].values():
        assert agent["cost"] == round((agent["usage"]["input"] + 10 * agent["usage"]["output"]) / 1e6, 6)

"""`rlsd report` on a suite: one page that loads nothing, with table, comparisons and episodes as they are."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.evals.results_file import sealed
from rlsd.harness.evals.saved import CompareError
from rlsd.harness.evals.stats import holm, wilson
from rlsd.harness.report.suite import write_suite
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.suite.folder import SuiteFolder, freeze
from rlsd.harness.suite.plan import load_suite
from rlsd.harness.suite.report import rows_of, write_results
from rlsd.harness.suite.runs import run_suite
from tests.support.faulty_endpoint import LOST, TASKS, FaultyEndpoint
from tests.support.html_page import Page as TablePage
from tests.support.stub_server import stub
from tests.support.viewer_page import Page as ViewerPage

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def episode(task: int, won: bool, *, sibling: int = 0, stop: str = "truncated", **changes: Any) -> dict[str, Any]:
    """A kept episode of one turn."""
    turn = {
        "observation": f"you see {task}", "response": "go", "action": "go", "next_observation": "end", "valid": True,
        "format_ok": True, "reward": float(won), "token_ids": [1, 2],
    }  # fmt: skip
    return {
        "key": ["test", 0, task, sibling],
        "task": {"task_id": f"t{task}", "task_type": "ab"[task % 2]},
        "goal": f"goal {task}",
        "stop": "terminated" if won else stop,
        "success": won,
        "score": float(won),
        "error": None,
        "turn_credit": [0.0],
        "turns": [turn],
        **changes,
    }


def evaluation(folder: Path, env: str, agent: str, episodes: list[dict[str, Any]], *, seed: int = 0) -> None:
    """The result and the episodes of one evaluation, as a suite writes them."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for e in episodes:
        samples.setdefault(e["task"]["task_id"], []).append(e)
    failed = [e["error"]["reason"] for e in episodes if e["error"]]
    data = {
        "agent": agent,
        "panel": {"env": f"tests/{env}", "split": "test", "tasks": len(samples), "digest": f"digest-of-{env}"},
        "success": sum(e["success"] for e in episodes) / len(episodes),
        "episodes": len(episodes),
        "errors": len(failed),
        "failures": {reason: failed.count(reason) for reason in sorted(set(failed))},
        "outcomes": {
            task: {
                "type": played[0]["task"]["task_type"],
                "wins": [e["success"] for e in played],
                "scores": [e["score"] for e in played],
            }
            for task, played in samples.items()
        },
    }
    result = folder / "results" / env / agent / f"seed-{seed}.json"
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(sealed(data)))
    kept = folder / "episodes" / env / agent / f"seed-{seed}" / "rollouts" / "step-000000.jsonl.gz"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(kept, "wt") as file:
        file.writelines(json.dumps(e) + "\n" for e in episodes)
    about = {**data, "seed": seed, "interval": list(wilson(sum(e["success"] for e in episodes), len(episodes)))}
    (kept.parents[1] / "about.json").write_text(json.dumps({**about, "by_type": {}}))


def tabled(folder: Path, *, samples: int = 1) -> Path:
    """results.json of what is there."""
    environments: dict[str, Any] = {}
    for path in sorted(folder.glob("results/*/*/seed-*.json")):
        data = json.loads(path.read_text())
        entry = environments.setdefault(path.parts[-3], {"panel": data["panel"], "agents": {}})
        interval = list(wilson(data["success"] * data["episodes"], data["episodes"]))
        entry["agents"].setdefault(path.parts[-2], {"seeds": []})["seeds"].append(int(path.stem.removeprefix("seed-")))
        entry["agents"][path.parts[-2]].update(
            success=data["success"], interval=interval, score=data["success"], episodes=data["episodes"], turns=1.0,
            invalid_rate=0.0, failures=data["failures"],
        )  # fmt: skip
    count = sum(len(agent["seeds"]) for e in environments.values() for agent in e["agents"].values())
    results = {"digest": "0123", "cells": count, "finished": count, "seeds": [0], "samples": samples}
    (folder / "results.json").write_text(json.dumps({**results, "environments": environments}))
    (folder / "suite.json").write_text("{}")
    return folder


def of(won: int, tasks: int = 40) -> list[dict[str, Any]]:
    return [episode(i, i < won) for i in range(tasks)]


def test_the_table_and_the_comparisons_have_the_exact_numbers(tmp_path: Path) -> None:
    for env, wins in (("house", (5, 12, 30)), ("shop", (10, 15, 10))):
        for agent, won in zip(("low", "middle", "other"), wins):
            evaluation(tmp_path, env, agent, of(won))
    text = write_suite(tabled(tmp_path)).read_text()
    rows = TablePage(text).rows
    table = [row for row in rows if len(row) == 9]
    low, high = (100 * bound for bound in wilson(5, 40))
    assert table[1] == ["house", "test", "low", f"12.5 [{low:.1f}, {high:.1f}]", "1", "40", "1.0", "0.0", "0"]
    assert [row[:3] for row in table[1:]] == [
        [e, "test", a] for e in ("house", "shop") for a in ("low", "middle", "other")
    ]
    pairs = [row for row in rows if len(row) == 7 and "−" in row[1]]
    p = [2 / 2**7, 2 / 2**25, 2 / 2**18, 2 / 2**5, 1.0, 2 / 2**5]  # McNemar: n tasks that one side alone wins
    assert [row[4] for row in pairs] == [f"{x:.2g}" for x in p]
    assert [row[5] for row in pairs] == [f"{x:.2g}" for x in holm(p)], "corrected for all six of the page"
    assert [row[2].split(" ")[0] for row in pairs] == ["+17.5", "+62.5", "+45.0", "+12.5", "+0.0", "-12.5"]
    assert [row[6] for row in pairs] == [
        "not distinguishable", "otheris better", "otheris better", *["not distinguishable"] * 3,
    ]  # fmt: skip
    assert "McNemar" in pairs[0][3]
    assert next(row for row in rows if len(row) == 5 and row[2] == "the environment's step limit") == [
        "house", "low", "the environment's step limit", "35", "t5",
    ]  # fmt: skip


def test_a_score_that_is_success_but_for_rounding_has_no_column(tmp_path: Path) -> None:
    evaluation(tmp_path, "house", "one", of(3, 10))
    results = json.loads((tabled(tmp_path) / "results.json").read_text())
    agent = results["environments"]["house"]["agents"]["one"]
    for score, shown in ((0.1 + 0.2, False), (0.35, True)):
        agent["score"] = score
        (tmp_path / "results.json").write_text(json.dumps(results))
        assert agent["success"] == 0.3 != score
        assert ("score, %" in write_suite(tmp_path).read_text()) == shown
        assert ("score" in rows_of(results)[0]) == shown


def test_each_environment_has_a_page_of_episodes_on_which_all_agents_play_the_same_tasks(tmp_path: Path) -> None:
    for env in ("house", "shop"):
        evaluation(tmp_path, env, "one", of(3, 8))
        evaluation(tmp_path, env, "two", of(5, 8))
    page = TablePage(write_suite(tabled(tmp_path), tmp_path / "out" / "all.html").read_text())
    assert [a["href"] for tag, a in page.tags if tag == "a"] == ["all-house.html", "all-shop.html"]
    shown = ViewerPage.of(tmp_path / "out" / "all-house.html")
    assert [run["name"] for run in shown.start["runs"]] == ["one/seed-0", "two/seed-0"]
    assert [shown.indexes[run, 1]["won"] for run in (0, 1)] == [[1] * 3 + [0] * 5, [1] * 5 + [0] * 3]
    assert len(shown.episodes) == 16
    write_suite(tmp_path, groups=0)
    assert not ViewerPage.of(tmp_path / "report-house.html").episodes


def test_what_failed_is_counted_by_kind_with_its_message_and_the_episode(tmp_path: Path) -> None:
    error = {"boundary": "agent.act", "message": HOSTILE, "reason": "agent.refused", "lost": False}
    episodes = of(4, 8)
    episodes[6:] = [episode(i, False, stop="error", error=error) for i in (6, 7)]
    episodes[5]["goal"] = episodes[5]["turns"][0]["response"] = HOSTILE
    episodes[5]["turns"][0]["prompt"] = {"messages": [{"role": HOSTILE, "content": HOSTILE, "tool_calls": [HOSTILE]}]}
    evaluation(tmp_path, "house", "one", episodes)
    evaluation(tmp_path, "house", "two", of(8, 8))
    place = tmp_path / "episodes" / "house" / "three" / "seed-0"
    place.mkdir(parents=True)
    (place / "failed.txt").write_text(f"ConfigError: {HOSTILE}\n")
    page = write_suite(tabled(tmp_path), groups=2).read_text()
    rows = [row for row in TablePage(page).rows if len(row) == 5 and row[1] == "one"]
    assert [row[2:4] for row in rows] == [["agent.refused", "2"], ["the environment's step limit", "2"]]
    assert rows[0][4] == f"t6:agent.act: {HOSTILE}"
    assert "house/three/seed-0 failed: ConfigError: &lt;script&gt;" in page
    tags = TablePage(page).tags
    assert not [tag for tag, _ in tags if tag in ("script", "img", "link", "iframe", "base", "form", "object")]
    assert [a["href"] for _, a in tags if {"src", "href"} & set(a)] == ["report-house.html"]
    assert not [a for _, a in tags if any(name.startswith("on") for name in a)]
    (policy,) = [a["content"] for tag, a in tags if tag == "meta" and "Content-Security-Policy" in a.values()]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'", policy or ""
    )
    assert "{{ 7 * 7 }}" in page


def test_samples_and_seeds_have_pass_at_k(tmp_path: Path) -> None:
    for seed, wins in enumerate(([2, 1, 0, 0], [2, 2, 1, 0])):
        played = [episode(i, s < won, sibling=s) for i, won in enumerate(wins) for s in range(2)]
        evaluation(tmp_path, "house", "one", played, seed=seed)
    rows = TablePage(write_suite(tabled(tmp_path, samples=2)).read_text()).rows
    (head,) = [row for row in rows if "pass@2" in row]
    (row,) = [row for row in rows if len(row) == len(head) and row[1] == "one"]
    assert head == ["environment", "agent", "pass@1", "pass@2", "pass^1", "pass^2"]
    # by hand: 8 of 16 episodes; some sample wins 2 and 3 of 4 tasks, all samples 1 and 2 of them
    assert [cell.split(" ")[0] for cell in row[2:]] == ["50.0", "62.5", "50.0", "37.5"]


def test_a_played_suite_with_a_faulty_endpoint_has_usage_cost_and_every_kind(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("m: {input: 1, output: 10}\n")
    endpoint = FaultyEndpoint()
    with stub(lambda *given: endpoint(*given)) as server:
        agent = {"agent": f"openai:{server.url}#m", "concurrency": 1, "timeout_s": 2.0, "temperature": 0.7}
        env = {"id": "tests.support.plain_worlds:Plain", "kwargs": {"tasks": TASKS}}
        plan = {"environments": {"plain": env}, "agents": {"api": agent}, "prices": str(tmp_path / "prices.yaml")}
        file = tmp_path / "suite.yaml"
        file.write_text(json.dumps(plan))
        suite = load_suite(file)
        run_suite(suite, freeze(suite, tmp_path / "s"), file, jobs=1, tell=print)
    results = write_results(suite, SuiteFolder(path=tmp_path / "s"))
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path / "s")])
    assert not end.value.code
    page = (tmp_path / "s" / "report.html").read_text()
    rows = TablePage(page).rows
    head = next(row for row in rows if "cost" in row)
    (row,) = [row for row in rows if row[0] == "plain" and len(row) == len(head)]
    shown = dict(zip(head, row))
    used = results["environments"]["plain"]["agents"]["api"]
    assert shown["success, % [95 %]"] == "54.5 [28.0, 78.7]"
    assert (shown["failed"], shown["tokens in"], shown["tokens out"]) == ("5", "1150", "184")
    assert shown["cost"] == f"{used['cost']:.4g}" == "0.00299"
    kinds = [row[2:4] for row in rows if len(row) == 5 and row[1] == "api"]
    assert kinds == [[kind, "1"] for kind in sorted(LOST.values())]
    assert {f"t{i}" for i in (3, 4, 5, 6, 9)} == {
        row[4].partition(":")[0] for row in rows if row[2:3] in [[k] for k, _ in kinds]
    }
    assert "Who is better" not in page, "one agent is no comparison"


def test_what_is_missing_or_not_as_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "suite.json").write_text("{}")
    with pytest.raises(RunError, match=r"has no table yet: `rlsd eval --suite FILE --report` writes one"):
        write_suite(tmp_path)
    evaluation(tmp_path, "house", "one", of(3, 8))
    tabled(tmp_path)
    evaluation(tmp_path, "house", "two", of(3, 8))
    assert "1 more result in the folder" in write_suite(tmp_path).read_text()
    path = tmp_path / "results" / "house" / "one" / "seed-0.json"
    path.write_text(path.read_text().replace('"errors": 0', '"errors": 1'))
    page = write_suite(tabled(tmp_path)).read_text()
    assert "more result" not in page
    assert "house: a result of one was edited since it was written" in page
    kept = tmp_path / "episodes" / "house" / "one" / "seed-0" / "rollouts" / "step-000000.jsonl.gz"
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(RunError, match=r"step-000000.jsonl.gz cannot be read .*; play the evaluation again"):
        write_suite(tmp_path)
    kept.unlink()
    assert "episodes/house/one/seed-0: its episodes are not there" in write_suite(tmp_path).read_text()
    (tmp_path / "results.json").write_text('{"environments": {"house": {"panel": {}, "agents": {"one": {}}}}}')
    with pytest.raises(RunError, match=r"results.json cannot be read \(no cells\)"):
        write_suite(tmp_path)
    tabled(tmp_path)
    evaluation(tmp_path, "house", "two", of(3, 7))
    with pytest.raises(CompareError, match="do not list the same tasks"):
        write_suite(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path), "--step", "3"])
    assert end.value.code == 2
    assert f"--step is for runs; {tmp_path} holds a suite" in " ".join(capsys.readouterr().err.split())

"""`rlsd report`: the page holds what the run recorded, whatever the run was, and text of the environment stays text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.evals.stats import wilson
from rlsd.harness.report.charts import learning_curve, pooled, value_of
from rlsd.harness.report.page import text
from rlsd.harness.report.report import write_report
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.train import train
from tests.support.smallest_run import small_run
from tests.support.viewer_page import Page, numbers

BASE = small_run(
    eval={"every": 1, "episodes": 3, "at_start": True},
    save_rollouts_every=1,
    threads=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "a & b"
    train(parse_config(BASE), folder)
    return folder


def kept(run: Path, step: int) -> list[dict[str, Any]]:
    with gzip.open(run / "rollouts" / f"step-{step:06d}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def test_the_page_holds_what_was_recorded(run: Path) -> None:
    path = write_report(run)
    page, text = Page.of(path), path.read_text()
    (about,) = page.start["runs"]
    records = read_metrics(run / "metrics.jsonl")
    train, evals = ([r for r in records if r["kind"] == kind] for kind in ("train", "eval"))
    assert (about["name"], about["method"], about["env"]) == ("a & b", "rlsd", "rlsd/ALFWorld-v0")
    assert (about["done"], about["iterations"], about["steps"]) == (2, 2, [1, 2])
    best = max(evals, key=lambda r: (r["success"], r["score"], -r["step"]))
    assert about["evals"][about["best"]]["success"] == best["success"]
    assert [e["panel"]["digest"] for e in about["evals"]] == [best["panel"]["digest"]] * 3
    assert about["curves"]["step"] == [1, 2]
    assert about["curves"]["values"]["loss"] == [pytest.approx(r["loss"], rel=1e-5) for r in train]
    gaps = [r["credit"].get("gap") for r in train]
    assert about["curves"]["values"].get("credit.gap", [None] * 2) == [g and pytest.approx(g, rel=1e-5) for g in gaps]
    assert {c["title"] for c in page.start["charts"]} >= {"Credit", "Loss", "Seconds an iteration"}
    for step in (1, 2):
        episodes = kept(run, step - 1)
        assert page.indexes[0, step]["turns"] == [len(e["turns"]) for e in episodes]
        for n, episode in enumerate(episodes):
            shown = page.episodes[0, step, n]
            assert [t["credit"] for t in shown["turns"]] == episode["turn_credit"]
            assert [t["read"] for t in shown["turns"]] == episode.get("hindsight_read", [None] * len(episode["turns"]))
    assert not re.search(r"""(src|href)=.(?!data:,")""", text), "nothing is loaded from elsewhere"


def test_the_displayed_tokens_add_up_to_what_the_loss_took(run: Path) -> None:
    """Of the first step of an iteration: minus the mean over episodes of the mean of their tokens' advantages."""
    page = Page.of(write_report(run))
    losses = {r["step"] + 1: r["loss"] for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"}
    for step in (1, 2):
        shown = [numbers(e["columns"]["advantage"]) for key, e in page.episodes.items() if key[:2] == (0, step)]
        assert losses[step] == pytest.approx(-sum(sum(a) / len(a) for a in shown) / len(shown), abs=1e-6)
        for episode in (e for key, e in page.episodes.items() if key[:2] == (0, step)):
            values, at = numbers(episode["columns"]["advantage"]), 0
            for turn in episode["turns"]:
                n = len(turn["pieces"])
                assert turn["credit"] == pytest.approx(sum(values[at : at + n]) / n, abs=2e-6)
                at += n
            assert at == len(values)


def test_another_iteration_and_another_place(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run), "--to", str(tmp_path / "new" / "x.html"), "--step", "1", "--groups", "1"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "x.html")
    page = Page.of(tmp_path / "new" / "x.html")
    assert list(page.indexes) == [(0, 1)]
    assert len(page.episodes) == 2
    assert page.start["left_out"] == 0, "what was not wanted is not left out"
    assert page.start["runs"][0]["kept"] == [1, 2]


def test_a_page_says_what_its_limit_left_out(run: Path, tmp_path: Path) -> None:
    whole = Page.of(write_report(run, tmp_path / "whole.html"))
    assert (len(whole.episodes), whole.start["left_out"]) == (8, 0)
    limit = (tmp_path / "whole.html").stat().st_size - 1
    part = Page.of(write_report(run, tmp_path / "part.html", max_mib=limit / (1 << 20)))
    assert (len(part.episodes), part.start["left_out"]) == (6, 2)
    assert sorted(key[1] for key in part.episodes) == [1, 1, 2, 2, 2, 2], "the last iteration comes first"
    assert (tmp_path / "part.html").stat().st_size <= limit
    assert part.indexes == whole.indexes, "all are listed"


def test_several_runs_stand_in_one_page_under_names_of_their_own(run: Path, tmp_path: Path) -> None:
    page = Page.of(write_report([run, run.parent / "a & b"], tmp_path / "x.html"))
    assert [r["name"] for r in page.start["runs"]] == ["a & b", "a & b"]
    assert set(page.indexes) == {(r, s) for r in (0, 1) for s in (1, 2)}
    assert page.indexes[0, 1] == page.indexes[1, 1]


def test_text_of_the_environment_stays_text(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    (copy / "rollouts").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (copy / name).write_bytes((run / name).read_bytes())
    episode = kept(run, 1)[0]
    episode["goal"] = episode["turns"][0]["observation"] = "</script><script>alert(1)</script>\ud800"
    episode["score"] = float("nan")
    with gzip.open(copy / "rollouts" / "step-000001.jsonl.gz", "wt") as file:
        file.write(json.dumps(episode) + "\n")
    path = write_report(copy)
    assert "alert(1)" not in path.read_text(encoding="utf-8")
    shown = Page.of(path).episodes[0, 2, 0]
    assert shown["goal"] == "</script><script>alert(1)</script>\ud800"
    assert shown["score"] is None
    (copy / "rollouts" / "step-000001.jsonl.gz").write_bytes(b"\x1f\x8bdamaged")
    with pytest.raises(RunError, match=r"step-000001\.jsonl\.gz cannot be read"):
        write_report(copy)
    (copy / "rollouts" / "step-000001.jsonl.gz").unlink()
    assert Page.of(write_report(copy)).indexes == {}


def test_data_in_a_page_hold_no_tag_and_no_number_that_json_lacks() -> None:
    assert text({"a": "</script><b>ü", "n": float("nan")}) == '{"a":"\\u003c/script>\\u003cb>\\u00fc","n":null}'


def test_the_policy_lets_only_the_pages_own_script_and_style_run(run: Path) -> None:
    text = write_report(run).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "innerHTML" not in script
    assert "eval(" not in script


def test_supervised_runs_have_a_page_too(tmp_path: Path) -> None:
    data = {k: v for k, v in BASE.items() if k not in ("reward", "algorithm")}
    train(parse_config({**data, "algorithm": "sft", "sft": {"only_success": False}}), tmp_path / "run")
    page = Page.of(write_report(tmp_path / "run"))
    assert page.start["runs"][0]["method"] == "sft"
    assert len(page.start["runs"][0]["curves"]["values"]["loss_teacher"]) == 2
    assert page.indexes == {}


def test_what_is_no_run_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run directory"):
        write_report(tmp_path)
    with pytest.raises(RunError, match=r"no episodes of iteration 7 were kept in .*; kept: 1, 2"):
        write_report(run, step=7)
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(RunError, match="has no metrics yet"):
        write_report(tmp_path)


def test_values_are_found_by_their_path() -> None:
    record = {"step": 2, "credit": {"gap": -1.0, "clipped": None}, "flag": True}
    assert value_of(record, "credit.gap") == -1.0
    assert value_of(record, "credit.clipped") is None
    assert value_of(record, "flag") is None
    assert value_of(record, "credit.gap.deeper") is None


def test_evaluations_of_several_seeds_are_pooled() -> None:
    evals = [
        {"step": 4, "success": 1.0, "episodes": 10},
        {"step": 0, "success": 0.5, "episodes": 2},
        {"step": 4, "success": 0.5, "episodes": 30},
    ]
    first, second = pooled(evals)
    assert first[:2] == (1, 50.0)
    assert second[:2] == (5, 62.5)
    low, high = wilson(25, 40)
    assert second[2:] == (pytest.approx(62.5 - 100 * low), pytest.approx(100 * high - 62.5))


def test_a_learning_curve_is_a_picture_of_every_run(run: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, runs in {"one": {"RLSD": [run]}, "two": {"RLSD": [run], "GRPO": [run, run]}}.items():
        path = tmp_path / f"{name}.png"
        learning_curve(runs, path, title="a title")
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        sizes[name] = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    assert sizes == {"one": (900, 540), "two": (1080, 540)}

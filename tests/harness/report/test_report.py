"""`rlsd report`: the page holds what the run recorded, whatever the run was, and text of the environment stays text."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.evals.stats import wilson
from rlsd.harness.report.charts import TRAINING, draw, learning_curve, pooled, value_of
from rlsd.harness.report.report import write_report
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.train import train
from tests.support.smallest_run import small_run

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
    page = write_report(run).read_text()
    assert "<h1>a &amp; b</h1>" in page
    assert "2 of 2 iterations" in page
    records = read_metrics(run / "metrics.jsonl")
    best = max((r for r in records if r["kind"] == "eval"), key=lambda r: (r["success"], r["score"], -r["step"]))
    assert f"<b>{100 * best['success']:.1f} %</b>" in page
    assert best["panel"]["digest"] in page
    titles = re.findall(r"<figcaption>([^<]+)", page)
    assert titles[0] == "Success, %"
    assert {"Credit", "Loss", "Seconds an iteration", "Tokens read by the learner"} <= set(titles)
    assert page.count("<svg") == len(titles)
    episodes = kept(run, 1)
    assert page.count('class="turn"') == sum(len(e["turns"]) for e in episodes)
    for episode in episodes:
        assert episode["task"]["task_id"] in page
        for credit in episode["turn_credit"]:
            assert f"{credit:+.3f}" in page
    shown = re.findall(r"sibling (\d)", page)
    assert sorted(shown) == sorted(str(e["key"][3]) for e in episodes)
    assert "hindsight" in page
    assert not re.search(r"(src|href)=.(?!#)|<script", page), "nothing is loaded from elsewhere"


def test_another_iteration_and_another_place(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run), "--to", str(tmp_path / "new" / "x.html"), "--step", "1", "--groups", "1"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "x.html")
    page = (tmp_path / "new" / "x.html").read_text()
    assert "Iteration 1 (kept: 1, 2)" in page
    sizes = [sum(len(e["turns"]) for e in kept(run, 0) if e["key"][2] == group) for group in range(2)]
    assert page.count('class="turn"') in sizes
    assert page.count("<h3>") == 1


def test_text_of_the_environment_stays_text(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    (copy / "rollouts").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (copy / name).write_bytes((run / name).read_bytes())
    episode = kept(run, 1)[0]
    episode["goal"] = episode["turns"][0]["observation"] = "<script>alert(1)</script>"
    episode["turns"][0]["action"] = "<img onerror=x>"
    with gzip.open(copy / "rollouts" / "step-000001.jsonl.gz", "wt") as file:
        file.write(json.dumps(episode) + "\n")
    page = write_report(copy).read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    (copy / "rollouts" / "step-000001.jsonl.gz").write_bytes(b"\x1f\x8bdamaged")
    with pytest.raises(RunError, match=r"step-000001\.jsonl\.gz cannot be read"):
        write_report(copy)
    (copy / "rollouts" / "step-000001.jsonl.gz").unlink()
    assert "None were kept" in write_report(copy).read_text()


def test_supervised_runs_have_a_page_too(tmp_path: Path) -> None:
    data = {k: v for k, v in BASE.items() if k not in ("reward", "algorithm")}
    train(parse_config({**data, "algorithm": "sft", "sft": {"only_success": False}}), tmp_path / "run")
    page = write_report(tmp_path / "run").read_text()
    assert "sft on rlsd/ALFWorld-v0" in page
    assert "<figcaption>Loss" in page


def test_what_is_no_run_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run directory"):
        write_report(tmp_path)
    with pytest.raises(RunError, match=r"no episodes of iteration 7 were kept in .*; kept: 1, 2"):
        write_report(run, step=7)
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(RunError, match="has no metrics yet"):
        write_report(tmp_path)


def test_charts_show_what_is_there() -> None:
    records = [{"step": i, "credit": {"gap": -0.5 * i, "clipped": None}, "flag": True} for i in range(3)]
    assert value_of(records[2], "credit.gap") == -1.0
    assert value_of(records[2], "credit.clipped") is None
    assert value_of(records[2], "flag") is None
    assert value_of(records[2], "credit.gap.deeper") is None
    gap = next(c for c in TRAINING if "credit.gap" in c.lines.values())
    drawn = draw(gap, records)
    assert drawn is not None
    assert drawn.startswith("<svg")
    assert "credit.gap" not in drawn
    assert all(draw(c, records) is None for c in TRAINING if c is not gap)


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

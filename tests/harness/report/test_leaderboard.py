"""`rlsd leaderboard`: one page that loads nothing, a table a panel, quoted figures marked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.evals.results_file import sealed
from rlsd.harness.evals.saved import CompareError
from rlsd.harness.report.leaderboard import quoted_figures, write_leaderboard
from tests.support.html_page import Page


def result(path: Path, won: int, *, tasks: int = 40, seed: int = 0, seal: bool = True, **more: Any) -> Path:
    """A file of `rlsd eval --save` on the published seen games."""
    outcomes = {
        f"t{i}": {"type": "ab"[i % 2], "wins": [i < won], "scores": [float(i < won)], "turns": [3], "episodes": ["0"]}
        for i in range(tasks)
    }
    data: dict[str, Any] = {
        "agent": path.stem.partition("-")[0],
        "format": 2,
        "played": {"env": "rlsd/ALFWorld-v0", "arguments": {"games": "real"}, "protocol": "rlsd", "settings": []},
        "panel": {"env": "rlsd/ALFWorld-v0", "split": "valid_seen", "digest": f"digest{tasks}", "tasks": tasks},
        "sampling": {"temperature": 0.4, "seed": seed, "samples": 1},
        "weights": {"digest": "abc"},
        "turns": 3.0,
        "outcomes": outcomes,
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sealed(data) if seal else data))
    return path


def test_agents_are_ordered_and_compared_with_the_first(tmp_path: Path) -> None:
    for name, won in (("low", 5), ("high", 30), ("near", 28)):
        result(tmp_path / f"{name}.json", won)
    page = Page(write_leaderboard(tmp_path, quoted=False).read_text())
    first = [row for row in page.rows if row and row[0] in ("low", "high", "near")][:3]
    assert [row[0] for row in first] == ["high", "near", "low"]
    rows = {row[0]: row for row in first}
    assert rows["high"][1].startswith("75.0 [59.8, 85.8]")
    assert rows["high"][2] == ""
    assert rows["near"][2].endswith("not distinguishable")
    assert rows["low"][2].startswith("-62.5 [")
    assert "not distinguishable" not in rows["low"][2]


def test_seeds_of_one_agent_are_one_row_and_panels_are_tables_of_their_own(tmp_path: Path) -> None:
    for seed in range(3):
        result(tmp_path / f"mine-{seed}.json", 10 + seed, seed=seed)
    result(tmp_path / "deep" / "other.json", 3, tasks=9)
    page = Page(write_leaderboard(tmp_path, quoted=False).read_text())
    assert sum(tag == "h2" for tag, _ in page.tags) == 2
    (row,) = [row for row in page.rows if row and row[0] == "mine" and "×" in "".join(row)]
    assert "3 × 1" in row
    assert row[1].startswith("27.5 [")


def test_figures_of_papers_are_marked_and_have_budget_and_source(tmp_path: Path) -> None:
    result(tmp_path / "mine.json", 10)
    text = write_leaderboard(tmp_path).read_text()
    page = Page(text)
    quoted = [row for row in page.rows if row and row[0].startswith("quoted")]
    assert len(quoted) == sum(f["env"] == "rlsd/ALFWorld-v0" for f in quoted_figures()) > 20
    assert all("budget: " in row[-1] and "source: " in row[-1] for row in quoted)
    assert "Quoted from papers, not measured here." in text
    assert "quoted</span>" not in write_leaderboard(tmp_path, quoted=False).read_text()


def test_figures_of_papers_stand_once_for_each_split(tmp_path: Path) -> None:
    result(tmp_path / "whole.json", 10)
    result(tmp_path / "part.json", 10, tasks=20)
    text = write_leaderboard(tmp_path).read_text()
    assert text.count("Quoted from papers, not measured here.") == 1
    assert text.index("digest40") < text.index("Quoted from papers") < text.index("digest20")


def test_figures_of_papers_do_not_stand_beside_other_tasks(tmp_path: Path) -> None:
    result(
        tmp_path / "mine.json",
        10,
        played={"env": "rlsd/ALFWorld-v0", "arguments": {"games": "gen-tiny"}, "protocol": "rlsd", "settings": []},
        panel={"env": "rlsd/ALFWorld-v0", "split": "test", "digest": "d", "tasks": 40},
    )
    assert "quoted</span>" not in write_leaderboard(tmp_path).read_text()


def test_every_quoted_figure_is_whole() -> None:
    for figure in quoted_figures():
        assert {"env", "method", "backbone", "success", "budget", "source"} <= set(figure)
        assert 0 < figure["success"] < 100
        assert figure["budget"]
        assert figure["source"]


def test_the_page_loads_nothing_and_allows_its_own_style_and_script_alone(tmp_path: Path) -> None:
    result(tmp_path / "x.json", 10, agent="<script>alert(1)</script>")
    text = write_leaderboard(tmp_path).read_text()
    page = Page(text)
    assert "<script>alert" not in text
    assert not [tag for tag, attributes in page.tags if tag in ("link", "img", "iframe") or "src" in attributes]
    assert not [
        attributes
        for _, attributes in page.tags
        if "style" in attributes or any(a.startswith("on") for a in attributes)
    ]
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "Content-Security-Policy" in a.values()]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_an_edited_file_and_an_old_one_are_told_apart(tmp_path: Path) -> None:
    sound = json.loads(result(tmp_path / "sound.json", 10).read_text())
    (tmp_path / "edited.json").write_text(json.dumps({**sound, "agent": "edited", "turns": 1.0}))
    (tmp_path / "old.json").write_text(
        json.dumps({"panel": sound["panel"], "wins": {f"t{i}": i < 4 for i in range(40)}})
    )
    (tmp_path / "config.json").write_text("{}")
    text = write_leaderboard(tmp_path, quoted=False).read_text()
    states = {row[0]: row[-1] for row in Page(text).rows if row and row[-1] in ("sound", "edited", "unsealed")}
    assert states == {"sound": "sound", "edited": "edited", "old": "unsealed"}
    assert "Passed over, as they are no results: config.json" in text


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompareError, match="has no file of"):
        write_leaderboard(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["leaderboard", str(tmp_path / "none")])
    assert end.value.code == 2
    assert "is no folder" in capsys.readouterr().err


def test_the_command_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path / "a.json", 10)
    with pytest.raises(SystemExit):
        main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "page" / "board.html"), "--no-quoted"])
    assert (tmp_path / "page" / "board.html").is_file()
    assert capsys.readouterr().out.strip().endswith("board.html")

"""`rlsd view`: the page of the report over HTTP, whose episodes come when they are asked for."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.report.kept import KeptEpisodes
from rlsd.harness.report.report import write_report
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.viewer import viewer_app
from rlsd.harness.train import train
from tests.support.smallest_run import small_run
from tests.support.viewer_page import Page

BASE = small_run(save_rollouts_every=1, iterations=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view") / "run"
    train(parse_config(BASE), folder)
    return folder


@pytest.fixture
def client(run: Path) -> Iterator[httpx.Client]:
    with Background(Listener(viewer_app([run]))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def started(client: httpx.Client) -> dict[str, Any]:
    page = client.get("/").raise_for_status()
    return json.loads(re.findall(r'id="start">(.*?)</script>', page.text)[0])


def test_the_server_says_what_the_single_file_holds(client: httpx.Client, run: Path, tmp_path: Path) -> None:
    page = Page.of(write_report(run, tmp_path / "x.html"))
    start = started(client)
    assert start["served"] is True
    assert start["runs"] == page.start["runs"]
    assert client.get("/index.json", params={"run": 0, "step": 1}).json() == page.indexes[0, 1]
    for (r, step, number), episode in page.episodes.items():
        assert client.get("/episode.json", params={"run": r, "step": step, "number": number}).json() == episode
    assert len(page.episodes) == 4


def test_the_page_may_fetch_from_its_own_server_alone(client: httpx.Client) -> None:
    headers = client.get("/").headers
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "; connect-src 'self'; " in headers["content-security-policy"]
    assert headers["content-security-policy"].endswith("form-action 'none'; frame-ancestors 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/health").text == "ok"


@pytest.mark.parametrize(
    "query",
    [
        {"run": 0, "step": 9, "number": 0},
        {"run": 1, "step": 1, "number": 0},
        {"run": 0, "step": 1, "number": 4},
        {"run": -1, "step": 1, "number": 0},
        {"run": 0, "step": "x", "number": 0},
        {"run": 0, "step": 1},
    ],
)
def test_what_is_not_there_is_404(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = client.get("/episode.json", params=query)
    assert answer.status_code == 404
    assert "reload the page" in answer.json()["error"]


def test_a_reload_shows_what_the_run_has_by_now_and_damage_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(parse_config(BASE), run)
    app = viewer_app([run])
    with Background(Listener(app)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert started(client)["runs"][0]["steps"] == [1]
        train(parse_config({**BASE, "iterations": 2}), run)
        assert started(client)["runs"][0]["steps"] == [1, 2]
        assert client.get("/index.json", params={"run": 0, "step": 2}).json()["won"] == [0, 0, 0, 0]
        place = run / "rollouts" / "step-000001.jsonl.gz"
        place.write_bytes(gzip.compress(b"{}\n"))
        started(client)
        answer = client.get("/index.json", params={"run": 0, "step": 2})
        assert answer.status_code == 500
        assert f"{place} cannot be read" in answer.json()["error"]


def test_an_index_is_kept_while_its_file_stays_as_it_is(run: Path) -> None:
    kept = KeptEpisodes(run / "rollouts" / "step-000000.jsonl.gz")
    assert kept.unchanged()
    assert kept.index is kept.index


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="no run directory"):
        viewer_app([tmp_path])
    with pytest.raises(SystemExit) as stop:
        main(["view", str(tmp_path), "--port", "0"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("RunError: ")

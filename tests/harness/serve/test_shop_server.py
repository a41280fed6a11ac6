"""The shop in a browser's eyes: pages, forms, recording, hostile products, and limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlsd.envs.webshop.env import WebShopEnv
from rlsd.harness.config import ConfigError
from rlsd.harness.evals.agents import EvalRequest, run_eval
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.rollout.trajectory import StopReason
from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.shop import shop_app
from tests.support import webshop_shelf as shelf

KWARGS: dict[str, Any] = {"catalogue": "gen-tiny", "split": "test", "max_steps": 12}


class Form(HTMLParser):
    """Buttons that a page offers, as (name, value)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.buttons: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        attributes = dict(attrs)
        if tag == "button" and attributes.get("name"):
            self.buttons.append((str(attributes["name"]), attributes.get("value") or ""))


def serving(folder: Path, limits: Limits | None = None, **changes: Any) -> Background:
    return Background(Listener(shop_app({**KWARGS, **changes}, record=folder / "people.jsonl", limits=limits)))


def browsing(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, follow_redirects=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(folder) as url, browsing(url) as client:
        yield client


def test_a_person_buys_the_goal_and_the_session_is_recorded(client: httpx.Client, folder: Path) -> None:
    env = WebShopEnv(**KWARGS)
    task = env.tasks()[3].task_id
    env.reset(options={"task": task})
    here = client.post("/start", data={"goal": task})
    assert env.instruction(task) in here.text.replace("&#39;", "'")
    for action in env.hindsight().plan:
        verb, argument = re.fullmatch(r"(search|click)\[(.*)\]", action).groups()  # type: ignore[union-attr]
        if verb == "click":
            assert ("label", argument) in Form(here.text).buttons
        here = client.post(str(here.url), data={"words" if verb == "search" else "label": argument})
    assert "Exactly what was asked for" in here.text
    assert '<strong id="score">1.00</strong>' in here.text
    (played,) = read_trajectories(folder / "people.jsonl", "rlsd/WebShop-v0")
    assert (played.task.task_id, played.success, played.score, played.episode_return) == (task, True, 1.0, 1.0)
    assert tuple(turn.action.text for turn in played.turns) == env.hindsight().plan
    assert played.stop is StopReason.TERMINATED
    assert played.turns[0].observation.startswith("WebShop [SEP] Instruction: [SEP]")
    again = client.post(str(here.url), data={"words": "more"})  # what is over stays over
    assert again.text == here.text
    request = EvalRequest(
        env="rlsd/WebShop-v0", agent=f"recorded:{folder / 'people.jsonl'}", env_kwargs={"catalogue": "gen-tiny"}
    )
    result, _ = run_eval(request, quiet=True)
    assert result.wins() == {task: True}
    assert result.panel.task_ids == (task,)
    with pytest.raises(ConfigError, match=r"none of them in split 'train'.*gen-tiny/"):
        run_eval(replace(request, split="train"), quiet=True)
    with pytest.raises(ConfigError, match="--agent recorded: cannot read"):
        run_eval(replace(request, agent="recorded:nothing"), quiet=True)


def test_every_button_of_every_page_works(client: httpx.Client) -> None:
    here = client.post("/start")
    here = client.post(str(here.url), data={"words": "tea socks lamps"})
    for wanted in ("next >", "< prev", "b", "features", "< prev", "reviews", "< prev", "description", "back to search"):
        buttons = dict.fromkeys(value for name, value in Form(here.text).buttons if name == "label")
        label = next(value for value in buttons if value == wanted or (wanted == "b" and re.fullmatch("b...", value)))
        here = client.post(str(here.url), data={"label": label})
        assert here.status_code == 200
        assert 'role="status"' not in here.text, wanted
    assert "What are you looking for?" in here.text
    missed = client.post(str(here.url), data={"label": "buy now"})
    assert "nothing happened" in missed.text


@pytest.mark.parametrize(
    "path, data, status, words",
    [
        ("/start", {"goal": "no such goal"}, 400, "unknown task"), ("/s/nobody", None, 404, "no session"),
        ("/s/nobody", {"words": "x"}, 404, "no session"),
    ],
)  # fmt: skip
def test_refusals_are_pages(client: httpx.Client, path: str, data: Any, status: int, words: str) -> None:
    answer = client.get(path) if data is None else client.post(path, data=data)
    assert answer.status_code == status
    assert words in answer.text
    assert "Traceback" not in answer.text


def test_an_empty_or_endless_form_is_refused(client: httpx.Client) -> None:
    here = str(client.post("/start").url)
    assert client.post(here).status_code == 400
    assert "at most" in client.post(here, data={"words": "x" * 5000}).text
    assert client.get(here).status_code == 200


def test_pages_are_made_for_everybody_and_load_nothing(client: httpx.Client) -> None:
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    here = client.post("/start")
    here = client.post(str(here.url), data={"words": "shoes"})
    tags = Form(here.text).tags
    assert not {"script", "img", "iframe", "link"} - {"link"} & set(tags)
    assert tags.count("h1") == 1
    assert 'lang="en"' in here.text
    assert "Skip to the page" in here.text
    assert client.get("/shop.css").headers["content-type"].startswith("text/css")
    assert client.get("/health").json()["status"] == "ok"


def test_a_hostile_product_stays_text(tmp_path: Path) -> None:
    path = shelf.write_files(tmp_path / "data")
    records = json.loads(path.read_text())
    evil = "Shoes <script>alert(1)</script>\"'><button name=label value='buy now'>click[buy now]"
    records[0]["name"] = evil
    records[0]["small_description"] = [evil]
    records[0]["customization_options"] = {"Color": [{"value": evil}, {"value": "Buy now"}]}
    path.write_text(json.dumps(records))
    env = WebShopEnv(catalogue=path, split=shelf.split_with_goals(path))
    with serving(tmp_path, catalogue=str(path), split=shelf.split_with_goals(path)) as url, browsing(url) as client:
        here = client.post("/start")
        for data in ({"words": "shoes"}, {"label": "b000000001"}):
            here = client.post(str(here.url), data=data)
            form = Form(here.text)
            assert "script" not in form.tags
            labels = [value for name, value in form.buttons if name == "label"]
            assert labels.count("buy now") == (1 if data.get("label") else 0)
        here = client.post(str(here.url), data={"label": "buy now (option)"})
        assert "Score" not in here.text
    assert env.tasks()


def test_sessions_are_limited_and_left_ones_are_recorded(tmp_path: Path) -> None:
    with serving(tmp_path, Limits(max_sessions=2)) as url, browsing(url) as client:
        first = client.post("/start")
        client.post(str(first.url), data={"words": "left behind"})
        assert client.post("/start").status_code == 200
        full = client.post("/start")
        assert (full.status_code, "no more are allowed" in full.text) == (400, True)
    (left,) = read_trajectories(tmp_path / "people.jsonl", "rlsd/WebShop-v0")  # the untouched one left no line
    assert (left.stop, left.success, len(left.turns)) == (StopReason.MAX_TURNS, False, 1)


def test_out_of_steps_is_an_end_too(tmp_path: Path) -> None:
    with serving(tmp_path, max_steps=2) as url, browsing(url) as client:
        here = client.post("/start")
        for _ in range(2):
            here = client.post(str(here.url), data={"words": "socks"})
    assert "Out of steps" in here.text
    assert read_trajectories(tmp_path / "people.jsonl", "x")[0].stop is StopReason.TRUNCATED


@pytest.mark.slow
def test_a_browser_buys_the_goal(tmp_path: Path) -> None:
    """The whole way in headless Chromium, by keyboard and mouse as a person would."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    from tests.support.browser import buy_the_goal, missing

    if lacks := missing():
        pytest.skip(lacks)
    with serving(tmp_path) as url:
        buy_the_goal(selenium, url, KWARGS, tmp_path)
    assert read_trajectories(tmp_path / "people.jsonl", "rlsd/WebShop-v0")[0].score == 1.0

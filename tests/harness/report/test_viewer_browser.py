"""The viewer in headless Chromium, by keyboard: what it shows, what hostile episodes do to it, how narrow it may be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.report.report import write_report
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.viewer import viewer_app
from tests.support.browser import missing, open_browser
from tests.support.viewer_page import record, write_evaluation, write_run

selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

KEYS = {"enter": "\ue007", "esc": "\ue00c", "down": "\ue015", "up": "\ue013", "right": "\ue014", "left": "\ue012"}
BAD = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>\ud800'
LONG = "a long observation " * 55_000


class Viewer:
    """A page in a browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(self, url: str, episodes: int) -> None:
        self.browser.get("about:blank")
        self.browser.get(url)
        self.wait(lambda: self.js("return document.body.dataset.ready") == str(episodes))

    def js(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        for key in keys:
            for part in [KEYS[key]] if key in KEYS else key:
                selenium.ActionChains(self.browser).send_keys(part).perform()
            self.js("return new Promise((done) => setTimeout(done, 60))")

    def text(self, selector: str) -> str:
        return self.texts(selector)[0]

    def texts(self, selector: str) -> list[str]:
        """What is seen of each element; a lone surrogate, which drivers cannot send, is U+FFFD."""
        code = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.toWellFormed())"
        return self.js(code, selector)

    def wait(self, holds: Any) -> None:
        end = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    browser = open_browser(selenium, tmp_path_factory.mktemp("browser"))
    try:
        yield Viewer(browser)
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs: `ours` with two iterations of two groups of two, `theirs` with one of them."""
    folder = tmp_path_factory.mktemp("runs")
    episodes = [record(s, group=g, credit=0.5 - s) for g, s in ((0, 0), (0, 1), (1, 0))]
    for episode in episodes:
        episode["hindsight_read"] = [None, f"\nWhat a knower would do:\nsibling {episode['key'][3]} goes 1"]
    ours = write_run(folder / "ours", "rlsd", {0: episodes, 1: episodes})
    return [ours, write_run(folder / "theirs", "grpo", {0: episodes}, success=0.25)]


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> str:
    return write_report(runs).as_uri()


def test_a_person_reads_an_episode_by_keyboard(viewer: Viewer, page: str) -> None:
    viewer.open(page, 9)
    assert viewer.texts(".tile h3") == ["ours", "theirs"]
    assert "2 training episodes failed in the environment and were left out: timeout 2" in viewer.text("#results")
    viewer.press("e")
    assert viewer.text("#count") == "9 episodes"
    assert viewer.texts(".row .goal")[:3] == ["goal number 0", "goal number 0", "goal number 1"]
    viewer.press("j", "k", "enter", "down", "down", "right", "right")
    assert viewer.texts(".turn.here .number") == ["2"]
    assert viewer.text(".t.at") == " go"
    assert viewer.text("#readout") == (
        '" go" · Δ +0.200 nats · A +0.500 · m 1.1000 → Â +0.550 · log π acting −1.000, with hindsight −0.800, '
        "when drawn −1.000"
    )
    assert viewer.texts(".turn.here .think") == ["well,"]
    assert [t.strip() for t in viewer.texts(".turn.here .act")] == ["go", "<b>1</b>↵"]
    viewer.press("enter")
    assert "read by the teacher" in viewer.text(".turn.here details")
    assert "sibling 0 goes 1" in viewer.text(".turn.here details .text")
    viewer.press("left", "up")
    assert viewer.texts(".turn.here .number") == ["1"]


def test_colours_follow_the_numbers_and_their_sum_is_shown(viewer: Viewer, page: str) -> None:
    viewer.open(page + "#tab=episodes&at=0.2.1", 9)
    signs = "return [...document.querySelectorAll('.say .t')].map((t) => +t.matches('.up') - t.matches('.down'))"
    viewer.wait(lambda: viewer.js("return document.querySelectorAll('.say .t').length") == 6)
    viewer.press("enter", "1")
    assert viewer.js(signs) == [0, 0, 0, 1, 1, 1]
    viewer.press("2")
    assert viewer.js(signs) == [0, 0, 0, 1, 1, 1]
    viewer.press("3")
    assert viewer.js(signs) == [-1] * 6, "the episode was lost: A is −0.5"
    strengths = viewer.js("return [...document.querySelectorAll('.say .t')].map((t) => t.getAttribute('style'))")
    assert strengths[0] == strengths[2] < strengths[3] < strengths[5]
    # Â = −0.5 · (1, 1, 1, 1.05, 1.1, 1.15)
    assert viewer.text(".head [data-sum]") == "Σ Â −3.150 over 6 tokens, mean −0.525"
    assert float(viewer.js("return document.querySelector('[data-sum]').dataset.sum")) == pytest.approx(-3.15, abs=1e-6)
    viewer.press("0")
    assert viewer.js(signs) == [0] * 6


def test_siblings_and_other_runs_stand_side_by_side(viewer: Viewer, page: str) -> None:
    viewer.open(page + "#tab=episodes", 9)
    viewer.press("enter", "s")
    assert viewer.texts(".head > b") == ["ours · it. 2 · sibling 0", "ours · it. 2 · sibling 1"]
    assert len(viewer.texts("section.turn")) == 4
    viewer.press("down", "l", "right")
    assert viewer.js("return document.querySelector('.turn.here').dataset.c") == "1"
    viewer.press("esc", "c")
    picks = viewer.texts(".pick")
    assert [p.split("  ")[0].split(" ", 1)[1].strip() for p in picks] == [
        "ours · it. 1 · sibling 0 rlsd · 2 turns",
        "ours · it. 1 · sibling 1 rlsd · 2 turns",
        "theirs · it. 1 · sibling 0 grpo · 2 turns",
        "theirs · it. 1 · sibling 1 grpo · 2 turns",
    ]
    viewer.press("j", "down", "enter")
    assert viewer.texts(".head > b") == ["ours · it. 2 · sibling 0", "theirs · it. 1 · sibling 0"]
    here = viewer.js("return location.href")
    viewer.open(here, 9)
    viewer.wait(lambda: viewer.texts(".head > b") == ["ours · it. 2 · sibling 0", "theirs · it. 1 · sibling 0"])
    viewer.press("enter", "esc")
    assert len(viewer.texts(".head")) == 1
    viewer.press("esc")
    assert viewer.js("return document.activeElement.id") == "list"


FOUND = {
    "is:lost": 3,
    "is:lost run:theirs": 1,
    "kind-1": 3,
    "type:kind-1 step:2": 1,
    "turns>2": 0,
    "number 0 is:won": 3,
    "surprise>0.12 sibling:0 stop:term": 6,
    "gap>0.19": 9,
    "gap>0.21": 0,
    "is:invalid score<1": 3,
    "is:nothing": 0,
}


@pytest.mark.parametrize(("query", "rows"), FOUND.items())
def test_a_search_finds_what_every_word_fits(viewer: Viewer, page: str, query: str, rows: int) -> None:
    viewer.open(page, 9)
    viewer.press("/", query, "enter")
    assert viewer.text("#count") == (f"{rows} of 9 episodes" if rows < 9 else "9 episodes")
    assert len(viewer.texts(".row")) == rows


def test_help_opens_and_closes_and_orders_go_round(viewer: Viewer, page: str) -> None:
    viewer.open(page + "#tab=episodes", 9)
    viewer.press("?")
    assert "siblings of the group side by side" in viewer.text("#help")
    viewer.press("esc", "o", "o", "o")
    assert viewer.js("return document.getElementById('by-order').value") == "most surprising credit"
    assert "goal number 0" in viewer.texts(".row")[0]
    viewer.press("r")
    assert viewer.js("return document.getElementById('episodes').hidden")


def test_hostile_episodes_are_text(viewer: Viewer, tmp_path: Path) -> None:
    bad = record(0, goal=BAD, stop=BAD, hindsight_read=[BAD, BAD])
    for turn in bad["turns"]:
        turn.update(observation=BAD, response=BAD, action=BAD, next_observation=LONG)
    bad["turns"][1]["observation"] = LONG
    bad["task"].update(task_id=BAD, task_type=BAD)
    failed = record(1, error={"boundary": BAD, "message": LONG, "reason": BAD, "lost": False}, turns=[], turn_credit=[])
    run = write_run(tmp_path / "<b>run<b>", "rlsd", {0: [bad, failed]})
    viewer.browser.get_log("browser")
    viewer.open(write_report(run).as_uri(), 2)
    viewer.press("e", "enter")
    viewer.wait(lambda: len(viewer.texts(".turn")) == 2)
    assert "<script>window.hacked=1</script>" in viewer.text("#shown h2")
    assert viewer.js("return document.querySelectorAll('#shown img, #shown script, #rows img').length") == 0
    assert len(viewer.texts(".turn")[1]) < 10_000
    viewer.js("document.querySelector('.turn[data-k=\"1\"] .obs .more').click()")
    assert len(viewer.js("return document.querySelector('.turn[data-k=\"1\"] .obs').textContent")) == len(LONG)
    viewer.press("enter", "j")
    viewer.wait(lambda: len(viewer.texts(".turn")) == 0)
    assert "a long observation" in viewer.text(".head .lost:last-child")
    assert viewer.js("return window.hacked") is None
    assert viewer.js("return document.title") == "<b>run<b> · rlsd"
    assert viewer.browser.get_log("browser") == [], "no error, and nothing that the policy had to stop"


def test_evaluations_and_runs_without_tokens_are_shown_too(viewer: Viewer, tmp_path: Path) -> None:
    scripted = record(0, turn_credit=[0.0, 0.0])
    for turn in scripted["turns"]:
        turn.update(response="", token_ids=[], usage={"input": 900, "output": 12})
        turn["prompt"] = {"messages": [{"role": "system", "content": "be brief"}]}
    alone = record(0)
    run = write_run(tmp_path / "run", "rlsd", {0: [alone]})
    (run / "rollouts" / "step-000000.tokens.safetensors").unlink()
    evaluation = write_evaluation(tmp_path / "eval", [scripted])
    viewer.open(write_report([evaluation, run]).as_uri(), 2)
    assert "1 episode failed and counts as lost: agent.refused 1" in viewer.text("#results")
    assert "50.0 % success [10.0 %, 90.0 %], 1 task, panel test 0123" in viewer.text("#results")
    viewer.press("e", "enter", "down")
    viewer.wait(lambda: len(viewer.texts(".turn")) == 2)
    assert [t.split("\n")[0] for t in viewer.texts(".turn .say")] == ["go 0", "go 1"]
    assert viewer.texts(".turn .line")[0].split() == ["1", "900", "+", "12", "tokens"]
    assert viewer.texts(".turn summary")[:1] == ["prompt"]
    assert "null" not in viewer.text("#pane")
    viewer.press("j")
    viewer.wait(lambda: viewer.texts(".credit") != [])
    assert [c.split() for c in viewer.texts(".credit")] == [["+0.500", "×", "1.33"], ["+0.250", "×", "0.67"]]
    assert "Its tokens' credit was not kept." in viewer.text(".head")
    assert viewer.texts(".say b") == ["go 0", "go 1"]


def test_it_fits_500_pixels_and_both_colour_schemes(viewer: Viewer, page: str) -> None:
    viewer.browser.set_window_size(500, 800)
    try:
        viewer.open(page, 9)
        within = """const box = document.querySelector(arguments[0]);
            return innerWidth === 500 && document.documentElement.scrollWidth <= 500 && box.clientWidth > 400
                && box.scrollWidth <= box.clientWidth"""
        assert viewer.js(within, "#results")
        viewer.press("e")
        assert viewer.js(within, "#list")
        assert not viewer.browser.find_element("id", "pane").is_displayed()
        viewer.press("enter", "c", "enter")
        viewer.wait(lambda: len(viewer.texts(".head")) == 2)
        assert viewer.js(within, "#pane")
        assert not viewer.browser.find_element("id", "list").is_displayed()
        viewer.press("esc", "esc")
        assert viewer.browser.find_element("id", "list").is_displayed()
        colour = "return getComputedStyle(document.body).backgroundColor"
        found = []
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            viewer.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            found.append(viewer.js(colour))
        assert found == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]
    finally:
        viewer.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        viewer.browser.set_window_size(1100, 900)


def test_what_a_limit_left_out_is_said(viewer: Viewer, runs: list[Path], tmp_path: Path) -> None:
    place = write_report(runs, tmp_path / "x.html", max_mib=0.001)
    viewer.open(place.as_uri() + "#tab=episodes", 9)
    assert viewer.text("#notice").startswith("The turns of 9 episodes are left out: this page is limited to 0.001 MiB.")
    viewer.press("enter")
    assert "rlsd view shows all" in viewer.text(".head .lost")


def test_a_server_sends_episodes_when_they_are_opened(viewer: Viewer, runs: list[Path]) -> None:
    viewer.browser.get_log("browser")
    with Background(Listener(viewer_app(runs))) as url:
        viewer.open(url, 9)
        fetched = "return performance.getEntriesByType('resource').filter((e) => /episode.json/.test(e.name)).length"
        assert viewer.js(fetched) == 1, "the first one is shown"
        viewer.press("e", "j", "j", "enter", "down", "right")
        viewer.wait(lambda: viewer.js(fetched) == 3)
        assert viewer.texts(".head > b") == ["ours · it. 2 · sibling 0"]
        viewer.press("s", "esc", "c", "enter")
        viewer.wait(lambda: len(viewer.texts(".head")) == 2)
    assert viewer.browser.get_log("browser") == []

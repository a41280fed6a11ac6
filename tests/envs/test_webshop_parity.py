"""The original's recorded episodes and rankings, where the data is present."""

from __future__ import annotations

import importlib.util
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.errors import EnvError
from rlsd.envs.webshop.env import WebShopEnv
from rlsd.envs.webshop.library import open_catalogue
from rlsd.envs.webshop.nouns import nouns_by

DRAW_SEED = 12345
"""What the recording's generator was seeded with."""


@pytest.fixture(scope="module")
def webshop(real_data: Path) -> Path:
    folder = real_data / "webshop"
    if not (folder / "golden_traces_394.jsonl.xz").is_file():
        pytest.skip("needs the recorded WebShop episodes: RLSD_DATA/webshop/golden_traces_394.jsonl.xz")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def replay(folder: Path, nouns: str) -> list[tuple[str, str]]:
    """Every difference of pages, clickables, reward and end over the recorded episodes."""
    meta, *episodes = lines(folder / "golden_traces_394.jsonl.xz")
    catalogue = folder / "products_394_restored.json"
    envs = [
        WebShopEnv(
            catalogue=catalogue, protocol="original", split="all", draw_seed=DRAW_SEED, observation=mode, nouns=nouns,
            max_steps=1000,
        )
        for mode in ("text", "text_rich")
    ]  # fmt: skip
    assert len(envs[0].tasks()) == meta["n_goals"]
    differences = []
    for episode in episodes:
        task = f"products_394_restored/original-{DRAW_SEED}/{episode['goal_index']}"
        for step in episode["steps"]:
            for env, mode in zip(envs, ("text", "text_rich")):
                if step["action"] is None:
                    shown, _ = env.reset(options={"task": task})
                    reward, done = 0.0, False
                    assert env.goal.to_published() == episode["goal"]
                else:
                    shown, reward, done, _, _ = env.step(step["action"])
                got = (shown, list(env.page.clickables), reward, done)
                if got != (step[mode], step["clickables"], step["reward"], step["done"]):
                    differences.append((task, str(step["action"])))
    return differences


def test_recorded_episodes_are_the_originals_with_its_tagger(webshop: Path) -> None:
    if importlib.util.find_spec("spacy") is None:
        with pytest.raises(EnvError, match="pip install spacy"):
            nouns_by("spacy")
        pytest.skip("needs spaCy and its small English model")
    assert replay(webshop, "spacy") == []


def test_with_the_builtin_tagger_one_recorded_purchase_differs(webshop: Path) -> None:
    differing = {task for task, action in replay(webshop, "builtin")}
    assert len(differing) == 1


def test_rankings_are_lucenes(webshop: Path) -> None:
    catalogue = open_catalogue(str(webshop / "products_394_restored.json"))
    for entry in lines(webshop / "golden_lucene_rankings_394.jsonl.xz"):
        hits = catalogue.index.search(entry["q"], 50)
        assert [catalogue.product(hit.doc).asin for hit in hits] == [asin for asin, _ in entry["top50"]]
        for hit, (_, recorded) in zip(hits, entry["top50"]):
            assert hit.score == pytest.approx(recorded, abs=2e-4)

"""The original, recorded: over our generated shop always; over real products, and its rankings, where the data is."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.errors import EnvError
from rlsd.envs.webshop.engine.nouns import Nouns, nouns_by
from rlsd.envs.webshop.env import WebShopEnv
from rlsd.envs.webshop.shops import open_catalogue, read_products

DRAW_SEED = 12345
"""What the generator of the recordings over the 394 real products was seeded with."""
RECORDS = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def webshop(real_data: Path) -> Path:
    folder = real_data / "webshop"
    if not (folder / "golden_traces_394.jsonl.xz").is_file():
        pytest.skip("needs the recorded WebShop episodes: RLSD_DATA/webshop/golden_traces_394.jsonl.xz")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def replay(
    head: dict[str, Any], episodes: list[dict[str, Any]], catalogue: str | Path, nouns: str | Nouns
) -> list[tuple[str, str]]:
    """Every difference of pages, clickables, reward and end over recorded episodes."""
    seed = head.get("draw_seed", DRAW_SEED)
    envs = [
        WebShopEnv(
            catalogue=catalogue, protocol="original", split="all", draw_seed=seed, observation=mode, nouns=nouns,
            max_steps=1000,
        )
        for mode in ("text", "text_rich")
    ]  # fmt: skip
    assert len(envs[0].tasks()) == head["n_goals"]
    differences = []
    for episode in episodes:
        task = envs[0].tasks()[episode["goal_index"]].task_id
        for step in episode["steps"]:
            for env, mode in zip(envs, ("text", "text_rich")):
                if step["action"] is None:
                    shown, _ = env.reset(options={"task": task})
                    reward, done = 0.0, False
                    assert env.goal.to_published() == episode.get("goal", env.goal.to_published())
                else:
                    shown, reward, done, _, _ = env.step(step["action"])
                got = (shown, list(env.page.clickables), reward, done)
                if got != (step[mode], step["clickables"], step["reward"], step["done"]):
                    differences.append((task, str(step["action"])))
    return differences


def recorded_nouns() -> Nouns:
    """What spaCy found in the titles of the 394 products, by the title's hash; anything else is a KeyError."""
    table = json.loads(lzma.decompress((RECORDS / "webshop_nouns_394.json.xz").read_bytes()))
    return lambda title: tuple(table[hashlib.sha256(title.encode()).hexdigest()[:16]])


def test_the_original_on_our_generated_shop() -> None:
    """Recorded from the original over 400 generated products (benchmarks/webshop_parity.py); needs nothing else."""
    head, *episodes = lines(RECORDS / "webshop_original.jsonl.xz")
    steps = [step for episode in episodes for step in episode["steps"]]
    bought = [step["reward"] for step in steps if step["done"]]
    assert (len(episodes), len(steps), len(bought)) == (40, 404, 20)
    assert len(set(bought)) > 5, "purchases of many worths"
    table = head["nouns"]
    assert replay(head, episodes, "gen-400", lambda title: tuple(table[title])) == []
    steps[-1]["text"] += "!"
    assert len(replay(head, episodes, "gen-400", lambda title: tuple(table[title]))) == 1, "a difference would be seen"


def test_recorded_episodes_are_the_originals(webshop: Path) -> None:
    head, *episodes = lines(webshop / "golden_traces_394.jsonl.xz")
    assert (len(episodes), sum(len(e["steps"]) for e in episodes)) == (40, 470)
    assert replay(head, episodes, webshop / "products_394_restored.json", recorded_nouns()) == []


def test_spacy_finds_the_recorded_nouns(webshop: Path) -> None:
    if importlib.util.find_spec("spacy") is None:
        with pytest.raises(EnvError, match="pip install spacy"):
            nouns_by("spacy")
        pytest.skip("needs spaCy and its small English model")
    tagged, kept = nouns_by("spacy"), recorded_nouns()
    titles = [product.title for product in read_products(webshop / "products_394_restored.json")]
    assert [tagged(title) for title in titles] == [kept(title) for title in titles]


def test_with_the_builtin_tagger_one_recorded_purchase_differs(webshop: Path) -> None:
    head, *episodes = lines(webshop / "golden_traces_394.jsonl.xz")
    differing = {task for task, _ in replay(head, episodes, webshop / "products_394_restored.json", "builtin")}
    assert len(differing) == 1


def test_rankings_are_lucenes(webshop: Path) -> None:
    catalogue = open_catalogue(str(webshop / "products_394_restored.json"))
    for entry in lines(webshop / "golden_lucene_rankings_394.jsonl.xz"):
        hits = catalogue.index.search(entry["q"], 50)
        assert [catalogue.product(hit.doc).asin for hit in hits] == [asin for asin, _ in entry["top50"]]
        for hit, (_, recorded) in zip(hits, entry["top50"]):
            assert hit.score == pytest.approx(recorded, abs=2e-4)

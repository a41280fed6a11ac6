"""`/retrieve` as recorded from Search-R1's own server: our client reads its answers, our server gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlsd.envs.searchqa.rendering import block
from rlsd.envs.searchqa.retrieval.corpora import passage_of
from rlsd.envs.searchqa.retrieval.http import read_answer
from rlsd.envs.searchqa.retrieval.local import LocalRetriever
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.search import search_app

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "searchqa_retrieve.json").read_text(encoding="utf-8"))
PASSAGES = [passage_of(record, "") for record in RECORDED["corpus"]]
SCORED = [
    exchange
    for exchange in RECORDED["exchanges"]
    if exchange["status"] == 200 and exchange["request"].get("return_scores")
]


class Replay:
    """Ranks as the recorded server did."""

    def rank(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        known: dict[str, list[tuple[int, float]]] = {}
        for exchange in SCORED:
            for query, entries in zip(exchange["request"]["queries"], exchange["response"]["result"], strict=True):
                ranking = [(int(entry["document"]["id"]), entry["score"]) for entry in entries]
                known[query] = max(known.get(query, []), ranking, key=len)
        return [known[query][:k] for query in queries]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = search_app(LocalRetriever(Replay(), PASSAGES))
    with Background(Listener(app)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def test_enough_was_recorded() -> None:
    assert len(SCORED) >= 6
    assert {exchange["status"] for exchange in RECORDED["exchanges"]} == {200, 422, 500}
    assert any(len(exchange["request"]["queries"]) > 1 for exchange in SCORED)


@pytest.mark.parametrize("exchange", SCORED, ids=lambda e: str(e["request"])[:60])
def test_our_server_answers_alike(client: httpx.Client, exchange: dict[str, Any]) -> None:
    reply = client.post("/retrieve", json=exchange["request"])
    assert reply.status_code == 200
    assert reply.json() == exchange["response"]


@pytest.mark.parametrize("exchange", SCORED, ids=lambda e: str(e["request"])[:60])
def test_our_client_reads_its_answers(exchange: dict[str, Any]) -> None:
    wanted = exchange["response"]["result"]
    body = json.dumps(exchange["response"]).encode()
    found = read_answer(body, queries=len(wanted), k=10, source="recorded")
    assert [[(p.doc_id, p.contents, p.score) for p in passages] for passages in found] == [
        [(e["document"]["id"], e["document"]["contents"], e["score"]) for e in entries] for entries in wanted
    ]
    for passages in found:
        shown = block([passages], protocol="search-r1", format="tags", max_chars=10_000)
        lines = [f"Doc {i}(Title: {p.title}) {p.text}" for i, p in enumerate(passages, start=1)]
        assert shown == "\n\n<information>" + "\n".join(lines) + "</information>\n\n"


def test_refusals_are_refusals_here_too(client: httpx.Client) -> None:
    refused = [e["request"] for e in RECORDED["exchanges"] if e["status"] == 422]
    assert len(refused) == 3
    assert {client.post("/retrieve", json=request).status_code for request in refused} == {400}


def test_without_scores_ours_works(client: httpx.Client) -> None:
    """There it is an error, or a list too few."""
    unscored = [e for e in RECORDED["exchanges"] if not e["request"].get("return_scores") and "queries" in e["request"]]
    broken = [e for e in unscored if e["status"] != 422]
    assert [e["status"] for e in broken] == [200, 500]
    assert isinstance(broken[0]["response"]["result"][0], dict), "one document where a list a query was due"
    query = SCORED[0]["request"]["queries"][0]
    result = client.post("/retrieve", json={"queries": [query], "topk": 2}).json()["result"]
    assert result == [[entry["document"] for entry in SCORED[0]["response"]["result"][0][:2]]]

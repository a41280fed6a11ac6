"""The search core: ranking, pruning, storage, streamed builds."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd.envs.bm25 import Bm25Index, lucene_english
from rlsd.envs.bm25.lengths import LENGTHS, encode_length
from rlsd.envs.bm25.porter import stem
from rlsd.envs.errors import DataError

WORDS = [f"w{i}" for i in range(40)]


def corpus(seed: int, size: int = 120) -> list[str]:
    draw = random.Random(seed)
    weights = [1 / (i + 1) for i in range(len(WORDS))]
    return [" ".join(draw.choices(WORDS, weights, k=draw.randrange(0, 60))) for _ in range(size)]


def plain_ranking(texts: list[str], query: str, k: int, keys: list[str] | None = None) -> list[tuple[int, float]]:
    """BM25 by the book, one document after the other."""
    bags = [lucene_english(text) for text in texts]
    filled = sum(1 for bag in bags if bag)
    average = np.float32(sum(map(len, bags)) / filled)
    scored = []
    for doc, bag in enumerate(bags):
        counts, total = Counter(bag), 0.0
        for term, times in Counter(lucene_english(query)).items():
            frequency = sum(1 for other in bags if term in other)
            if not counts[term]:
                continue
            idf = np.float32(math.log(1 + (filled - frequency + 0.5) / (frequency + 0.5)))
            length = LENGTHS[encode_length(len(bag))]
            one, k1, b = np.float32(1), np.float32(0.9), np.float32(0.4)
            weight, inverse = np.float32(times) * idf, one / (k1 * ((one - b) + b * length / average))
            total += float(weight - weight / (one + np.float32(counts[term]) * inverse))
        if total:
            scored.append((doc, float(np.float32(total))))
    rank = keys.__getitem__ if keys else lambda doc: doc
    return sorted(scored, key=lambda entry: (-entry[1], rank(entry[0])))[:k]


@given(
    seed=st.integers(0, 10_000),
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=9),
    k=st.integers(1, 60),
    named=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_pruned_search_ranks_as_scoring_every_document_does(seed: int, query: list[str], k: int, named: bool) -> None:
    texts = corpus(seed)
    keys = [f"id{random.Random(seed + i).randrange(10**6)}-{i}" for i in range(len(texts))] if named else None
    index = Bm25Index.build(texts, keys=keys)
    for words in (query, query[:1]):  # the second search must find the scratch space clean
        mine = [(hit.doc, hit.score) for hit in index.search(" ".join(words), k)]
        assert mine == plain_ranking(texts, " ".join(words), k, keys)


def test_streamed_build_equals_the_one_in_memory_and_survives_the_disk(tmp_path: Path) -> None:
    texts, keys = corpus(3, 300), [f"{i * 7919 % 1000:04}" for i in range(300)]
    whole = Bm25Index.build(texts, keys=keys)
    streamed = Bm25Index.build(iter(texts), keys=iter(keys), folder=tmp_path / "index", buffer_postings=97)
    again = Bm25Index.load(tmp_path / "index", verify=True)
    assert {path.suffix for path in (tmp_path / "index").iterdir()} == {".npy", ".json"}  # no temporary file stays
    for query in ("w0 w5 w9", "w39", "w1 w1 w2", "nothing known"):
        assert whole.search(query, 25) == streamed.search(query, 25) == again.search(query, 25)
    assert len(again) == 300
    assert again.terms == whole.terms


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    Bm25Index.build([], folder=tmp_path / "none")
    assert Bm25Index.load(tmp_path / "none").search("anything") == []
    assert Bm25Index.build(["", "the of"]).search("the") == []


@pytest.mark.parametrize("wrong", [{"k1": 0.0}, {"b": 1.5}, {"b": -0.1}])
def test_scoring_constants_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="expected k1"):
        Bm25Index.build(["a"], **wrong)


def test_keys_must_match_texts() -> None:
    with pytest.raises(DataError, match="keys end at 1"):
        Bm25Index.build(["one", "two"], keys=["a"])


@pytest.mark.parametrize("name", ["docs.npy", "manifest.json", "lengths.npy", "starts.npy"])
def test_a_damaged_index_says_which_file(tmp_path: Path, name: str) -> None:
    Bm25Index.build(corpus(1), folder=tmp_path)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x7F
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"build (the index|it) again"):
        Bm25Index.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=name):
        Bm25Index.load(tmp_path)


def test_an_index_of_another_format_is_refused(tmp_path: Path) -> None:
    Bm25Index.build(["a shoe"], folder=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": "other"}))
    with pytest.raises(DataError, match="'other'"):
        Bm25Index.load(tmp_path)


def test_a_folder_below_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    built = Bm25Index.build(corpus(1), folder=Path("index"))
    assert Bm25Index.load(Path("index")).search("shoe", 5) == built.search("shoe", 5)


def test_an_analyser_of_ones_own_has_to_be_passed_again(tmp_path: Path) -> None:
    Bm25Index.build(["A b", "c"], analyzer=str.split, folder=tmp_path)
    with pytest.raises(DataError, match="analyzer="):
        Bm25Index.load(tmp_path)
    assert [hit.doc for hit in Bm25Index.load(tmp_path, analyzer=str.split).search("A")] == [0]


@pytest.mark.parametrize(
    "text, terms",
    [
        ("Women's shoe’s JAMES' o'neil's", ["women", "shoe", "jame", "o'neil"]),
        ("3.5mm 1,000 a.b.c x:y wi-fi foo_bar _ __", ["3.5mm", "1,000", "a.b.c", "x:y", "wi", "fi", "foo_bar"]),
        ("★★ hot 🔥🔥 ♡ ©2020 ™", ["★", "★", "hot", "🔥", "🔥", "♡", "©", "2020", "™"]),
        ("👩‍👩‍👧 👍🏽 🇩🇪🇫🇷 #️⃣", ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "#️⃣"]),
        ("日本 カメラ ひら สวัสดี", ["日", "本", "カメラ", "ひ", "ら", "สวัสดี"]),
        ("Ünïcode Σίσυφος İ", ["ünïcode", "σίσυφος", "i"]),
        ("½ cup 10½", ["cup", "10"]),
    ],
)
def test_terms_are_lucenes(text: str, terms: list[str]) -> None:
    assert lucene_english(text) == terms


def test_a_very_long_word_is_cut_where_lucene_cuts_it() -> None:
    assert [len(term) for term in lucene_english("x" * 600)] == [255, 255, 90]


@pytest.mark.parametrize(
    "word, expected",
    [
        ("caresses", "caress"), ("ponies", "poni"), ("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"),
        ("motoring", "motor"), ("conflated", "conflat"), ("hopping", "hop"), ("filing", "file"), ("happy", "happi"),
        ("relational", "relat"), ("vietnamization", "vietnam"), ("possibly", "possibl"), ("geology", "geologi"),
        ("archaeology", "archaeolog"),
        ("adoption", "adopt"), ("replacement", "replac"), ("controll", "control"), ("rate", "rate"), ("as", "as"),
        ("skis", "ski"), ("dies", "di"), ("generalizations", "gener"), ("ion", "ion"), ("sky", "sky"),
    ],
)  # fmt: skip
def test_stems_are_porters(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text())
def test_any_text_has_terms_or_none(text: str) -> None:
    assert all(lucene_english(text))


@given(st.integers(0, 2**31 - 1))
def test_a_length_is_rounded_down_by_less_than_an_eighth(length: int) -> None:
    coded = float(LENGTHS[encode_length(length)])
    assert coded <= length
    assert length - coded <= max(0, coded / 8)

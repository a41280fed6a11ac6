"""How alike observations are: numbers of states for anchors, TF-IDF vectors for soft anchors.

anchor_numbers   GiGPO's clusters (arXiv 2505.10978): an observation joins the first state of its group whose first
                 observation it resembles, by difflib's ratio 2 · matching characters / all characters
tfidf            as scikit-learn's TfidfVectorizer, which ProxMO's code calls (arXiv 2602.19225): words of two letters
                 or more in lower case, at most `limit` of them, the most frequent; each is its count times
                 ln((1 + n) / (1 + df)) + 1, df of the n observations holding it; vectors have length 1
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

WORD = re.compile(r"\b\w\w+\b")


def anchor_numbers(groups: Sequence[int], observations: Sequence[str], similarity: float | None) -> list[int]:
    """Return the state of each of K turns, numbered from 0 over all groups.

    Each distinct observation of a group is compared once with the states found so far.

    Args:
        groups: (K,) group of each turn.
        observations: (K,) text before each turn.
        similarity: smallest ratio inside a state; None: equal texts only.
    """
    numbers: dict[tuple[int, str], int] = {}
    found: dict[int, list[tuple[int, SequenceMatcher[str]]]] = {}
    count = 0
    for place in zip(groups, observations):
        if place in numbers:
            continue
        group, text = place
        known = found.setdefault(group, []) if similarity is not None else []
        number = next((n for n, first in known if _alike(text, first, similarity or 1.0)), count)
        if number == count:
            count += 1
            known.append((number, SequenceMatcher(None, "", text)))
        numbers[place] = number
    return [numbers[place] for place in zip(groups, observations)]


def _alike(text: str, first: SequenceMatcher[str], least: float) -> bool:
    """Two cheap upper bounds of the ratio spare most comparisons."""
    first.set_seq1(text)
    return first.real_quick_ratio() >= least and first.quick_ratio() >= least and first.ratio() >= least


def tfidf(texts: Sequence[str], *, limit: int = 1024) -> Tensor:
    """Return (K, F) float32, F ≤ `limit`; a text without a known word is 0."""
    counts = [Counter(WORD.findall(text.lower())) for text in texts]
    total: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for words in counts:
        total.update(words)
        holding.update(words.keys())
    kept = sorted(sorted(total), key=lambda word: -total[word])[:limit]
    column = {word: i for i, word in enumerate(sorted(kept))}
    vectors = torch.zeros(len(texts), len(column), dtype=torch.float64)
    for i, words in enumerate(counts):
        for word, n in words.items():
            if word in column:
                vectors[i, column[word]] = n
    df = torch.tensor([float(holding[word]) for word in column], dtype=torch.float64)
    weighted = vectors * (((1.0 + len(texts)) / (1.0 + df)).log() + 1.0)
    return torch.nn.functional.normalize(weighted, dim=1).float()

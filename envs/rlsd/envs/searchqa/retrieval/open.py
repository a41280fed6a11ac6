"""Opens a retriever from the `corpus` argument."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from rlsd.envs.errors import DataError, EnvError
from rlsd.envs.hiding import remember
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.base import Retriever
from rlsd.envs.searchqa.retrieval.corpora import read_corpus
from rlsd.envs.searchqa.retrieval.http import HttpRetriever
from rlsd.envs.searchqa.retrieval.local import Bm25Ranker, LocalRetriever, NoRetriever

Corpus = str | Path | Retriever | None


def open_corpus(corpus: Corpus, token: str | None = None) -> Retriever:
    """A retriever from an address, a folder made by `rlsd index build`, a corpus file, or "none".

    Args:
        token: for a server; "$NAME" reads an environment variable, so that no config contains the secret.

    Raises:
        EnvError: an invalid address, or a variable that is not set.
        DataError: a file or index that is missing or damaged.
    """
    if corpus is None or isinstance(corpus, Retriever):
        return corpus or NoRetriever()
    text = str(corpus)
    if text == "none":
        return NoRetriever()
    if "://" in text:
        return _server(text, _revealed(token))
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(str(path), changed(path))
    if path.is_file():
        return open_file(str(path), changed(path))
    raise DataError(f"there is no corpus {text!r}; give a file, a folder made by `rlsd index build`, or http://…")


def _revealed(token: str | None) -> str | None:
    if token is None or not token.startswith("$"):
        remember(token or "")
        return token
    value = os.environ.get(token[1:])
    if not value:
        raise EnvError(f"token is {token!r}, but the environment variable {token[1:]} is not set")
    remember(value)
    return value


@lru_cache(maxsize=16)
def _server(url: str, token: str | None) -> HttpRetriever:
    return HttpRetriever(url, token=token)


@lru_cache(maxsize=8)
def _folder(path: str, changed: int) -> Retriever:
    from rlsd.envs.searchqa.retrieval.index import open_index

    return open_index(path)


@lru_cache(maxsize=8)
def open_file(path: str, changed: int) -> LocalRetriever:
    """BM25 over a corpus file, in memory; `changed` is `changed(path)`."""
    return in_memory(read_corpus(path))


def in_memory(passages: Iterable[Passage]) -> LocalRetriever:
    """BM25 over passages."""
    stored = list(passages)
    return LocalRetriever(Bm25Ranker.of(stored), stored)


def changed(path: Path) -> int:
    """Modification time of a file, so that a changed one is read again."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading reports the error

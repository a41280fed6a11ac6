"""Readers for published corpora: streams of paragraphs.

| format | record |
|---|---|
| Search-R1, FlashRAG (wiki-18) | JSON lines, `id`, `contents` = title line, newline, text |
| JSON lines or a JSON list | `title`, `text` (or `paragraph_text`), `id` if any |
| HotpotQA-style | one JSON object, title → sentences or text |
| DPR | TSV with `id`, `text`, `title` |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import DataError
from rlsd.envs.searchqa.questions.readers import records
from rlsd.envs.searchqa.questions.types import Passage


def read_corpus(path: str | Path) -> Iterator[Passage]:
    """Paragraphs in the file's order; JSON lines are read a line at a time.

    Raises:
        DataError: unreadable, or a malformed record; gives its number.
    """
    path = Path(path)
    seen = 0
    for record in _expanded(path):
        seen += 1
        try:
            yield passage_of(record, str(seen - 1))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}: record {seen} is no paragraph ({type(error).__name__}: {error}); expected "
                '{"id": "…", "contents": "title\\ntext"} or {"title": "…", "text": "…"}'
            ) from error
    if not seen:
        raise DataError(f"{path} holds no paragraphs")


def passage_of(record: Any, fallback_id: str) -> Passage:
    """One record as a passage without lone surrogates. Raises KeyError, TypeError or ValueError for another format."""
    if "contents" in record:
        title, _, text = record["contents"].partition("\n")
    else:
        title = record["title"]
        text = record["text"] if "text" in record else record["paragraph_text"]
    if not isinstance(title, str) or not isinstance(text, str):
        raise TypeError("title and text must be texts")
    doc_id = str(record.get("id", fallback_id))
    return Passage(title=well_formed(title), text=well_formed(text), doc_id=well_formed(doc_id))


def _expanded(path: Path) -> Iterator[Any]:
    for record in records(path):
        if isinstance(record, dict) and not {"contents", "title"} & set(record):
            for title, text in record.items():  # title → sentences
                yield {"title": title, "text": "".join(text).strip() if isinstance(text, list) else text}
        else:
            yield record

"""Readers for published question files; the format is detected from the content.

| set | file | detected by |
|---|---|---|
| NQ | NQ-open's JSON lines; DPR's tab-separated files | `question` + `answer` list; a Python list in column two |
| TriviaQA | the official JSON | `Question` + `Answer` with `Aliases` |
| PopQA | the official TSV | `possible_answers`, a JSON list in a column |
| HotpotQA | the official JSON | `supporting_facts` + `context` |
| 2WikiMultiHopQA | the official JSON, or its JSON lines | the same, and `evidences` |
| MuSiQue | the official JSON lines | `question_decomposition` + `paragraphs` |
| Bamboogle | the official CSV | columns `Question`, `Answer` |
| any | JSON lines, JSON list, CSV, TSV | `question` + `answer`, `answers` or `golden_answers` (FlashRAG's) |
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlsd.envs.errors import DataError
from rlsd.envs.searchqa.questions.types import Hop, Passage, Question, Support

_MOST_BYTES = 4 << 30
Record = dict[str, Any]


def read_questions(path: str | Path, *, source: str = "") -> tuple[Question, ...]:
    """All questions of a file, in its order. Records without an answer (hidden test sets) are an error.

    Args:
        source: name of the set, for reports; default: derived from the records, else the file's name.

    Raises:
        DataError: unreadable, or a malformed record; gives its number.
    """
    path = Path(path)
    questions: list[Question] = []
    for number, record in enumerate(records(path), start=1):
        try:
            questions.append(_question(record, number, source or path.name.split(".")[0]))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError) as error:
            raise DataError(
                f"{path}: record {number} is no question ({type(error).__name__}: {error}); expected a published "
                'format or {"question": "…", "answers": ["…"]}'
            ) from error
    if not questions:
        raise DataError(f"{path} holds no questions")
    return tuple(questions)


def records(path: Path) -> Iterator[Record]:
    """Records of a JSON, JSON-lines, CSV or TSV file, gzip or not.

    Raises:
        DataError: unreadable, or not of the format its extension says.
    """
    name = path.name.removesuffix(".gz")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            if name.endswith((".csv", ".tsv")):
                yield from _table(file.read(_MOST_BYTES), "\t" if name.endswith(".tsv") else ",")
            elif name.endswith((".jsonl", ".ndjson")):
                yield from _lines(file, path)
            else:
                yield from _document(file, path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {str(path)!r}: {reason}") from error


def _lines(file: Any, path: Path) -> Iterator[Record]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is not JSON: {error}") from error


def _document(file: Any, path: Path) -> Iterator[Record]:
    """One JSON value, or JSON lines under another extension."""
    text = file.read(_MOST_BYTES)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        yield from _lines(io.StringIO(text), path)
        return
    if isinstance(data, dict) and isinstance(data.get("Data"), list):
        data = data["Data"]  # TriviaQA
    elif isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise DataError(f"{path} holds a {type(data).__name__}, expected a list of records")
    yield from data


def _table(text: str, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(1 << 24)
    lines = text.splitlines(keepends=True)
    header = next(csv.reader(lines[:1], delimiter=delimiter), [])
    if not {name.strip().lower() for name in header} & {"question", "text"}:  # DPR's question files: tabs, no header
        rows = csv.reader(lines, delimiter="\t" if "\t" in "".join(lines[:1]) else delimiter)
        for row in rows:
            if row:
                yield {"question": row[0], "answer": row[1] if len(row) > 1 else None}
        return
    yield from csv.DictReader(lines, delimiter=delimiter)


def _question(record: Record, number: int, source: str) -> Question:
    if not isinstance(record, dict):
        raise TypeError(f"a {type(record).__name__}, expected a mapping")
    for fits, read in _READERS:
        if fits(record):
            question = read(record, str(number), source)
            break
    else:
        question = _plain(record, str(number), source)
    if not question.text.strip():
        raise ValueError("the question is empty")
    if not question.answers or not all(isinstance(a, str) for a in question.answers):
        raise ValueError("no answer (a hidden test set?)")
    return question


def _plain(record: Record, number: str, source: str) -> Question:
    low = {str(key).strip().lower(): value for key, value in record.items()}
    answers = next((low[k] for k in ("golden_answers", "answers", "answer", "target") if k in low), None)
    if isinstance(answers, dict):
        answers = answers.get("aliases") or answers.get("value")
    text = low["question"] if "question" in low else low["query"]
    source = str(low.get("source") or low.get("data_source") or source)
    return Question(
        question_id=str(low.get("id") or low.get("_id") or number),
        text=str(text).strip(),
        answers=_unique(answers),
        kind=str(low.get("type") or source),
        source=source,
    )


def _triviaqa(record: Record, number: str, source: str) -> Question:
    answer = record["Answer"]
    return Question(
        question_id=str(record.get("QuestionId", number)),
        text=record["Question"].strip(),
        answers=_unique([answer["Value"], *answer.get("Aliases", []), *answer.get("HumanAnswers", [])]),
        kind="triviaqa",
        source="triviaqa",
    )


def _popqa(record: Record, number: str, source: str) -> Question:
    return Question(
        question_id=str(record.get("id") or number),
        text=record["question"].strip(),
        answers=_unique(_listed(record["possible_answers"])),
        kind=str(record.get("prop") or "popqa"),
        source="popqa",
        support=(Support(title=record["s_wiki_title"]),) if record.get("s_wiki_title") else (),
    )


def _hotpot(record: Record, number: str, source: str) -> Question:
    """HotpotQA and 2Wiki; a context is [title, sentences], or a mapping of lists as dataset servers return it."""
    context: Any = record["context"]
    if isinstance(context, dict):
        sentences = context["sentences"] if "sentences" in context else context["content"]
        context = list(zip(context["title"], sentences, strict=True))
    contexts = tuple(Passage(title=title, text="".join(s).strip()) for title, s in context)
    facts = record["supporting_facts"]
    titles = facts["title"] if isinstance(facts, dict) else [title for title, _ in facts]
    support = tuple(Support(title=title) for title in dict.fromkeys(titles))
    return Question(
        question_id=str(record.get("_id") or record.get("id") or number),
        text=record["question"].strip(),
        answers=_unique([record["answer"], *record.get("answer_aliases", [])]),
        kind=str(record.get("type") or "multi-hop"),
        source="2wiki" if "evidences" in record else "hotpotqa",
        hops=_evidence_hops(record, titles, support),
        support=support,
        contexts=contexts,
    )


def _evidence_hops(record: Record, titles: list[str], support: tuple[Support, ...]) -> tuple[Hop, ...]:
    """2Wiki has facts as (subject, relation, object). Without facts, each supporting paragraph is a hop."""
    names = [s.title for s in support]
    if record.get("evidences"):
        return tuple(
            Hop(
                asks=f"{relation} of {subject}",
                answer=value,
                support=names.index(subject) if subject in names else None,
                query=f"{subject} {relation}",
            )
            for subject, relation, value in record["evidences"]
        )
    return tuple(Hop(asks=f"about {t}", answer=t, support=i, query=t) for i, t in enumerate(names))


def _musique(record: Record, number: str, source: str) -> Question:
    paragraphs = {p["idx"]: Passage(title=p["title"], text=p["paragraph_text"]) for p in record["paragraphs"]}
    hops: list[Hop] = []
    support: list[Support] = []
    for step in record["question_decomposition"]:
        asks = step["question"]
        for i, hop in enumerate(hops, start=1):
            asks = asks.replace(f"#{i}", hop.answer)
        asks = asks.replace(" >> ", " ")
        place = step.get("paragraph_support_idx")
        if place is not None:
            paragraph = paragraphs[place]
            support.append(Support(title=paragraph.title, text=paragraph.text))
        at = None if place is None else len(support) - 1
        hops.append(Hop(asks=asks, answer=step["answer"], support=at, query=asks))
    return Question(
        question_id=str(record.get("id", number)),
        text=record["question"].strip(),
        answers=_unique([record["answer"], *record.get("answer_aliases", [])]),
        kind=f"{len(hops)}-hop",
        source="musique",
        hops=tuple(hops),
        support=tuple(support),
        contexts=tuple(paragraphs.values()),
    )


_READERS: tuple[tuple[Callable[[Record], bool], Callable[[Record, str, str], Question]], ...] = (
    (lambda r: "question_decomposition" in r and "paragraphs" in r, _musique),
    (lambda r: "supporting_facts" in r and "context" in r, _hotpot),
    (lambda r: "possible_answers" in r and "question" in r, _popqa),
    (lambda r: "Question" in r and isinstance(r.get("Answer"), dict), _triviaqa),
)


def _listed(value: Any) -> list[Any]:
    """A list, or a list written as JSON or Python."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = ast.literal_eval(value)
    return value if isinstance(value, list) else [value]


def _unique(answers: Any) -> tuple[str, ...]:
    """Answers as texts, each once, in order."""
    if answers is None:
        raise ValueError("no answer (a hidden test set?)")
    if isinstance(answers, str) and answers.strip().startswith("["):
        try:
            answers = _listed(answers)
        except (ValueError, SyntaxError):
            answers = [answers]  # an answer that begins with a bracket
    listed = answers if isinstance(answers, (list, tuple)) else [answers]
    texts = [a if isinstance(a, str) else str(a) for a in listed if a is not None]
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))

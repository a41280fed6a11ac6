"""What flows through search QA: questions with their hop chains, passages, and what supports what."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.searchqa.scoring import normalize

_SAME_TEXT = 0.8
"""Share of a supporting paragraph's words that a passage of the same title must hold to count as that paragraph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One retrieved paragraph. `contents` is how Search-R1's corpora spell it: title line, newline, text.

    Example: Passage(title="Tavo Merrin", text="Tavo Merrin, a painter, was …", doc_id="17", score=9.3)
    """

    title: str
    text: str
    doc_id: str = ""
    score: float = 0.0
    """Higher is better; the scale is the retriever's own."""

    @property
    def contents(self) -> str:
        return f"{self.title}\n{self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """A paragraph that a question needs."""

    title: str
    text: str = ""
    """"" where the title alone names the paragraph."""

    def matches(self, passage: Passage) -> bool:
        """The passage is this paragraph, or this paragraph in another edition of the corpus."""
        if normalize(passage.title) != normalize(self.title):
            return False
        words = set(normalize(self.text).split())
        found = set(normalize(passage.text).split())
        return len(words & found) >= _SAME_TEXT * len(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One link of the chain from question to answer.

    Example: Hop(asks="the teacher of Tavo Merrin", answer="Belora Castun", support=0, query="Tavo Merrin teacher")
    """

    asks: str
    """What this hop finds out, with the earlier answers filled in."""
    answer: str
    support: int | None
    """Index into the question's `support`; None where the data do not say."""
    query: str
    """A query that a searcher who knows the earlier answers may send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with everything known about it. Only `text` may reach the player."""

    question_id: str
    text: str
    answers: tuple[str, ...]
    """All that count as right; the first is the one to teach."""
    kind: str
    """The task type in reports: "2-hop", "bridge", or the set's name."""
    source: str = ""
    hops: tuple[Hop, ...] = ()
    support: tuple[Support, ...] = ()
    """Empty where the set does not name supporting paragraphs."""
    contexts: tuple[Passage, ...] = ()
    """Paragraphs published with the question, supporting ones and distractors."""

"""Two scripted shoppers: the explorer reads pages, the oracle knows the goal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import product as combinations

from rlsd.envs.webshop.catalogue.catalogue import Catalogue
from rlsd.envs.webshop.catalogue.goals import Goal
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.pages import Kind, Page
from rlsd.envs.webshop.engine.reward import Score, alike, first_colour
from rlsd.envs.webshop.engine.shop import BACK, BUY, HITS, NEXT, PREVIOUS, WINDOW, Session, parse
from rlsd.envs.webshop.generate.sentence import read

_LOOKS = 5
"""Number of products the explorer opens at most."""
_TRIES = 400
"""Maximum number of option combinations scored if the requested options do not give the full score."""
_WORD = re.compile(r"[^\W_]+")

ScoreOf = Callable[[Product, Mapping[str, str]], Score]
"""(product, options) → score of that purchase."""


def click(label: str) -> str:
    return f"click[{label.lower()}]"


class Explorer:
    """Searches for the sentence, opens the hit with the best matching title, selects the requested options, buys.

    It sees only the pages, and remembers which products lacked an option.
    """

    def __init__(self, instruction: str) -> None:
        self._request = read(instruction)
        self._sentence = instruction.lower()
        self._left: list[str] = []
        self._opened = ""

    def choose(self, page: Page) -> str:
        """The next action on this page."""
        if page.name == "search":
            return f"search[{self._request.words}]"
        if page.name == "results":
            return self._from_results(page)
        if page.name != "item":
            return click(PREVIOUS)
        wanted, lacking = self._wanted(page)
        if lacking and len(self._left) < _LOOKS - 1 and self._opened not in self._left:
            self._left.append(self._opened)
            return click(PREVIOUS)
        return click(wanted) if wanted else click(BUY)

    def _from_results(self, page: Page) -> str:
        words = set(_WORD.findall(self._request.words.lower()))
        best, target = -1.0, ""
        pieces = page.pieces
        for i, piece in enumerate(pieces):
            if piece.kind is not Kind.LINK or piece.text in self._left:
                continue
            title, tag = pieces[i + 1].text, pieces[i + 2].text
            shared = len(words & set(_WORD.findall(title.lower()))) / max(1, len(words))
            fits = shared - (1.0 if _lowest(tag) > self._request.limit else 0.0)
            if fits > best + 1e-9:
                best, target = fits, piece.text
        if not target:
            self._left.clear()
            return click(BACK)
        self._opened = target
        return click(target)

    def _wanted(self, page: Page) -> tuple[str, bool]:
        """The next option to click ("" if none), and whether a requested option is missing here."""
        groups: dict[str, list[tuple[str, bool]]] = {}
        name = ""
        for piece in page.pieces[4:]:
            if piece.kind is Kind.OPTION:
                groups.setdefault(name, []).append((piece.text, piece.clicked))
            else:
                name = piece.text
        lacking = False
        for name, value in self._asked(groups):
            values = dict(groups.get(name, []))
            if value not in values:
                lacking = True
            elif not values[value]:
                return value, False
        return "", lacking

    def _asked(self, groups: Mapping[str, list[tuple[str, bool]]]) -> list[tuple[str, str]]:
        if self._request.options:
            return list(self._request.options)
        named = []  # human sentences do not mark options: take the longest value in the sentence
        for name, values in groups.items():
            inside = [value for value, _ in values if value and value in self._sentence]
            if inside:
                named.append((name, max(inside, key=len)))
        return named


def _lowest(tag: str) -> float:
    match = re.search(r"\$([\d.]+)", tag)
    try:
        return float(match.group(1)) if match else 0.0
    except ValueError:
        return 0.0


def best_options(goal: Goal, product: Product) -> dict[str, str]:
    """Options of the goal's product that match the goal, name → value."""
    chosen: dict[str, str] = {}
    for name, value in goal.options:
        for own_name, values in product.options.items():
            if name and name != own_name:
                continue
            fitting = [v for v in values if v == value] or [
                v for v in values if alike(first_colour(v), first_colour(value))
            ]
            if fitting and own_name not in chosen:
                chosen[own_name] = fitting[0]
                break
    return chosen


class Oracle:
    """Plans from the full state. If the requested options do not give the full score, it tries others."""

    def __init__(self, catalogue: Catalogue, goal: Goal, score_of: ScoreOf, *, original: bool) -> None:
        self.catalogue, self._goal, self._original = catalogue, goal, original
        self._score_of = score_of
        self.position = catalogue.find(goal.asin)
        self._options: dict[str, str] | None = None
        self._query: tuple[str, int] | None = None

    @property
    def product(self) -> Product | None:
        return None if self.position is None else self.catalogue.product(self.position)

    def options(self, session: Session) -> dict[str, str]:
        """Options to select on the goal's page, name → value; only clickable ones."""
        if self._options is None:
            product = self.product
            assert product is not None
            chosen = best_options(self._goal, product)
            clickable = {n: [v for v in vs if self._clickable(session, v)] for n, vs in product.options.items()}
            chosen = {n: v for n, v in chosen.items() if v in clickable[n]}
            best = self._total(product, chosen)
            if best < 1:
                tries = combinations(*([None, *values] for values in clickable.values()))
                for _, values in zip(range(_TRIES), tries):
                    candidate = {n: v for n, v in zip(clickable, values) if v is not None}
                    total = self._total(product, candidate)
                    if total > best + 1e-12:
                        best, chosen = total, candidate
            self._options = chosen
        return self._options

    def _total(self, product: Product, chosen: Mapping[str, str]) -> float:
        return self._score_of(product, chosen).total

    def _clickable(self, session: Session, value: str) -> bool:
        label = session.label(value, "option")
        return parse(click(label), original=self._original) == ("click", label)

    def query(self) -> tuple[str, int]:
        """A query that finds the goal's product, and its rank from 0; −1 if none does."""
        if self._query is None:
            product = self.product
            assert product is not None
            tried: list[tuple[str, int]] = []
            for words in (read(self._goal.instruction).words, product.title, f"{product.title} {product.search_text}"):
                text = " ".join(words.lower().replace("[", " ").replace("]", " ").split())[:400]
                if not text or text.startswith("<"):
                    continue
                hits = [hit.doc for hit in self.catalogue.index.search(text, HITS)]
                if self.position in hits:
                    tried.append((text, hits.index(self.position)))
                    if tried[-1][1] < WINDOW:
                        break
            self._query = min(tried, key=lambda entry: entry[1] // WINDOW) if tried else ("", -1)
        return self._query

    def plan(self, session: Session) -> tuple[str, ...] | None:
        """The shortest way from here to buying the goal with its options; None if it is unreachable."""
        product = self.product
        if product is None:
            return None
        if session.bought:
            return ()
        if session.position == self.position:
            back = (click(PREVIOUS),) if session.page.name != "item" else ()
            return (*back, *self._finish(session, session.options))
        fresh = self._finish(session, {})
        on_results = session.page.name == "results"
        if self.position in session.hits and (on_results or session.position is not None):
            steps = () if on_results else (click(PREVIOUS),) * (1 if session.page.name == "item" else 2)
            wanted = session.page_of(self.position)
            turn = wanted - session.page_number
            if 0 <= turn <= 2 or -2 <= turn < 0:
                turns = (click(NEXT) if turn > 0 else click(PREVIOUS),) * abs(turn)
                return (*steps, *turns, click(session.label(product.asin, "product")), *fresh)
        text, place = self.query()
        if place < 0:
            return None
        home = () if session.page.name == "search" else (click(BACK),)
        turns = (click(NEXT),) * (place // WINDOW)
        return (*home, f"search[{text}]", *turns, click(session.label(product.asin, "product")), *fresh)

    def _finish(self, session: Session, chosen: Mapping[str, str]) -> tuple[str, ...]:
        wanted = self.options(session)
        clicks = (session.label(value, "option") for name, value in wanted.items() if chosen.get(name) != value)
        return (*map(click, clicks), click(BUY))

"""Hindsight for a WebShop episode: the product, the plan, unmet facts, why the score is below 1."""

from __future__ import annotations

import math

from rlsd.envs.core import Hindsight
from rlsd.envs.webshop.catalogue.goals import Goal
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.reward import Score
from rlsd.envs.webshop.engine.shop import Session
from rlsd.envs.webshop.experts import Oracle


class Witness:
    """Observes a session; plans are computed on demand."""

    def __init__(self, session: Session, goal: Goal, oracle: Oracle) -> None:
        self._session, self._goal, self._oracle = session, goal, oracle
        self._before: Session | None = None
        self._understood = True
        self._start: tuple[str, ...] | None = None

    def step(self, action: str) -> bool:
        """Execute an action in the observed session; returns whether it was understood."""
        self._before = self._session.copy()
        self._understood = self._session.act(action)
        return self._understood

    def plan(self) -> tuple[str, ...] | None:
        return self._oracle.plan(self._session)

    def hindsight(self, scored: Score | None) -> Hindsight:
        """Hindsight about the current state; `scored`: of the purchase, or of buying the open product now."""
        session, goal, route = self._session, self._goal, self.plan()
        product = self._oracle.product
        wanted = self._oracle.options(session) if product is not None else {}
        if self._start is None and product is not None and route is not None:
            self._start = self._oracle.plan(session.fresh()) or ()
        feedback, lost = "", ()
        if self._before is not None:
            feedback = self._feedback(route)
            lost = _cleared(self._before, session, goal.asin, wanted)
        if session.bought and scored is not None and scored.total < 1:
            lost = (*lost, *shortfalls(scored, goal, session))
        return Hindsight(
            answer=_answer(product, wanted) if product is not None else None,
            demonstration=self._start or (),
            plan=route or (),
            missing=() if session.bought else _missing(session, goal, wanted),
            whereabouts=self._whereabouts(scored),
            distance=math.inf if route is None else float(len(route)),
            lost=lost,
            feedback=feedback,
        )

    def _whereabouts(self, scored: Score | None) -> tuple[str, ...]:
        session, lines = self._session, []
        if self._oracle.position in session.hits and not session.bought:
            page = session.page_of(self._oracle.position)
            lines.append(f"{self._goal.asin.lower()} is on page {page} of these results")
        if scored is not None and not session.bought:
            lines.append(f"bought now, this product would score {scored.total:.2f}")
            lines += shortfalls(scored, self._goal, session)
        return tuple(lines)

    def _feedback(self, route: tuple[str, ...] | None) -> str:
        assert self._before is not None
        if not self._understood:
            return "The page has no such action: nothing changed."
        if self._session.bought:
            return "Bought."
        old = self._oracle.plan(self._before)
        was, left = (math.inf if steps is None else len(steps) for steps in (old, route))
        if math.isinf(left):
            return "The goal is out of reach."
        trend = "nearer to" if left < was else "farther from" if left > was else "no nearer to"
        return f"{trend.capitalize()} the goal ({was:.0f} -> {left:.0f} steps left)."


def _answer(product: Product, wanted: dict[str, str]) -> str:
    chosen = ", ".join(f"{name}: {value}" for name, value in wanted.items())
    return f"{product.asin.lower()}, {product.title[:120]}" + (f"; {chosen}" if chosen else "")


def _missing(session: Session, goal: Goal, wanted: dict[str, str]) -> tuple[str, ...]:
    right = session.product is not None and session.product.asin == goal.asin
    facts = [] if right else [f"the page of {goal.asin.lower()} is open"]
    for name, value in wanted.items():
        if not right or session.options.get(name) != value:
            facts.append(f"{name} {value} is chosen")
    return (*facts, "it is bought")


def shortfalls(scored: Score, goal: Goal, session: Session) -> tuple[str, ...]:
    """Why a purchase scores less than 1, one part each."""
    lines = []
    if scored.type < 1:
        lines.append(f"type: not the kind of product that is asked for ({scored.type:g})")
    unmet = [attribute for attribute, met in zip(goal.attributes, scored.attributes) if not met]
    if unmet:
        lines.append(f"attributes: {', '.join(unmet)} not met")
    for (name, value), met in zip(goal.options, scored.options):
        if not met:
            chosen = session.options.get(name)
            lines.append(f"options: {name + ' ' if name else ''}{value} wanted, {chosen or 'nothing'} chosen")
    if not scored.price:
        lines.append(f"price: above {goal.price_upper:.2f} dollars")
    return tuple(lines)


def _cleared(before: Session, now: Session, asin: str, wanted: dict[str, str]) -> tuple[str, ...]:
    was = before.product is not None and before.product.asin == asin
    still = now.product is not None and now.product.asin == asin
    if was and not still:
        gone = [f"the page of {asin.lower()} was left"]
        return (*gone, *(f"{n} {v} was cleared" for n, v in before.options.items() if wanted.get(n) == v))
    if was:
        return tuple(
            f"{n} {v} was replaced" for n, v in before.options.items() if wanted.get(n) == v != now.options.get(n)
        )
    return ()

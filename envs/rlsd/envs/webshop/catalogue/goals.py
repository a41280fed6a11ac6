"""Goals: what a customer asks for. A goal is fixed per catalogue and identified by its content.

Synthetic goals: every combination of option values of a product with an instruction. Human goals: one per
instruction. The price limit is the larger of two draws from the next four multiples of ten dollars above the price,
at most 990; more expensive products have none. Draws are seeded by product id and instruction, so that neither the
order of the catalogue, nor its size, nor the seed of an episode changes a goal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product as combinations
from random import Random
from typing import Any

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import TaskError
from rlsd.envs.webshop.catalogue.products import Instruction, Product

NO_LIMIT = 1_000_000.0
_TENS = tuple(10.0 * i for i in range(1, 100))
_FORMAT = ("asin", "instruction_text", "attributes", "price_upper", "goal_options", "query", "name", "product_category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal.

    Example: Goal(asin="B09Q5ZHRVM", instruction="Find me loose fit men's shorts with color: blue, and price lower
                  than 50.00 dollars", attributes=("loose fit",), options=(("color", "blue"),), named=True, …)
    """

    asin: str
    instruction: str
    """The whole sentence, options and price limit included."""
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    """Wanted (name, value); the name is "" if the instruction contains only values."""
    named: bool
    """The options have names (synthetic goals)."""
    price_upper: float
    title: str
    query: str
    category: str
    product_category: str
    weight: float = field(default=1.0, compare=False)
    """The original's sampling weight, not normalised."""

    @property
    def goal_id(self) -> str:
        """Twelve hex digits of the content's hash."""
        return hashlib.sha256(self.content.encode(errors="surrogatepass")).hexdigest()[:12]

    @property
    def content(self) -> str:
        """Everything that determines reward and sentence, as JSON."""
        return json.dumps(
            [self.asin, self.instruction, self.attributes, self.options, self.named, self.price_upper, self.title,
             self.query, self.product_category],
            separators=(",", ":"),
        )  # fmt: skip

    def to_published(self) -> dict[str, Any]:
        """In the original's format."""
        return {
            "asin": self.asin, "category": self.category, "query": self.query, "name": self.title,
            "product_category": self.product_category, "instruction_text": self.instruction,
            "attributes": list(self.attributes), "price_upper": self.price_upper,
            "goal_options": dict(self.options) if self.named else [value for _, value in self.options],
            "weight": self.weight,
        }  # fmt: skip

    @classmethod
    def from_published(cls, data: Mapping[str, Any]) -> Goal:
        """From the original's format.

        Raises:
            TaskError: a key that is missing or of another type.
        """
        missing = [name for name in _FORMAT if name not in data]
        if missing:
            raise TaskError(f"the goal lacks {', '.join(missing)}; expected the published format with {_FORMAT}")
        options, named = data["goal_options"], isinstance(data["goal_options"], Mapping)
        pairs = tuple((str(k), str(v)) for k, v in options.items()) if named else tuple(("", str(v)) for v in options)
        texts = ("asin", "instruction_text", "query", "name", "product_category")
        bad = [name for name in texts if not isinstance(data[name], str)]
        attributes = data["attributes"]
        if not isinstance(attributes, (list, tuple)) or not all(isinstance(a, str) for a in attributes):
            bad.append("attributes")
        if not isinstance(data["price_upper"], (int, float)):
            bad.append("price_upper")
        if bad or not attributes:
            raise TaskError(f"the goal's {', '.join(bad) or 'attributes'} cannot be {'used' if bad else 'empty'}")
        return cls(
            asin=data["asin"],
            instruction=well_formed(data["instruction_text"]),
            attributes=tuple(attributes),
            options=pairs,
            named=named,
            price_upper=float(data["price_upper"]),
            title=data["name"],
            query=data["query"],
            category=str(data.get("category", "")),
            product_category=data["product_category"],
            weight=float(data.get("weight", 1.0)),
        )


def price_limit(price: float, draw: Random) -> float | None:
    """The limit for a price, or None if the price is too high for one."""
    above = [ten for ten in _TENS if ten > price][:4]
    return max(draw.sample(above, 2)) if len(above) >= 2 else None


def goals_of(products: Iterable[Product], price_of: Callable[[Product], float]) -> Iterator[Goal]:
    """All goals of the products, in order, with limits determined by content."""
    for product in products:
        for instruction in product.instructions:
            draw = Random(f"limit {product.asin} {instruction.text}")
            yield from _goals(product, instruction, price_limit(price_of(product), draw))


def _goals(product: Product, instruction: Instruction, limit: float | None) -> Iterator[Goal]:
    price_text = "" if limit is None else f", and price lower than {limit:.2f} dollars"
    upper = NO_LIMIT if limit is None else limit
    if instruction.options is not None:
        pairs = tuple(("", value) for value in instruction.options)
        yield _goal(product, instruction, instruction.text.strip(".") + price_text, pairs, upper)
        return
    names = sorted(product.options)
    for values in combinations(*(product.options[name] for name in names)):
        pairs = tuple(zip(names, values))
        asked = ", and ".join(f"{name}: {value}" for name, value in pairs)
        sentence = f"{instruction.text}{' with ' + asked if asked else ''}{price_text}"
        yield _goal(product, instruction, sentence, pairs, upper)


def _goal(
    product: Product, instruction: Instruction, sentence: str, pairs: tuple[tuple[str, str], ...], upper: float
) -> Goal:
    return Goal(
        asin=product.asin,
        instruction=sentence,
        attributes=instruction.attributes,
        options=pairs,
        named=instruction.options is None,
        price_upper=upper,
        title=product.title,
        query=product.query,
        category=product.category,
        product_category=product.product_category,
    )

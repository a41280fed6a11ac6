"""The score of a purchase, from 0 to 1, with its parts.

score = type · (attributes met + options met + price met) / (attributes + options + 1)

Type is 1; 0.5 if neither the search category, nor two shop categories, nor more than a fifth of the goal title's
nouns agree; 0.1 if under a tenth of the nouns agree and 0 if none does. Source: WebShop (Yao et al. 2022,
arXiv 2207.01206), and the original's behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rlsd.envs.webshop.catalogue.goals import Goal
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.colours import COLOURS, first_colour
from rlsd.envs.webshop.engine.nouns import Nouns

_ALIKE = 85
_DROPPED = dict.fromkeys(range(128, 256))
"""Characters removed by the original's matcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of a purchase, with its parts."""

    total: float
    type: float
    """1, 0.5, 0.1 or 0."""
    attributes: tuple[bool, ...]
    """One per goal attribute: met or not."""
    options: tuple[bool, ...]
    """One per goal option: met or not."""
    price: bool
    same_query: bool
    same_category: bool
    title: float
    """Number of shared nouns of the two titles / number of nouns in the goal's title (with repeats)."""

    def parts(self) -> dict[str, float]:
        """Each part in [0, 1]; without options if the goal has none."""
        out = {"type": self.type, "attributes": sum(self.attributes) / len(self.attributes)}
        if self.options:
            out["options"] = sum(self.options) / len(self.options)
        return {**out, "price": float(self.price)}


def score(
    product: Product, goal: Goal, *, price: float, chosen: Mapping[str, str], nouns: Nouns, original: bool = False
) -> Score:
    """Compare a product with chosen options to a goal.

    Args:
        price: of the product in this shop.
        chosen: option name → value.
        nouns: title → nouns.
        original: compare option pairs as the original does; else values under the same name.
    """
    kind, same_query, same_category, title = _type(product, goal, nouns)
    met = _attributes(product, goal)
    options = _original_options(goal, chosen) if original else _options(goal, chosen)
    cheap = goal.price_upper > 0 and price <= goal.price_upper
    share = (sum(met) + sum(options) + cheap) / (len(goal.attributes) + len(goal.options) + 1)
    return Score(
        total=share * kind,
        type=kind,
        attributes=met,
        options=options,
        price=cheap,
        same_query=same_query,
        same_category=same_category,
        title=title,
    )


def _type(product: Product, goal: Goal, nouns: Nouns) -> tuple[float, bool, bool, float]:
    same_query = product.query == goal.query
    paths = [{part.strip() for part in path.split("›")} for path in (product.product_category, goal.product_category)]
    same_category = len(paths[0] & paths[1]) >= 2
    wanted = nouns(goal.title)
    title = len(set(nouns(product.title)) & set(wanted)) / len(wanted) if wanted else 0.2
    kind = 1.0 if same_query or same_category or title > 0.2 else 0.5
    if title < 0.1:
        kind = 0.1 if title else 0.0
    return kind, same_query, same_category, title


def _attributes(product: Product, goal: Goal) -> tuple[bool, ...]:
    texts = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
    return tuple(
        any(alike(own, wanted) for own in product.attributes) or any(wanted in text for text in texts)
        for wanted in goal.attributes
    )


def _options(goal: Goal, chosen: Mapping[str, str]) -> tuple[bool, ...]:
    met = []
    for name, value in goal.options:
        candidates = [chosen[name]] if name in chosen else [] if goal.named else list(chosen.values())
        met.append(any(alike(first_colour(own), first_colour(value)) for own in candidates))
    return tuple(met)


def _original_options(goal: Goal, chosen: Mapping[str, str]) -> tuple[bool, ...]:
    """Quirk: named options are compared as the written-out pair (name, value) with every chosen value."""
    values = [first_colour(value) for value in chosen.values()]
    wanted = [_pair(name, value) if goal.named else first_colour(value) for name, value in goal.options]
    return tuple(any(alike(own, want) for own in values) for want in wanted)


def _pair(name: str, value: str) -> str:
    return next((colour for colour in COLOURS if colour in (name, value)), str((name, value)))


@lru_cache(maxsize=262_144)
def alike(first: str, second: str) -> bool:
    """Token-set similarity above 85 of 100, as in the original's matching library."""
    from rapidfuzz import fuzz, utils  # late: keeps `import rlsd.envs` fast

    one, other = (utils.default_process(text.translate(_DROPPED)) for text in (first, second))
    return round(fuzz.token_set_ratio(one, other)) > _ALIKE

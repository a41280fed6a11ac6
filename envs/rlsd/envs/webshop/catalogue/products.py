"""Products, made from the published records.

Rules (behaviour of the original `load_products`, not its code): ids longer than ten characters and repeated ids are
dropped; the price tag is "$a" or "$a to $b", 100 without a price; option names are lower case; values are stripped,
lower case and with "/" as " | "; there are no ratings. Ours: a lone surrogate in any text becomes U+FFFD.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from rlsd.envs.answers import well_formed
from rlsd.envs.errors import DataError

NO_ATTRIBUTE = "DUMMY_ATTR"
"""What the original lists for a product without mined attributes."""
_MISSING_PRICE = 100.0
_LONGEST_ID = 10
_PUBLISHED = ("asin", "name", "full_description", "small_description", "customization_options", "query", "category",
              "product_category", "images")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """A sentence that asks for a product: "Find me … with …", without options and price in synthetic ones."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | None = None
    """Wanted option values of a human instruction; None for a synthetic one, which asks for every combination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product: what pages show and the reward compares.

    Example: Product(asin="B09Q5ZHRVM", title="Mens Gym Shorts", prices=(19.19,), price_tag="$19.19",
                     options={"color": ("black", "blue"), "size": ("small",)}, …)
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    prices: tuple[float, ...]
    """One price in dollars, or the lower and upper end of a range."""
    price_tag: str
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    query: str
    category: str
    product_category: str
    image: str = ""
    option_images: Mapping[str, str] = field(default_factory=dict)
    instructions: tuple[Instruction, ...] = ()

    @property
    def search_text(self) -> str:
        """The indexed text: title, description, first bullet and options, lower case."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, self.bullets[0] if self.bullets else "", options]).lower()

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` restores an equal product."""
        return {
            "asin": self.asin, "title": self.title, "description": self.description, "bullets": list(self.bullets),
            "prices": list(self.prices), "price_tag": self.price_tag,
            "options": {name: list(values) for name, values in self.options.items()},
            "attributes": list(self.attributes), "query": self.query, "category": self.category,
            "product_category": self.product_category, "image": self.image, "option_images": dict(self.option_images),
            "instructions": [
                [i.text, list(i.attributes), None if i.options is None else list(i.options)] for i in self.instructions
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Product:
        return cls(
            asin=data["asin"],
            title=data["title"],
            description=data["description"],
            bullets=tuple(data["bullets"]),
            prices=tuple(data["prices"]),
            price_tag=data["price_tag"],
            options={name: tuple(values) for name, values in data["options"].items()},
            attributes=tuple(data["attributes"]),
            query=data["query"],
            category=data["category"],
            product_category=data["product_category"],
            image=data["image"],
            option_images=data["option_images"],
            instructions=tuple(
                Instruction(
                    text=text, attributes=tuple(attributes), options=None if options is None else tuple(options)
                )
                for text, attributes, options in data["instructions"]
            ),
        )


def products_of(
    records: Iterable[Any],
    attributes: Mapping[str, Any],
    human: Mapping[str, Any] | None,
    *,
    source: str,
    limit: int | None = None,
    refused: list[str] | None = None,
) -> Iterator[Product]:
    """Products from published records, in order. Those whose price is no number are left out.

    Args:
        records: entries of items_shuffle*.json.
        attributes: items_ins_v2*.json, product id → attributes and synthetic instruction.
        human: items_human_ins.json, product id → instructions; None keeps the synthetic ones.
        source: the file's name, for errors.
        limit: read only the first N records.
        refused: receives a line about each product that is left out for its price.

    Raises:
        DataError: a malformed record; names its position, its id and the field.
    """
    seen: set[str] = set()
    for i, record in enumerate(records):
        if limit is not None and i >= limit:
            return
        where = f"{source}, product {i}"
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object, got {type(record).__name__}")
        missing = [name for name in _PUBLISHED if name not in record]
        if missing:
            raise DataError(f"{where}: {', '.join(missing)} missing; is this an items_shuffle*.json file?")
        asin = _text(record, "asin", where)
        where += f" ({asin[:20]})"
        if asin == "nan" or len(asin) > _LONGEST_ID or asin in seen:
            continue
        seen.add(asin)
        pricing = _pricing(record.get("pricing"))
        if pricing is None:
            if refused is not None:
                refused.append(f"product {i} ({asin}): {str(record['pricing'])[:40]!r}")
            continue
        key = record["asin"]  # as the other files spell it
        asked = None if human is None else human.get(key, ())
        yield _product(record, pricing, attributes.get(key), asked, human, where)


def _product(
    record: dict[str, Any], pricing: tuple[tuple[float, ...], str], entry: Any, asked: Any, human: Any, where: str
) -> Product:
    prices, tag = pricing
    options, pictures = _options(record["customization_options"], where)
    bullets = record["small_description"]
    bullets = bullets if isinstance(bullets, list) else [bullets]
    if not all(isinstance(bullet, str) for bullet in bullets):
        raise DataError(f"{where}: small_description must be a text or a list of texts")
    images = record["images"]
    if not isinstance(images, list):
        raise DataError(f"{where}: images must be a list")
    if entry is not None and not isinstance(entry, dict):
        raise DataError(f"{where}: its entry in the attributes file is a {type(entry).__name__}, expected an object")
    mined = (entry or {}).get("attributes")
    return Product(
        asin=_text(record, "asin", where),
        title=_text(record, "name", where),
        description=_text(record, "full_description", where),
        bullets=tuple(map(well_formed, bullets)),
        prices=prices,
        price_tag=tag,
        options=options,
        attributes=(NO_ATTRIBUTE,) if mined is None else _texts(mined, "attributes", where),
        query=_text(record, "query", where).lower().strip(),
        category=_text(record, "category", where),
        product_category=_text(record, "product_category", where),
        image=well_formed(str(images[0])) if images else "",
        option_images=pictures,
        instructions=_synthetic(entry or {}, where) if human is None else _human(asked, where),
    )


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is {type(value).__name__}, expected text")
    return well_formed(value)


def _texts(values: Any, name: str, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{where}: {name} must be a list of texts")
    return tuple(map(well_formed, values))


def _pricing(pricing: Any) -> tuple[tuple[float, ...], str] | None:
    """Prices and the tag; "$12.5 - $20" → ((12.5, 20.0), "$12.5 to $20.0"). None if they are no finite numbers."""
    if not pricing:
        return (_MISSING_PRICE,), f"${_MISSING_PRICE}"
    if not isinstance(pricing, str):
        return None
    try:
        prices = tuple(float(Decimal(re.sub(r"[^\d.]", "", part))) for part in pricing.split("$")[1:])
    except InvalidOperation:
        prices = ()
    if not prices or not all(map(math.isfinite, prices)):
        return None
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def _options(choices: Any, where: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    options: dict[str, tuple[str, ...]] = {}
    pictures: dict[str, str] = {}
    if not choices:
        return options, pictures
    if not isinstance(choices, dict):
        raise DataError(f"{where}: customization_options is {type(choices).__name__}, expected an object")
    for name, contents in choices.items():
        if contents is None:
            continue
        values = []
        for entry in contents if isinstance(contents, list) else [contents]:
            if not isinstance(entry, dict) or not isinstance(entry.get("value"), str):
                raise DataError(f"{where}: option {name!r} has an entry without a text value")
            value = well_formed(entry["value"]).strip().replace("/", " | ").lower()
            values.append(value)
            if isinstance(entry.get("image"), str):
                pictures[value] = well_formed(entry["image"])
        options[well_formed(name).lower()] = tuple(values)
    return options, pictures


def _synthetic(entry: dict[str, Any], where: str) -> tuple[Instruction, ...]:
    text = entry.get("instruction")
    if text is None:
        return ()
    if not isinstance(text, str):
        raise DataError(f"{where}: instruction is {type(text).__name__}, expected text")
    wanted = _texts(entry.get("instruction_attributes"), "instruction_attributes", where)
    return (Instruction(text=well_formed(text), attributes=wanted),) if wanted else ()


def _human(asked: Any, where: str) -> tuple[Instruction, ...]:
    if not isinstance(asked, (list, tuple)):
        raise DataError(f"{where}: its human instructions are {type(asked).__name__}, expected a list")
    out = []
    for entry in asked:
        if not isinstance(entry, dict) or not isinstance(entry.get("instruction"), str):
            raise DataError(f"{where}: a human instruction without a text")
        wanted = _texts(entry.get("instruction_attributes"), "instruction_attributes", where)
        options = _texts(entry.get("instruction_options"), "instruction_options", where)
        if wanted:  # the original skips those without attributes
            out.append(Instruction(text=well_formed(entry["instruction"]), attributes=wanted, options=options))
    return tuple(out)

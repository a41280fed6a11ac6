"""Generated catalogues, no download needed: product i depends only on its family and i.

Families: `gen-tiny` has short pages for a model trained from scratch, `gen-default` resembles the real shop, and
`gen-N` is the same with N products.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from rlsd.envs.errors import EnvError, closest
from rlsd.envs.webshop.catalogue.catalogue import MemoryCatalogue
from rlsd.envs.webshop.catalogue.products import Instruction, Product
from rlsd.envs.webshop.generate.wares import BRANDS, DEPARTMENTS, FOR, PRAISE, SENTENCES, VALUES, Department, Ware

PRESETS = ("gen-tiny", "gen-default")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEP = 1_315_423_911 * 5
"""Coprime to 36, so that ids are distinct; they do not reveal the order."""
_MOST = 50_000
"""Maximum number of products in memory; larger catalogues must be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Settings of a family of generated products."""

    products: int
    tag: str
    """Part of every random seed."""
    attributes: tuple[int, int] = (3, 6)
    wanted: tuple[int, int] = (1, 3)
    """Number of attributes in an instruction."""
    values: tuple[int, int] = (2, 5)
    groups: int = 2
    """Maximum number of option groups."""
    bullets: int = 4
    asking: float = 0.45
    """Share of products with an instruction."""
    plain: bool = False
    """Short titles and pages."""


def family(name: str) -> Family:
    """The family of a preset or of "gen-N".

    Raises:
        EnvError: another name.
    """
    if name == "gen-tiny":
        return Family(
            products=600, tag="tiny", attributes=(2, 3), wanted=(1, 1), values=(2, 3), groups=1, bullets=1, asking=1.0,
            plain=True,
        )  # fmt: skip
    number = re.fullmatch(r"gen-(\d{1,8})", name)
    if name == "gen-default" or (number and int(number.group(1)) > 0):
        return Family(products=2000 if number is None else int(number.group(1)), tag="shop")
    raise EnvError(f"unknown generated catalogue {name!r}{closest(name, (*PRESETS, 'gen-20000'))}")


def generate(name: str, *, first: int = 0, last: int | None = None) -> Iterator[Product]:
    """Products `first` to `last` of a family, one at a time."""
    shape = family(name)
    for i in range(first, shape.products if last is None else last):
        yield _product(shape, i)


@lru_cache(maxsize=8)
def generated(name: str) -> MemoryCatalogue:
    """A generated catalogue in memory.

    Raises:
        EnvError: an unknown name, or one too large for memory; shows the command that stores it.
    """
    shape = family(name)
    if shape.products > _MOST:
        raise EnvError(
            f"{name} has more than {_MOST} products; store it once with "
            f"`python -m rlsd.envs.webshop build {name} FOLDER`, then open it with catalogue='FOLDER'"
        )
    return MemoryCatalogue(name, generate(name))


def _product(shape: Family, i: int) -> Product:
    draw = Random(f"ware {shape.tag} {i}")
    department = draw.choice(DEPARTMENTS)
    ware = draw.choice(department.wares)
    brand, praise, use = draw.choice(BRANDS), draw.choice(PRAISE), draw.choice(FOR)
    pool = [*department.attributes, *ware.extra]
    attributes = draw.sample(pool, draw.randint(*shape.attributes))
    options = _options(shape, ware, draw)
    title = _title(shape, ware, brand, praise, use, attributes)
    prices, tag = _prices(ware, draw)
    asks = draw.random() < shape.asking
    sentences = draw.sample(SENTENCES, min(shape.bullets, len(SENTENCES)))
    bullets = tuple(
        sentence.format(use=use, praise=praise, noun=ware.noun, brand=brand, a=attributes[k % len(attributes)])
        for k, sentence in enumerate(sentences)
    )
    described = ", ".join(attributes)
    wanted = tuple(draw.sample(attributes, min(len(attributes), draw.randint(*shape.wanted))))
    return Product(
        asin=_asin(shape, i),
        title=title,
        description="" if shape.plain else f"{praise.capitalize()} {ware.noun} by {brand} for {use}: {described}.",
        bullets=tuple(bullet[0].upper() + bullet[1:] for bullet in bullets),
        prices=prices,
        price_tag=tag,
        options=options,
        attributes=tuple(attributes),
        query=ware.noun,
        category=department.name,
        product_category=_path(department, ware),
        instructions=(_instruction(ware, wanted),) if asks else (),
    )


def _title(shape: Family, ware: Ware, brand: str, praise: str, use: str, attributes: list[str]) -> str:
    noun = ware.noun if shape.plain else ware.noun.title().replace("'S", "'s")
    if shape.plain:
        return f"{brand} {noun}, {attributes[0]}"
    return f"{brand} {praise.capitalize()} {noun} for {use.title()}, {', '.join(a.title() for a in attributes[:3])}"


def _instruction(ware: Ware, wanted: tuple[str, ...]) -> Instruction:
    before, after = wanted[: (len(wanted) + 1) // 2], wanted[(len(wanted) + 1) // 2 :]
    text = f"Find me {', '.join(before)} {ware.noun}" + (f" with {', '.join(after)}" if after else "")
    return Instruction(text=text, attributes=wanted)


def _options(shape: Family, ware: Ware, draw: Random) -> dict[str, tuple[str, ...]]:
    out = {}
    for name in ware.options[: shape.groups]:
        values = VALUES[name]
        count = min(len(values), draw.randint(*shape.values))
        picked = set(draw.sample(range(len(values)), count))
        out[name] = tuple(value for k, value in enumerate(values) if k in picked)
    return out


def _prices(ware: Ware, draw: Random) -> tuple[tuple[float, ...], str]:
    low, high = ware.price
    price = round(draw.uniform(low, high), 2)
    if draw.random() < 0.2:
        top = round(price * draw.uniform(1.05, 1.5), 2)
        return (price, top), f"${price} to ${top}"
    return (price,), f"${price}"


def _path(department: Department, ware: Ware) -> str:
    return " › ".join((department.title, *ware.path))


def _asin(shape: Family, i: int) -> str:
    """An id of ten characters, like the real shop's; four in the tiny family, for short pages."""
    size = 3 if shape.plain else 8
    number, text = (i * _STEP + 7) % 36**size, ""
    for _ in range(size):
        number, digit = divmod(number, 36)
        text += _LETTERS[digit]
    return ("B" if shape.plain else "B0") + text

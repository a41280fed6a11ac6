"""Catalogues: products by position and by id, with their search index; in memory or memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from random import Random
from typing import Protocol

from rlsd.envs.bm25 import Bm25Index
from rlsd.envs.webshop.catalogue.products import Product


class Catalogue(Protocol):
    """Interface of a catalogue; read-only and shared by all environments of a process."""

    name: str
    """Short, for task ids and lists."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits of a hash over the products."""
        ...

    @property
    def index(self) -> Bm25Index:
        """Document i is product i."""
        ...

    def __len__(self) -> int: ...

    def product(self, position: int) -> Product:
        """The product at a position, 0 to len − 1."""
        ...

    def find(self, asin: str) -> int | None:
        """The position of an id, or None."""
        ...

    def instructed(self) -> Iterator[int]:
        """Positions of products with an instruction, ascending."""
        ...


def fixed_price(product: Product) -> float:
    """A product's price, the same in every run: a price range gives a uniform draw seeded by the id alone."""
    if len(product.prices) == 1:
        return product.prices[0]
    return Random(f"price {product.asin}").uniform(*product.prices)


class MemoryCatalogue:
    """All products in memory: for up to tens of thousands."""

    def __init__(self, name: str, products: Iterable[Product]) -> None:
        self.name = name
        self._products = tuple(products)
        self._positions = {product.asin: i for i, product in enumerate(self._products)}

    def __len__(self) -> int:
        return len(self._products)

    def product(self, position: int) -> Product:
        return self._products[position]

    def find(self, asin: str) -> int | None:
        return self._positions.get(asin)

    def instructed(self) -> Iterator[int]:
        return (i for i, product in enumerate(self._products) if product.instructions)

    @property
    def index(self) -> Bm25Index:
        """Built on the first search; equal scores are ordered by product id, as in the original."""
        return self._index

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _index(self) -> Bm25Index:
        return Bm25Index.build(
            (product.search_text for product in self._products), keys=(product.asin for product in self._products)
        )

    @cached_property
    def _digest(self) -> str:
        sha = hashlib.sha256()
        for product in self._products:
            sha.update(f"{product.asin}\0{product.search_text}\0{product.price_tag}\n".encode(errors="surrogatepass"))
        return sha.hexdigest()[:16]

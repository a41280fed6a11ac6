"""Products in the published format, for other programs that read WebShop's files; `products_of` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlsd.envs.errors import DataError
from rlsd.envs.webshop.catalogue.products import NO_ATTRIBUTE, Product


def publish(products: Iterable[Product], folder: Path) -> int:
    """Write items_shuffle.json and items_ins_v2.json, one product at a time.

    Returns:
        How many products were written.

    Raises:
        DataError: a product with a human instruction, or with several: the files cannot represent them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (
        (folder / "items_shuffle.json").open("w", encoding="utf-8") as items,
        (folder / "items_ins_v2.json").open("w", encoding="utf-8") as attributes,
    ):
        items.write("[")
        attributes.write("{")
        for count, product in enumerate(products, start=1):
            between = "\n" if count == 1 else ",\n"
            items.write(between + json.dumps(record_of(product)))
            attributes.write(f"{between}{json.dumps(product.asin)}: {json.dumps(entry_of(product))}")
        items.write("\n]\n")
        attributes.write("\n}\n")
    return count


def record_of(product: Product) -> dict[str, Any]:
    """An entry of items_shuffle*.json."""
    pictures = product.option_images
    return {
        "asin": product.asin, "name": product.title, "full_description": product.description,
        "small_description": list(product.bullets), "pricing": product.price_tag.replace(" to ", " - "),
        "images": [product.image], "category": product.category, "query": product.query,
        "product_category": product.product_category,
        "customization_options": {
            name: [{"value": value, **({"image": pictures[value]} if value in pictures else {})} for value in values]
            for name, values in product.options.items()
        },
    }  # fmt: skip


def entry_of(product: Product) -> dict[str, Any]:
    """An entry of items_ins_v2*.json."""
    entry: dict[str, Any] = {}
    if product.attributes != (NO_ATTRIBUTE,):
        entry["attributes"] = list(product.attributes)
    if len(product.instructions) > 1 or any(asked.options is not None for asked in product.instructions):
        raise DataError(f"product {product.asin} has human instructions; only synthetic ones, one each, are written")
    for asked in product.instructions:
        entry |= {"instruction": asked.text, "instruction_attributes": list(asked.attributes)}
    return entry

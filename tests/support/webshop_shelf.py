"""A small shop of hand-made products, hostile ones too, for the WebShop tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlsd.envs.errors import DataError
from rlsd.envs.webshop.catalogue.catalogue import MemoryCatalogue
from rlsd.envs.webshop.catalogue.products import Product, products_of
from rlsd.envs.webshop.shops import SPLITS, open_shop


def record(asin: str, name: str, **changes: Any) -> dict[str, Any]:
    """One entry of an items_shuffle*.json file."""
    return {
        "asin": asin, "name": name, "full_description": "", "small_description": ["First point.", "Second point."],
        "pricing": "$12.50", "images": ["https://example.org/a.jpg"], "category": "fashion", "query": "Shoes ",
        "product_category": "Clothing › Men › Shoes", "customization_options": {}, **changes,
    }  # fmt: skip


def choices(*values: str) -> list[dict[str, str]]:
    return [{"value": value} for value in values]


RECORDS = [
    record(
        "B000000001", "Red Running Shoes", pricing="$20.00 - $35.00",
        customization_options={"Color": choices("Red", "Navy/Blue"), "Size": choices("8", "9")},
    ),
    record("B000000002", "Blue Walking Shoes", customization_options={"Color": choices("blue")}),
    record("B000000003", "Green Tea", query="tea", category="grocery", product_category="Food › Tea", pricing=""),
    record("B000000002", "A repeated id"),
    record("TOO-LONG-ID-1", "Dropped"),
]  # fmt: skip
ATTRIBUTES = {
    "B000000001": {
        "attributes": ["rubber sole", "arch support"], "instruction": "Find me arch support shoes with rubber sole",
        "instruction_attributes": ["arch support", "rubber sole"],
    },
    "B000000002": {"attributes": ["rubber sole"]},
}  # fmt: skip
HUMAN = {
    "B000000002": [
        {"instruction": "i need blue shoes.", "instruction_attributes": ["rubber sole"],
         "instruction_options": ["blue"]},
        {"instruction": "skipped", "instruction_attributes": [], "instruction_options": []},
    ]
}  # fmt: skip


def products(human: dict[str, Any] | None = None) -> list[Product]:
    return list(products_of(RECORDS, ATTRIBUTES, human, source="shelf"))


def catalogue() -> MemoryCatalogue:
    return MemoryCatalogue("shelf", products())


def write_files(folder: Path, *, human: bool = False) -> Path:
    """The published files of this shelf; returns the products' own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "items_shuffle_1000.json"
    path.write_text(json.dumps(RECORDS))
    (folder / "items_ins_v2_1000.json").write_text(json.dumps(ATTRIBUTES))
    if human:
        (folder / "items_human_ins.json").write_text(json.dumps(HUMAN))
    return path


def split_with_goals(path: Path) -> str:
    """A split in which the few goals of this shelf are."""
    for split in SPLITS:
        try:
            open_shop(path).shelf(split)
        except DataError:
            continue
        return split
    raise AssertionError("the shelf has goals")

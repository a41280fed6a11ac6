"""The effect of the fixed reward and the built-in tagger: every goal of a products file, five purchases each.

    python benchmarks/webshop_reward.py PRODUCTS [--nouns FILE]

PRODUCTS is items_shuffle*.json, with its attributes file in the same folder; the titles' nouns come from spaCy, or from
the output of `webshop_parity.py --nouns` (default: tests/data/webshop_nouns_394.json.xz, for the 394 real products).
Three scores of each: the original's rule with spaCy's nouns, ours with the built-in ones, and ours with spaCy's, which
isolates the effect of the tagger. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlsd.envs.webshop.catalogue.catalogue import Catalogue, fixed_price
from rlsd.envs.webshop.catalogue.goals import Goal, goals_of
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.nouns import Nouns, nouns_by
from rlsd.envs.webshop.engine.reward import score
from rlsd.envs.webshop.shops import open_catalogue

KEPT = Path(__file__).parents[1] / "tests" / "data" / "webshop_nouns_394.json.xz"
SAME = 1e-12


def kept_nouns(file: Path) -> Nouns:
    table = json.loads(lzma.decompress(file.read_bytes()))
    return lambda title: tuple(table[hashlib.sha256(title.encode()).hexdigest()[:16]])


def purchases(catalogue: Catalogue, goal: Goal, draw: random.Random) -> Iterator[tuple[str, Product, dict[str, str]]]:
    """(what is bought, product, chosen options)"""

    def any_options(product: Product) -> dict[str, str]:
        return {name: draw.choice(values) for name, values in product.options.items() if values}

    position = catalogue.find(goal.asin)
    assert position is not None
    own = catalogue.product(position)
    yield "the goal's product, asked options", own, dict(goal.options)
    yield "the goal's product, random options", own, any_options(own)
    yield "the goal's product, no options", own, {}
    hits = catalogue.index.search(goal.instruction.split(" with ")[0], 10)
    for name, at in (("a product of the first page", draw.choice(hits).doc), ("any", draw.randrange(len(catalogue)))):
        product = catalogue.product(at)
        yield name, product, any_options(product)


def tabulate(catalogue: Catalogue, theirs: Nouns) -> dict[str, Any]:
    builtin = nouns_by("builtin")
    draw = random.Random(0)
    goals = list(goals_of([catalogue.product(i) for i in catalogue.instructed()], fixed_price))
    table: dict[str, defaultdict[str, float]] = {}
    for goal in goals:
        for what, product, chosen in purchases(catalogue, goal, draw):
            common: dict[str, Any] = {"price": fixed_price(product), "chosen": chosen}
            original = score(product, goal, **common, nouns=theirs, original=True).total
            ours = score(product, goal, **common, nouns=builtin).total
            fixed = score(product, goal, **common, nouns=theirs).total
            row = table.setdefault(what, defaultdict(float))
            row["differs"] += abs(original - ours) > SAME
            row["by_the_tagger"] += abs(fixed - ours) > SAME
            row["original_mean"] += original
            row["original_of_1"] += original == 1
            row["ours_mean"] += ours
            row["ours_of_1"] += ours == 1
    shares = {what: {name: round(total / len(goals), 4) for name, total in row.items()} for what, row in table.items()}
    return {"goals": len(goals), **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", type=Path)
    parser.add_argument("--nouns", type=Path, default=KEPT, help='a file written by --nouns, or "spacy"')
    arguments = parser.parse_args()
    theirs = nouns_by("spacy") if str(arguments.nouns) == "spacy" else kept_nouns(arguments.nouns)
    result = tabulate(open_catalogue(str(arguments.products), "synthetic"), theirs)
    for what, row in result.items():
        print(what, row)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

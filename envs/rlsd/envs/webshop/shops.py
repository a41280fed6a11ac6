"""Opens catalogues and their goals, once per process, and assigns goals to splits.

Splits (`protocol="rlsd"`): the goals of a tenth of the products form `test_products`. The other goals are assigned
by the hash of their sentence: a tenth to `test`, a tenth to `valid`, the rest to `train`; a sentence that also asks for
a `test_products` product is left out. So no sentence is in two splits, and `test_products` shares no product with any
other split. Every split is ordered by goal id.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from rlsd.envs.core import Task
from rlsd.envs.errors import DataError, EnvError, TaskError, closest
from rlsd.envs.webshop.catalogue.catalogue import Catalogue, MemoryCatalogue, fixed_price
from rlsd.envs.webshop.catalogue.goals import Goal, goals_of
from rlsd.envs.webshop.catalogue.products import Product, products_of
from rlsd.envs.webshop.catalogue.reading import find_files, find_real, read_array, read_entries
from rlsd.envs.webshop.engine.legacy import draw_goals, index_split
from rlsd.envs.webshop.generate.generator import family, generated

ENV_ID = "rlsd/WebShop-v0"
SPLITS = ("train", "valid", "test", "test_products")
INDEX_SPLITS = ("train", "valid", "test", "all")
PROTOCOLS = ("rlsd", "original", "legacy")
GOAL_KINDS = ("auto", "human", "synthetic")
_SHARE = 10
_MOST = {"valid": 120, "test": 500, "test_products": 500}
"""Maximum sizes of the evaluation sets."""
_LOADED_BYTES = 256 << 20
"""A larger products' file must be stored first."""
_ASKED_PRODUCTS = 20_000
"""Goals are made for the first this many products with an instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The goals of one split, in fixed order."""

    tasks: tuple[Task, ...]
    goals: Mapping[str, Goal]
    """Task id → goal."""


class Shop:
    """A catalogue with prices and goals; read-only, shared by all environments with the same arguments."""

    def __init__(self, catalogue: Catalogue, *, prices: Mapping[str, float], protocol: str, draw_seed: int) -> None:
        self.catalogue, self.protocol = catalogue, protocol
        self._prices, self._draw_seed = prices, draw_seed
        self._shelves: dict[str, Shelf] = {}

    def price(self, product: Product) -> float:
        """The price of a product in this shop."""
        return self._price_of(product)

    def shelf(self, split: str) -> Shelf:
        """The goals of a split.

        Raises:
            EnvError: an unknown split.
            DataError: a catalogue without goals in it.
        """
        known = SPLITS if self.protocol == "rlsd" else INDEX_SPLITS
        if split not in known:
            raise EnvError(
                f"unknown split {split!r} of WebShop under protocol {self.protocol!r}{closest(split, known)}"
            )
        if split not in self._shelves:
            self._shelves[split] = self._shelve(split)
        return self._shelves[split]

    def _shelve(self, split: str) -> Shelf:
        name = self.catalogue.name
        if self.protocol == "rlsd":
            chosen = [(f"{name}/{key}", goal) for key, goal in self._dealt[split]]
        else:
            drawn = self._drawn[1]
            chosen = [
                (f"{name}/{self.protocol}-{self._draw_seed}/{i}", drawn[i])
                for i in index_split(drawn, split, self.protocol)
            ]
        if not chosen:
            raise DataError(
                f"the catalogue {name!r} has no goals in split {split!r}; try a larger one or split='train'"
            )
        tasks = tuple(
            Task(env_id=ENV_ID, task_id=task_id, split=split, task_type=goal.category or "goal")
            for task_id, goal in chosen
        )
        return Shelf(tasks=tasks, goals=dict(chosen))

    def goal(self, goal_id: str) -> Goal | None:
        """A goal of any split by its id ("1f0c…") or task id; None if there is none."""
        if self.protocol != "rlsd":
            return self.shelf("all").goals.get(goal_id)
        return self._by_id.get(goal_id.rpartition("/")[2])

    @cached_property
    def _by_id(self) -> dict[str, Goal]:
        return {key: goal for shelf in self._dealt.values() for key, goal in shelf}

    @cached_property
    def _dealt(self) -> dict[str, list[tuple[str, Goal]]]:
        dealt: dict[str, list[tuple[str, Goal]]] = {split: [] for split in SPLITS}
        asked = (self.catalogue.product(i) for i in islice(self.catalogue.instructed(), _ASKED_PRODUCTS))
        unique = {goal.goal_id: goal for goal in goals_of(asked, self._price_of)}
        held_out = {g.instruction for g in unique.values() if split_of(g) == "test_products"}
        for key in sorted(unique):
            split = split_of(unique[key])
            if split == "test_products" or unique[key].instruction not in held_out:
                dealt[split].append((key, unique[key]))
        return {split: goals[: _MOST.get(split)] for split, goals in dealt.items()}

    @cached_property
    def _drawn(self) -> tuple[Mapping[str, float], tuple[Goal, ...]]:
        products = [self.catalogue.product(i) for i in range(len(self.catalogue))]
        legacy = self.protocol == "legacy"
        drawn = draw_goals(products, self._draw_seed, **({"shuffle_seed": None} if legacy else {}))
        return drawn.prices, drawn.goals

    @cached_property
    def _price_of(self) -> Callable[[Product], float]:
        fixed = self._prices
        if self.protocol == "rlsd":
            return lambda product: fixed[product.asin] if product.asin in fixed else fixed_price(product)
        drawn = self._drawn[0]
        return lambda product: fixed[product.asin] if product.asin in fixed else drawn[product.asin]


def split_of(goal: Goal) -> str:
    """The split of a goal, by its content alone."""
    if _bucket(f"product {goal.asin}") == 0:
        return "test_products"
    return {0: "test", 1: "valid"}.get(_bucket(f"sentence {goal.instruction}"), "train")


def _bucket(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") % _SHARE


def open_shop(
    catalogue: str | Path | None,
    *,
    prices: str | Path | Mapping[str, float] | None = None,
    protocol: str = "rlsd",
    goals: str = "auto",
    products: int | None = None,
    draw_seed: int = 0,
) -> Shop:
    """The shop of these arguments, cached. See `WebShopEnv` for their meaning.

    Raises:
        EnvError: an unknown argument value.
        DataError: files that are missing or damaged.
    """
    for value, known, label in ((protocol, PROTOCOLS, "protocol"), (goals, GOAL_KINDS, "goals")):
        if value not in known:
            raise EnvError(f"unknown {label} {value!r}{closest(str(value), known)}")
    if isinstance(prices, Mapping):
        fixed = _prices(prices)
    else:
        fixed = () if prices is None else _price_file(str(prices))
    name = str(catalogue or "gen-default")
    return _open_shop(name, fixed, protocol, goals, products, draw_seed, _changed(name))


@lru_cache(maxsize=32)
def _open_shop(
    catalogue: str,
    prices: tuple[tuple[str, float], ...],
    protocol: str,
    goals: str,
    products: int | None,
    seed: int,
    changed: int,
) -> Shop:
    return Shop(open_catalogue(catalogue, goals, products), prices=dict(prices), protocol=protocol, draw_seed=seed)


def _changed(name: str) -> int:
    """Modification time of a file or folder, so that a rewritten one is read again; 0 if it does not exist."""
    path = Path(name).expanduser()
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return max((file.stat().st_mtime_ns for file in files), default=0)
    except OSError:
        return 0


def open_catalogue(name: str, goals: str = "auto", products: int | None = None) -> Catalogue:
    """A generated catalogue, "real", a stored one, a folder with the published files, or the products' file itself.

    Raises:
        EnvError: no such catalogue.
        DataError: files that are missing or damaged.
    """
    from rlsd.envs.webshop.catalogue.store import is_stored, load_catalogue  # late: most catalogues are not stored

    path = find_real() if name == "real" else Path(name).expanduser()
    if not path.exists():
        if name.startswith("gen"):
            family(name)
            return generated(name)
        raise EnvError(
            f"catalogue={name!r} is neither a generated shop, nor 'real', nor a file or folder that exists"
            + closest(name, ("gen-tiny", "gen-default", "real"))
        )
    if is_stored(path):
        return load_catalogue(path)
    items = find_files(path)[0]
    if products is None and items.stat().st_size > _LOADED_BYTES:
        raise DataError(
            f"{items} has {items.stat().st_size >> 20:,} MiB: store it once with `python -m rlsd.envs.webshop build "
            f"{name} FOLDER` and open it with catalogue='FOLDER' (it loads fast), or read N products with products=N"
        )
    return _published(path, goals, products, _changed(str(path)))


@lru_cache(maxsize=8)
def _published(path: Path, goals: str, products: int | None, changed: int) -> MemoryCatalogue:
    return MemoryCatalogue(path.stem if path.is_file() else "real", read_products(path, goals, products))


def read_products(path: Path, goals: str = "auto", limit: int | None = None) -> Iterator[Product]:
    """Products of the published files ("real", a folder, or the products' file), one at a time; those whose price is no
    number are left out and counted on stderr.

    Raises:
        DataError: files that are missing or damaged, or goals="human" without their file.
    """
    items, attributes, human = find_files(path)
    if goals == "human" and human is None:
        raise DataError(
            f"goals='human' needs items_human_ins.json in the folder of {items}; goals='synthetic' does not"
        )
    entries = read_entries(attributes) if attributes is not None else {}
    asked = read_entries(human) if human is not None and goals != "synthetic" else None
    return _priced(items, entries, asked, limit)


def _priced(
    items: Path, entries: Mapping[str, Any], asked: Mapping[str, Any] | None, limit: int | None
) -> Iterator[Product]:
    """The products with a price; at the end a line on stderr counts the others.

    Raises:
        DataError: there is no other.
    """
    refused: list[str] = []
    count = 0
    for product in products_of(read_array(items), entries, asked, source=str(items), limit=limit, refused=refused):
        count += 1
        yield product
    if not refused:
        return
    told = f"{items}: {len(refused)} of {count + len(refused)} products have no number as their price"
    example = f"{refused[0]}; expected '$12.99' or '$12.99 - $15.99'"
    if not count:
        raise DataError(f"{told}, e.g. {example}")
    print(f"{told} and are left out, e.g. {example}", file=sys.stderr)


def _price_file(path: str) -> tuple[tuple[str, float], ...]:
    try:
        return _prices(json.loads(Path(path).expanduser().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"prices={path!r}: expected a JSON object, product id → dollars ({error})") from error


def _prices(data: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """
    Raises:
        DataError: a price that is no finite number; names its product.
    """
    prices: dict[str, float] = {}
    for asin, price in data.items():
        try:
            prices[str(asin)] = float(price)
        except (TypeError, ValueError):
            prices[str(asin)] = math.nan
        if not math.isfinite(prices[str(asin)]):
            raise DataError(f"prices: {asin} costs {price!r}, expected dollars such as 12.99")
    return tuple(sorted(prices.items()))


def find_goal(shop: Shop, wanted: object) -> Goal:
    """A goal by id or in the published format; its product must be in the catalogue.

    Raises:
        TaskError: no such goal, or a product that the shop does not have.
    """
    if isinstance(wanted, Mapping):
        goal = Goal.from_published(wanted)
    else:
        known = shop.goal(str(wanted))
        if known is None:
            raise TaskError(f"unknown goal {wanted!r}: expected twelve hex digits, or a goal in the published format")
        goal = known
    if shop.catalogue.find(goal.asin) is None:
        raise TaskError(f"the goal's product {goal.asin!r} is not in the catalogue {shop.catalogue.name!r}")
    return goal

"""Catalogues as files.

    python -m rlsd.envs.webshop build SOURCE FOLDER     store a catalogue once, so that it opens immediately
    python -m rlsd.envs.webshop publish SOURCE FOLDER   write a catalogue in the published format, for other programs

SOURCE is a generated catalogue ("gen-1000000"), "real", a folder with the published files, or the products' file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlsd.envs.errors import RlsdError
from rlsd.envs.webshop.catalogue.products import Product

_EVERY_S = 2.0


def main(arguments: list[str]) -> int:
    """Returns 0 on success, 2 after printing an error."""
    if len(arguments) != 3 or arguments[0] not in ("build", "publish"):
        print("usage: python -m rlsd.envs.webshop build|publish SOURCE FOLDER", file=sys.stderr)
        return 2
    what, source, folder = arguments[0], arguments[1], Path(arguments[2])
    try:
        name, products = _source(source)
        if what == "publish":
            from rlsd.envs.webshop.catalogue.publishing import publish

            print(f"{publish(_with_progress(products), folder)} products written to {folder}")
        else:
            from rlsd.envs.webshop.catalogue.store import build_catalogue

            count = build_catalogue(name, _with_progress(products), folder)
            print(f"{count} products stored in {folder}; open them with catalogue={str(folder)!r}")
    except RlsdError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _source(source: str) -> tuple[str, Iterator[Product]]:
    """The catalogue's name and its products."""
    from rlsd.envs.webshop.catalogue.reading import find_real
    from rlsd.envs.webshop.generate.generator import family, generate
    from rlsd.envs.webshop.shops import read_products

    if source.startswith("gen") and not Path(source).exists():
        family(source)
        return source, generate(source)
    return "real", read_products(find_real() if source == "real" else Path(source).expanduser())


def _with_progress(products: Iterable[Product]) -> Iterator[Product]:
    """Passes products on and prints progress on a terminal."""
    shown, began = 0.0, time.monotonic()
    for i, product in enumerate(products, start=1):
        yield product
        if sys.stderr.isatty() and time.monotonic() - max(shown, began) > _EVERY_S:
            shown = time.monotonic()
            print(f"{i:,} products, {shown - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

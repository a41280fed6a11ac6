"""Store a catalogue once, so that it opens at once: python -m rlsd.envs.webshop build SOURCE FOLDER

SOURCE is a generated catalogue ("gen-1000000"), "real", a folder with the published files, or the products' file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlsd.envs.errors import RlsdError


def main(arguments: list[str]) -> int:
    """0 when the catalogue was stored, 2 with one line otherwise."""
    if len(arguments) != 3 or arguments[0] != "build":
        print("usage: python -m rlsd.envs.webshop build SOURCE FOLDER", file=sys.stderr)
        return 2
    from rlsd.envs.webshop.generator import family, generate
    from rlsd.envs.webshop.library import read_products
    from rlsd.envs.webshop.reading import find_real
    from rlsd.envs.webshop.store import build_catalogue

    source, folder = arguments[1], Path(arguments[2])
    try:
        if source.startswith("gen") and not Path(source).exists():
            family(source)
            count = build_catalogue(source, generate(source), folder)
        else:
            path = find_real() if source == "real" else Path(source).expanduser()
            count = build_catalogue("real", read_products(path), folder)
    except RlsdError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} products stored in {folder}; open them with catalogue={str(folder)!r}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

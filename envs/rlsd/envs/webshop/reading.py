"""The published files: where they are, what is wrong with them, and one that is too large to hold, piece by piece."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlsd.envs.errors import DataError

FETCH = (
    "pip install gdown && gdown 1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib -O items_shuffle_1000.json && "
    "gdown 1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu -O items_ins_v2_1000.json && "
    "gdown 14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O -O items_human_ins.json"
)
"""Fetches the 1,000-product set into the present folder (the ids are those of WebShop's own set-up script)."""
_NAMES = {
    "products": ("items_shuffle_1000.json", "items_shuffle.json"),
    "attributes": ("items_ins_v2_1000.json", "items_ins_v2.json"),
    "human": ("items_human_ins.json",),
}
_CHUNK = 1 << 20
_LONGEST = 64 << 20
"""Characters that one product may have at most."""


def find_files(path: Path) -> tuple[Path, Path | None, Path | None]:
    """Products, attributes and human instructions, from a folder or from the products' own file.

    Raises:
        DataError: no products there; names the command that fetches them.
    """
    folder = path if path.is_dir() else path.parent
    products = path if path.is_file() else _first(folder, _NAMES["products"])
    if products is None:
        raise DataError(
            f"{path} holds no {' or '.join(_NAMES['products'])}. Where the network allows, `{FETCH}` fetches the "
            "1,000-product set; catalogue=None opens a generated shop and needs no data."
        )
    suffix = "_1000" if products.stem.endswith("_1000") else ""
    twin = folder / f"items_ins_v2{suffix}.json"
    return products, twin if twin.is_file() else _first(folder, _NAMES["attributes"]), _first(folder, _NAMES["human"])


def find_real() -> Path:
    """The folder with the published files: WEBSHOP_DATA, RLSD_DATA/webshop or RLSD_DATA.

    Raises:
        DataError: nothing found.
    """
    looked = []
    for variable, inner in (("WEBSHOP_DATA", ""), ("RLSD_DATA", "webshop"), ("RLSD_DATA", "")):
        if os.environ.get(variable):
            folder = Path(os.environ[variable]).expanduser() / inner
            looked.append(str(folder))
            if _first(folder, _NAMES["products"]) is not None:
                return folder
    raise DataError(
        f"the published WebShop files are not on this machine (looked in {', '.join(looked) or 'no folder'}). Set "
        "WEBSHOP_DATA to the folder that holds items_shuffle*.json, or RLSD_DATA to the one that holds webshop/. Where "
        f"the network allows, `{FETCH}` fetches them. catalogue=None opens a generated shop and needs no data."
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        DataError: missing, not JSON, or something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); fetch it again") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} holds a {type(data).__name__}, expected an object by product id")
    return data


def read_array(path: Path) -> Iterator[Any]:
    """The entries of a JSON file that holds one array, without holding the file in memory.

    Raises:
        DataError: missing, damaged or cut short; says where.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            buffer, done, count = file.read(_CHUNK).lstrip("\ufeff \t\r\n"), 0, 0
            if not buffer.startswith("["):
                raise DataError(f"{path} does not begin with '[': expected an array of products")
            buffer = buffer[1:]
            while True:
                buffer = buffer.lstrip(" \t\r\n,")
                if buffer.startswith("]"):
                    return
                try:
                    entry, end = decoder.raw_decode(buffer)
                    if end == len(buffer) and not isinstance(entry, (dict, list, str)):
                        raise ValueError("a number may go on")
                except (ValueError, RecursionError) as error:
                    more = file.read(_CHUNK)
                    if not more or len(buffer) > _LONGEST or isinstance(error, RecursionError):
                        raise DataError(
                            f"{path} is damaged or cut short after {count} products, about character {done}: {error}; "
                            "fetch it again"
                        ) from error
                    buffer += more
                    continue
                yield entry
                done, count, buffer = done + end, count + 1, buffer[end:]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error

"""Locates, validates and streams the published files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rlsd.envs.errors import DataError

FETCH = (
    "pip install gdown && gdown 1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib -O items_shuffle_1000.json && "
    "gdown 1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu -O items_ins_v2_1000.json && "
    "gdown 14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O -O items_human_ins.json"
)
"""Downloads the 1,000-product set into the current folder (file ids from WebShop's own setup script)."""
_NAMES = {
    "products": ("items_shuffle_1000.json", "items_shuffle.json"),
    "attributes": ("items_ins_v2_1000.json", "items_ins_v2.json"),
    "human": ("items_human_ins.json",),
}
_CHUNK = 1 << 20
_LONGEST = 64 << 20
"""Maximum characters of one product."""
_GAP = re.compile(r"[ \t\r\n,]*")
_DECODER = json.JSONDecoder()


def find_files(path: Path) -> tuple[Path, Path | None, Path | None]:
    """Products, attributes and human instructions, from a folder or from the products' own file.

    Raises:
        DataError: no products there; shows the download command.
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
        DataError: not on this machine.
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


def read_entries(path: Path) -> Entries:
    """A JSON file with one object keyed by product id; entries are parsed on access.

    Raises:
        DataError: missing, not JSON, or of another shape.
    """
    return Entries(_members(path))


class Entries(Mapping[str, Any]):
    """Product id → entry, stored as JSON text: a tenth of the memory of parsed entries.

    Args:
        members: (id, JSON text) of each entry.
    """

    def __init__(self, members: Iterable[tuple[str, str]]) -> None:
        self._texts = {asin: text.encode("utf-8", "surrogatepass") for asin, text in members}

    def __getitem__(self, asin: str) -> Any:
        return json.loads(self._texts[asin])

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _members(path: Path) -> Iterator[tuple[str, str]]:
    with _opened(path) as scanner:
        scanner.enter("{", "an object by product id")
        while scanner.next() != "}":
            asin, _ = scanner.value()
            if not isinstance(asin, str) or scanner.next() != ":":
                raise DataError(f"{path} is damaged after {scanner.count // 2} entries; fetch it again")
            scanner.skip()
            scanner.next()
            yield asin, scanner.value()[1]


def read_array(path: Path) -> Iterator[Any]:
    """The entries of a JSON file with one array, streamed.

    Raises:
        DataError: missing, damaged or truncated; gives the position.
    """
    with _opened(path) as scanner:
        scanner.enter("[", "an array of products")
        while scanner.next() != "]":
            yield scanner.value()[0]


@contextmanager
def _opened(path: Path) -> Iterator[_Scanner]:
    try:
        with path.open(encoding="utf-8") as file:
            yield _Scanner(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


class _Scanner:
    """Streams the JSON values of a file; keeps one chunk of the file and one value in memory."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._before = "", 0, 0
        self.count = 0
        """Values read."""

    def enter(self, bracket: str, what: str) -> None:
        """Skip the first character of the file, which must be `bracket`."""
        self._more()
        self._text = self._text.removeprefix("\ufeff")
        if self.next() != bracket:
            raise DataError(f"{self._path} does not begin with {bracket!r}: expected {what}")
        self.skip()

    def next(self) -> str:
        """The next character after blanks and commas, not consumed; "" at the end."""
        while True:
            self._at = _GAP.match(self._text, self._at).end()  # type: ignore[union-attr]  (it also matches "")
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def value(self) -> tuple[Any, str]:
        """The value that begins here, and its text."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end == len(self._text) and not isinstance(value, (dict, list, str)):
                    raise ValueError("a number may go on")
            except (ValueError, RecursionError) as error:
                endless = isinstance(error, RecursionError) or len(self._text) - self._at > _LONGEST
                if endless or not self._more():
                    raise DataError(
                        f"{self._path} is damaged or cut short after {self.count} values, about character "
                        f"{self._before + self._at}: {error}; fetch it again"
                    ) from error
                continue
            text, self._at = self._text[self._at : end], end
            self.count += 1
            return value, text

    def _more(self) -> bool:
        piece = self._file.read(_CHUNK)
        self._before += self._at
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

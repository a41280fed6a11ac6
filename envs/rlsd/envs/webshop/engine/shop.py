"""A shop session that searches, clicks and buys; page transitions are the original's.

`original=True` keeps every quirk; otherwise the faults listed in `quirks.py` are fixed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import copy
from random import Random

from rlsd.envs.webshop.catalogue.catalogue import Catalogue
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.pages import Kind, Page, Piece, harmless

SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")
HITS, WINDOW = 50, 10
"""Maximum number of search results, and results per page."""
_ACTION = re.compile(r"(.+)\[(.+)\]")
_STRICT = re.compile(r"\s*(search|click)\[(.+)\]\s*", re.DOTALL)
_RESERVED = frozenset(name.lower() for name in (SEARCH, BACK, PREVIOUS, NEXT, BUY, *SUB_PAGES, "Attributes"))
_URL_NAMES = ("search_results", "item_page", "item_sub_page", "done")
_DONE_HEAD = ("Purchased", "asin")
_DONE_TAIL = (
    "Target",
    "asin",
    "options",
    "attrs",
    "price upper",
    "instuction text",
    "category",
    "product category",
    "query",
    "Goal ",
    "None",
    "Reward",
    "Your score (min 0.0, max 1.0)",
)  # fmt: skip  (the misspelling is the original's)


def parse(action: str, *, original: bool) -> tuple[str, str] | None:
    """("search" or "click", argument in lower case), or None if it is not an action.

    >>> parse("click[Buy Now]", original=False)
    ('click', 'buy now')
    """
    match = _ACTION.match(action) if original else _STRICT.fullmatch(action)
    if match is None or match.group(1) not in ("search", "click"):
        return None
    return match.group(1), match.group(2).lower()


class Session:
    """One customer with one instruction.

    Args:
        catalogue: shared by all sessions.
        instruction: shown on every page.
        show_attributes: item pages have an "Attributes" button.
        original: keep the original's quirks.
        draw: for the original's "<r>" search, which takes random products.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        instruction: str,
        *,
        original: bool = False,
        show_attributes: bool = False,
        draw: Random | None = None,
    ) -> None:
        self._catalogue, self.instruction, self._original = catalogue, instruction, original
        self._sub_pages = (*SUB_PAGES, "Attributes") if show_attributes else SUB_PAGES
        self._draw = draw or Random(0)
        self.page_number = 1
        self._links: dict[str, int] = {}
        self.keywords: tuple[str, ...] = ()
        self.hits: tuple[int, ...] = ()
        self._home()

    def _home(self) -> None:
        self.position: int | None = None
        self.options: dict[str, str] = {}
        self.seen: set[int] = set()
        self.sub_page = ""
        self._url, self.bought = "", False
        heading = Piece("Instruction: ", Kind.FIXED)
        pieces = (Piece("WebShop"), heading, Piece(self.instruction), Piece(SEARCH, Kind.BUTTON))
        self.page = Page(name="search", pieces=pieces, clickables=(SEARCH.lower(),))
        self._radios: dict[str, list[tuple[str, str]]] = {}

    @property
    def product(self) -> Product | None:
        """The product whose page is open, else None."""
        return None if self.position is None else self._catalogue.product(self.position)

    def shown(self) -> list[tuple[str, Product, bool]]:
        """The products on the results page: label to click, product, seen before; empty on other pages."""
        if self.page.name != "results":
            return []
        return [(label, self._catalogue.product(at), at in self.seen) for label, at in self._links.items()]

    def option_groups(self) -> list[tuple[str, list[tuple[str, bool]]]]:
        """Options of the open product: name, and its labels to click with whether each is chosen."""
        product = self.product
        if product is None:
            return []
        return [
            (name, [(self.label(value, "option"), self.options.get(name) == value) for value in values])
            for name, values in product.options.items()
        ]

    def page_of(self, position: int) -> int:
        """The results page of a hit, from 1."""
        return self.hits.index(position) // WINDOW + 1

    def copy(self) -> Session:
        """An independent session in the same state."""
        twin = copy(self)
        twin.options, twin.seen = dict(self.options), set(self.seen)
        return twin

    def fresh(self) -> Session:
        """The same customer at the start."""
        twin = self.copy()
        twin.hits, twin.keywords, twin.page_number = (), (), 1
        twin._home()
        return twin

    def act(self, action: str) -> bool:
        """Execute an action; returns False, without change, if the page does not offer it.

        After "buy now", `bought` is True and the caller shows `done_page`.
        """
        parsed = parse(action, original=self._original)
        if parsed is None:
            return False
        verb, argument = parsed
        if verb == "search":
            if not self._original and not argument.strip():
                return False
            self._search(tuple(argument.split(" ")), 1)
            return True
        if argument not in self.page.clickables or argument == SEARCH.lower():
            return False
        self._click(argument)
        return True

    def _click(self, name: str) -> None:
        place = self._place()
        sub_page = next((sub for sub in (*SUB_PAGES, "Attributes") if sub.lower() == name), None)
        if name == BUY.lower() and self.position is not None:
            self.bought = True
        elif name == BACK.lower():
            self._home()
        elif name == NEXT.lower() and place == "search_results":
            self._search(self.keywords, self.page_number + 1)
        elif name == PREVIOUS.lower() and place == "search_results":
            self._search(self.keywords, self.page_number - 1)
        elif name == PREVIOUS.lower() and place == "item_page":
            self._search(self.keywords, self.page_number)
        elif sub_page is not None and self.position is not None:
            self._show_sub_page(sub_page)
        else:
            self._open(name)

    def _place(self) -> str:
        """The page kind as the original determines it: it searches the address for the names, in this order."""
        if self._original:
            return next((name for name in _URL_NAMES if name in self._url), "")
        kinds = {"search": "", "results": "search_results", "item": "item_page", "done": "done"}
        return kinds.get(self.page.name, "item_sub_page")

    def _search(self, keywords: tuple[str, ...], page: int) -> None:
        if keywords != self.keywords or not self.hits or (self._original and keywords[0] == "<r>"):
            self.hits = self._find(keywords)
        self.keywords, self.page_number = keywords, page
        self.position, self.options, self.sub_page = None, {}, ""
        self._url = f"/search_results/s/{'+'.join(keywords)}/{page}"
        shown = self.hits[(page - 1) * WINDOW : page * WINDOW]
        buttons = [BACK, *([PREVIOUS] if page > 1 else []), NEXT]
        pieces = self._top()
        pieces.append(Piece(f"Page {page} (Total results: {len(self.hits)})"))
        pieces += [Piece(button, Kind.BUTTON) for button in buttons[1:]]
        clickables = [button.lower() for button in buttons]
        self._links = {}
        for position in shown:
            product = self._catalogue.product(position)
            link = self.label(product.asin, "product")
            pieces.append(Piece(link, Kind.LINK, position in self.seen))
            pieces += [Piece(self._safe(product.title)), Piece(product.price_tag)]
            self._links[link.lower()] = position
        self._radios = {}
        self.page = Page(
            name="results", pieces=tuple(pieces), clickables=tuple(dict.fromkeys([*clickables, *self._links]))
        )

    def _find(self, keywords: tuple[str, ...]) -> tuple[int, ...]:
        if self._original and keywords[0] in ("<r>", "<a>", "<c>", "<q>"):
            return self._special(keywords)
        return tuple(hit.doc for hit in self._catalogue.index.search(" ".join(keywords), HITS))

    def _special(self, keywords: tuple[str, ...]) -> tuple[int, ...]:
        """Special searches of the original: random products, or all of an attribute, category or query. (There "<a>"
        raises, and so does "<c>" alone; here "<a>" finds by attribute, and "<c>" alone finds nothing.)"""
        every = range(len(self._catalogue))
        if keywords[0] == "<r>":
            return tuple(self._draw.sample(every, min(HITS, len(every))))
        words = keywords[1:2] if keywords[0] == "<c>" else keywords[1:]
        wanted = " ".join(words).strip()
        tests = {
            "<a>": lambda product: wanted in product.attributes,
            "<c>": lambda product: product.category == wanted,
            "<q>": lambda product: product.query == wanted,
        }
        return tuple(i for i in every if words and tests[keywords[0]](self._catalogue.product(i)))

    def _open(self, name: str) -> None:
        """A product's page: from a link, after an option, or back from a sub page."""
        if self.page.name == "results" and name in self._links:
            self.position = self._links[name]
            self.seen.add(self.position)
        elif name in self._radios:
            self._choose(name)
        self._show_item()

    def _choose(self, label: str) -> None:
        """Select an option; if several share this value, the original always selects the last, ours the next one."""
        known = self._radios[label]
        if self._original:
            known = known[-1:]
        name, value = next((pair for pair in known if self.options.get(pair[0]) != pair[1]), known[0])
        self.options[name] = value

    def _show_item(self) -> None:
        product = self.product
        assert product is not None
        self.sub_page = ""
        self._url = (
            f"/item_page/s/{product.asin}/{'+'.join(self.keywords)}/{self.page_number}/{json.dumps(self.options)}"
        )
        pieces = [*self._top(), Piece(PREVIOUS, Kind.BUTTON)]
        buttons = [BACK, PREVIOUS, *self._sub_pages, BUY]
        clickables = [button.lower() for button in buttons]
        self._radios = {}
        for name, values in product.options.items():
            pieces.append(Piece(self._safe(name)))
            for value in values:
                label = self.label(value, "option")
                pieces.append(Piece(label, Kind.OPTION, self._is_chosen(name, value)))
                clickables.append(label)
                self._radios.setdefault(label, []).append((name, value))
        pieces += [Piece(self._safe(product.title)), Piece(f"Price: {product.price_tag}"), Piece("Rating: N.A.")]
        pieces += [Piece(button, Kind.BUTTON) for button in buttons[2:]]
        self.page = Page(name="item", pieces=tuple(pieces), clickables=tuple(dict.fromkeys(clickables)))

    def _is_chosen(self, name: str, value: str) -> bool:
        return f'"{value}"' in self._url if self._original else self.options.get(name) == value

    def _show_sub_page(self, name: str) -> None:
        product = self.product
        assert product is not None
        self.sub_page = name
        self._url = (
            f"/item_sub_page/s/{product.asin}/{'+'.join(self.keywords)}/{self.page_number}/{name}/{self.options}"
        )
        pieces = [*self._top(), Piece(PREVIOUS, Kind.BUTTON)]
        if name == "Description":
            pieces.append(Piece(self._safe(product.description)))
        elif name == "Features":
            pieces += [Piece(f" {self._safe(bullet)}") for bullet in product.bullets]
        elif name == "Attributes":
            pieces += [Piece(f" {self._safe(attribute)}") for attribute in product.attributes]
            pieces += [Piece(self._safe(t)) for t in (product.category, product.query, product.product_category)]
        self._radios = {}
        clickables = (BACK.lower(), PREVIOUS.lower())
        self.page = Page(name=name.lower(), pieces=tuple(pieces), clickables=clickables)

    def show_done(self, reward: float) -> None:
        """The last page, with the score."""
        product = self.product
        assert product is not None
        self._url = f"/done/s/{product.asin}/{self.options}"
        pieces = [Piece("Thank you for shopping with us!"), Piece("Your code: "), Piece("None", Kind.FIXED)]
        pieces += [Piece(" (Paste it in your MTurk interface.)"), *map(Piece, _DONE_HEAD)]
        pieces += [Piece(self._safe(product.asin), Kind.FIXED), Piece("options")]
        pieces.append(Piece(_page_json(self.options), Kind.FIXED))
        for name in ("attrs", "category", "query", "product category"):
            pieces += [Piece(name), Piece("None")]
        pieces += [*map(Piece, _DONE_TAIL), Piece(str(reward)), Piece("Reward Details "), Piece("None")]
        self._radios = {}
        self.page = Page(name="done", pieces=tuple(pieces), clickables=())

    def _top(self) -> list[Piece]:
        return [Piece("Instruction:"), Piece(self.instruction), Piece(BACK, Kind.BUTTON)]

    def _safe(self, text: str) -> str:
        return text if self._original else harmless(text)

    def label(self, text: str, kind: str) -> str:
        """The label to click for a product text; never equal to one of the shop's own buttons."""
        if self._original:
            return text
        label = harmless(text).strip()
        return f"{label} ({kind})" if label.lower() in _RESERVED or not label else label


def _page_json(options: Mapping[str, str]) -> str:
    """JSON as a template writes it into a page: keys sorted, HTML characters escaped."""
    text = json.dumps(dict(options), sort_keys=True)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text

"""The viewer's page: one HTML file of our own script and style, and the data that it starts with.

Nothing is loaded from elsewhere, and the page's own policy forbids it: only the script and the style whose hashes it
names may run. Data stand in blocks that are no scripts; the page shows every text as text.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from rlsd.envs.hiding import hidden
from rlsd.harness.report.static_page import content_hash

SCRIPTS = ("dom", "data", "list", "tokens", "episode", "charts", "results", "dialogs", "app")
"""Files of the script, in this order."""


PLAIN = {int, bool, type(None)}
"""Types that are JSON as they are."""


def policy(*, served: bool) -> str:
    """The page's content security policy; a served page may fetch from its own server."""
    connect = "connect-src 'self'; " if served else ""
    return (
        f"default-src 'none'; style-src '{content_hash(_style())}'; script-src '{content_hash(_script())}'; {connect}"
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page(start: Mapping[str, Any], blocks: Mapping[str, str] | None = None, *, served: bool) -> str:
    """The page.

    Args:
        start: what the page shows at once, as plain data.
        blocks: name → packed data (`pack`) that the page unpacks when it needs them.
    """
    parts = [
        f'<script type="application/json" id="start">{text(start)}</script>',
        *(f'<script type="text/plain" id="{name}">{data}</script>' for name, data in (blocks or {}).items()),
    ]
    filling = {
        "policy": policy(served=served),
        "style": _style(),
        "data": "\n".join(parts),
        "script": _script(),
    }
    return "".join(filling.get(part, part) for part in re.split(r"\{\{(\w+)\}\}", _part("viewer.html")))


def pack(data: Any) -> str:
    """Plain data as base64 of gzipped JSON: no character in it means anything to HTML."""
    return base64.b64encode(gzip.compress(text(data).encode("ascii"), 6, mtime=0)).decode()


def text(data: Any) -> str:
    """Plain data as JSON that may stand in an HTML block: ASCII, no tags, without secrets, null for what is no
    number."""
    return json.dumps(_clean(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _clean(data: Any) -> Any:
    if isinstance(data, str):
        return hidden(data)
    if isinstance(data, Mapping):
        return {_clean(name) if isinstance(name, str) else name: _clean(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        if set(map(type, data)) <= PLAIN:  # long columns of an index
            return data
        return [_clean(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def _part(name: str) -> str:
    return files("rlsd.harness.report").joinpath("pages", name).read_text(encoding="utf-8")


def _style() -> str:
    return _part("viewer.css")


def _script() -> str:
    return '"use strict";\n' + "\n".join(_part(f"viewer/{name}.js") for name in SCRIPTS)

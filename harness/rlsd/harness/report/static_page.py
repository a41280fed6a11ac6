"""Pages of tables: Jinja2 templates of `pages/` with one style, and a policy under which nothing else runs or loads."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from rlsd.envs.hiding import hidden
from rlsd.harness.runs.rundir import RunError, write_atomic


def static_page(name: str, /, **values: Any) -> str:
    """The page `NAME.html`, with the script `NAME.js` if there is one; known secrets in it are masked."""
    style, script = _part("tables.css"), _part(f"{name}.js")
    scripts = f"script-src '{content_hash(script)}'; " if script else ""
    policy = f"default-src 'none'; style-src '{content_hash(style)}'; {scripts}base-uri 'none'; form-action 'none'"
    pages = Environment(loader=PackageLoader("rlsd.harness.report", "pages"), autoescape=True, trim_blocks=True)
    return hidden(pages.get_template(f"{name}.html").render(style=style, script=script, policy=policy, **values))


def write_page(place: Path, page: str) -> Path:
    """Write a page, and the folders above it.

    Raises:
        RunError: it cannot be written there.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, page)
    except OSError as error:
        raise RunError(f"cannot write {place}: {error.strerror}") from error
    return place


def content_hash(text: str) -> str:
    """As a content security policy names a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    path = files("rlsd.harness.report").joinpath("pages", name)
    return path.read_text(encoding="utf-8") if path.is_file() else ""

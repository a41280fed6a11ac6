"""What `make docs` does beyond Markdown: one page for each method, pages from outside docs/, the notebook as a page,
links that leave docs/, and a last look that no built page loads anything from another host.
"""

from __future__ import annotations

import html.parser
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(Path(__file__).parent))

from method_pages import METHODS, grouped, method_page  # noqa: E402

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{f"results/{path.name}": f"results/{path.name}" for path in sorted((ROOT / "results").glob("*.md"))},
}
"""Files of the repository → pages of the site."""
NOTEBOOKS = {f"notebooks/{path.stem}.md": path for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def on_config(config: Any) -> Any:
    """Put the methods into the navigation, below the page that lists them."""
    for section in config.nav:
        if "Methods" in section:
            section["Methods"] += [
                {title: [{name: f"methods/{name}.md"} for name in names]} for title, names in grouped().items()
            ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add pages that are no files of docs/."""
    from mkdocs.structure.files import File

    made = {page: (ROOT / source).read_text() for source, page in OUTSIDE.items()}
    made |= method_pages() | {page: notebook_page(path) for page, path in NOTEBOOKS.items()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def method_pages() -> dict[str, str]:
    """methods/NAME.md → its text."""
    return {f"methods/{name}.md": method_page(name) for name in METHODS}


def notebook_page(path: Path) -> str:
    """A notebook's cells as Markdown."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"]).rstrip()
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation", "toc"]
    pages = {file.src_uri for file in files}
    source = next((s for s, p in OUTSIDE.items() if p == page.file.src_uri), f"docs/{page.file.src_uri}")
    if page.file.src_uri == "algorithms.md":
        markdown = re.sub(
            r"^\| `(\w+)` (?=.* \| .* \| )", lambda m: method_cell(m, pages), markdown, flags=re.MULTILINE
        )
    return with_drawings(with_links(markdown, source, page.file.src_uri, pages))


def with_drawings(markdown: str) -> str:
    """Drawings as part of the page, so that they follow its light or dark colours."""
    return re.sub(
        r"^!\[[^\]]*\]\((?:\.\./)*(\w+\.svg)\)$",
        lambda m: f'<div class="drawing">\n{(ROOT / "docs" / m[1]).read_text().strip()}\n</div>',
        markdown,
        flags=re.MULTILINE,
    )


def method_cell(match: re.Match[str], pages: set[str]) -> str:
    return f"| [`{match[1]}`](methods/{match[1]}.md) " if f"methods/{match[1]}.md" in pages else match[0]


def with_links(markdown: str, source: str, page: str, pages: set[str]) -> str:
    """`markdown` of the file `source`, shown as `page`, with links to pages; a file that is no page keeps its text."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    def one(match: re.Match[str]) -> str:
        image, text, link = match.groups()
        if "://" in link or link.startswith(("#", "mailto:")):
            return match[0]
        path, _, anchor = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        target = OUTSIDE.get(target, target.removeprefix("docs/")).replace(".ipynb", ".md")
        if target == "README.md":
            target = "index.md"
        if target not in pages:
            return text
        found = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"{image}[{text}]({found}{'#' if anchor else ''}{anchor})"

    text = LINK.sub(one, CODE.sub(keep, markdown))
    return re.sub("\0(\\d+)\0", lambda m: kept[int(m[1])], text)


def on_post_build(config: Any) -> None:
    """Refuse a site whose pages load anything from another host."""
    if found := found_elsewhere(Path(config.site_dir)):
        from mkdocs.exceptions import PluginError

        raise PluginError("pages load from other hosts: " + "; ".join(sorted(found)[:5]))


def found_elsewhere(site: Path) -> set[str]:
    """page: address, for everything that pages and style sheets of a built site load from other hosts."""
    imported = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)")
    found = {(path, address) for path in site.rglob("*.html") for address in loaded(path.read_text())}
    found |= {(path, address) for path in site.rglob("*.css") for address in imported.findall(path.read_text())}
    return {f"{path.relative_to(site)}: {address}" for path, address in found}


class _Loads(html.parser.HTMLParser):
    """Collects the addresses that a browser fetches when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        fetched = tag == "link" and not {"canonical", "alternate", "next", "prev"} & set(named.get("rel", "").split())
        names = ("src", "srcset", "data", "poster", *(("href",) if fetched else ()))
        self.found += [named[n] for n in names if re.match(r"(https?:)?//", named.get(n, ""))]


def loaded(page: str) -> list[str]:
    """Addresses on other hosts that a built page fetches: scripts, styles, fonts, pictures, frames; links are none."""
    parser = _Loads()
    parser.feed(page)
    return parser.found

"""What commands print for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

out = Console()


def print_table(title: str, rows: list[list[Any]]) -> None:
    """A table whose first row is the header; plain columns when nobody looks."""
    shown = Table(title=title, title_justify="left")
    for name in rows[0]:
        shown.add_column(str(name))
    for row in rows[1:]:
        shown.add_row(*[str(cell) for cell in row])
    out.print(shown)

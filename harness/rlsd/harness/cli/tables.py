"""What commands print for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console()


def print_table(title: str, rows: list[list[Any]]) -> None:
    """A table whose first row is the header; without colours and styles where the output is no terminal. Cells are no
    markup."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(str(name))
    for row in rows[1:]:
        table.add_row(*[escape(str(cell)) for cell in row])
    out.print(table)


def print_text(text: str) -> None:
    """Text as it is: no markup, no colours, no line breaks but its own."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)

"""`rlsd serve …`: one command a server. A further server is one more function here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from rlsd.harness.serve.guard import LOOPBACK, App, Limits, Listener

serve = typer.Typer(
    help="The same worlds over HTTP; on this machine alone unless a token is set.", no_args_is_help=True
)
out = Console()

HostOption = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")]
PortOption = Annotated[int, typer.Option(help="0 takes a free one and prints it.")]
TokenOption = Annotated[str | None, typer.Option(envvar="RLSD_TOKEN", help="Secret the clients must send.")]


def launch(app: App, *, what: str, host: str = LOOPBACK, port: int, token: str | None, limits: Limits) -> None:
    """Serve an application behind the guard until interrupted; prints the address first.

    Raises:
        ServeError: the address is refused or taken, or the extra `serve` is missing.
    """
    listener = Listener(app, host=host, port=port, token=token, limits=limits)
    print(f"{what} on {listener.url}" + (" (token needed)" if token else ""), flush=True)
    listener.run()

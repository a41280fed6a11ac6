"""`rlsd view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, and folders of `rlsd eval --keep`.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a token in RLSD_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one and prints it.")] = 8090,
    token: Annotated[str | None, typer.Option(envvar="RLSD_TOKEN", help="Secret that clients must send.")] = None,
) -> None:
    """Look at runs in a browser: episodes, what hindsight made of each turn and token, runs side by side, curves."""
    from rlsd.harness.cli.serve import launch
    from rlsd.harness.serve.guard import Limits
    from rlsd.harness.serve.listener import check_bind
    from rlsd.harness.serve.viewer import viewer_app

    check_bind(host, token)
    launch(viewer_app(runs), what="the viewer", host=host, port=port, token=token, limits=Limits(request_s=120.0))

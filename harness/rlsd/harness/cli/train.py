"""`rlsd train`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.options import SetOption, WithOption
from rlsd.harness.cli.tables import out


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, or a run directory to go on with.")],
    run: Annotated[Path | None, typer.Option("--run", help="Run directory; default runs/<config name>.")] = None,
    with_: WithOption = None,
    set_: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result.")] = False,
) -> None:
    """Train; the same command on the same run directory resumes. Several processes: see configs/launch."""
    from rlsd.harness.config import load_config
    from rlsd.harness.runs.progress import Progress
    from rlsd.harness.runs.rundir import load_run_config
    from rlsd.harness.runs.signals import on_stop
    from rlsd.harness.train import train as run_training

    if config.is_dir():
        load_run_config(config)  # an error there names the file; one below is of --set or --with
        run, config = run or config, config / "config.yaml"
    settings = load_config(config, set_, with_ or ())
    folder = run or Path("runs") / config.stem
    if settings.sampler.urls and settings.sampler.backend == "hf" and not quiet:
        sys.stderr.write("sampler.urls are named, but sampler.backend is hf: episodes are sampled in this process\n")
    received: list[int] = []
    before = on_stop(received)  # or the weights that were written for servers would be left behind
    try:
        result = run_training(settings, folder, progress=Progress(quiet=quiet, total=settings.iterations, headed=True))
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from the last checkpoint\n")
        raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if os.environ.get("RANK", "0") != "0":
        return
    if result:
        low, high = result["interval"]
        out.print(
            f"{folder}: valid success {100 * result['success']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
            f"on {result['episodes']} tasks, panel {result['panel']['digest']}"
        )
    else:
        out.print(f"{folder}: done")

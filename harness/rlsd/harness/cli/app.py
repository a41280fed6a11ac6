"""The command line: exit code 0 only if the job was done, 2 for a usage or config error, which is one line."""

from __future__ import annotations

import atexit
import errno
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from rlsd.harness.cli.check_env import check_env
from rlsd.harness.cli.compare import compare, power
from rlsd.harness.cli.diagnose import diagnose
from rlsd.harness.cli.eval import evaluate
from rlsd.harness.cli.exam import exam
from rlsd.harness.cli.export import export, export_game, fetch
from rlsd.harness.cli.index import index
from rlsd.harness.cli.listing import envs, methods
from rlsd.harness.cli.new import new_env, new_method
from rlsd.harness.cli.plan import plan
from rlsd.harness.cli.play import play
from rlsd.harness.cli.profile import profile
from rlsd.harness.cli.quickstart import quickstart
from rlsd.harness.cli.report import report
from rlsd.harness.cli.serve import serve
from rlsd.harness.cli.study import study
from rlsd.harness.cli.train import train
from rlsd.harness.cli.verify import leaderboard, verify
from rlsd.harness.cli.view import view
from rlsd.harness.cli.warm_start import warm_start

COMMANDS = {
    "train": train,
    "eval": evaluate,
    "compare": compare,
    "power": power,
    "verify": verify,
    "leaderboard": leaderboard,
    "report": report,
    "view": view,
    "study": study,
    "plan": plan,
    "diagnose": diagnose,
    "exam": exam,
    "quickstart": quickstart,
    "envs": envs,
    "methods": methods,
    "check-env": check_env,
    "play": play,
    "new-env": new_env,
    "new-method": new_method,
    "warm-start": warm_start,
    "export": export,
    "export-game": export_game,
    "fetch": fetch,
}
"""In the order of `rlsd --help`; the groups `serve`, `index` and `profile` follow."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of a disk that its user can fix."""

app = typer.Typer(
    help="Train and evaluate multi-turn LLM agents; hindsight decides how much each step earned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(serve, name="serve")
app.add_typer(index, name="index")
app.add_typer(profile, name="profile")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (`sys.argv` by default); errors a user can fix become one line and exit code 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads crawl when the machine is shared
    from safetensors import SafetensorError

    from rlsd.algorithms import AlgorithmError
    from rlsd.envs.errors import RlsdError
    from rlsd.envs.hiding import hidden

    try:
        app(arguments)
    except (RlsdError, AlgorithmError) as error:
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        leave(2)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) not in DISK and "os error" not in str(error):
            raise
        sys.stderr.write(hidden(f"{type(error).__name__}: {' '.join(str(error).split())}\n"))
        leave(2)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if hidden(text) == text:
            raise
        sys.stderr.write(hidden(text))
        leave(1)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise


def leave(code: int) -> NoReturn:
    """End this process.

    A rank of a run with several processes ends without the interpreter's teardown: threads of its process group may
    still hold a tensor, and freeing it then aborts a finished run (exit code -6).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _versions(wanted: bool) -> None:
    if wanted:
        from rlsd.harness.runs.rundir import versions

        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def _before_the_command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_versions, help="Versions of rlsd and what it runs on.")
    ] = False,
) -> None:
    """Options that stand before a command."""

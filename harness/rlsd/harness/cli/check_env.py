"""`rlsd check-env`."""

from __future__ import annotations

import typer

from rlsd.harness.cli.options import ArgOption, EnvArgument, env_arguments
from rlsd.harness.cli.tables import out, print_table


def check_env(spec: EnvArgument, arg: ArgOption = None) -> None:
    """Run the environment contract's checks."""
    from rlsd.envs.checker import check_env as run_checks
    from rlsd.envs.errors import RlsdError
    from rlsd.envs.opened_checks import Opener
    from rlsd.envs.registry import make

    kwargs = env_arguments(arg)
    try:
        make(spec, **kwargs).close()
    except RlsdError:
        raise  # an unknown id is a usage error
    except Exception:
        out.print(f"{spec} cannot be opened as it is", style="red")  # the checks say more
    findings = run_checks(Opener.named(spec, kwargs))
    print_table(spec, [["check", "", "note"], *[[f.name, "ok" if f.ok else "FAIL", f.message] for f in findings]])
    if not all(f.ok for f in findings):
        raise typer.Exit(1)

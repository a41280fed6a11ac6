"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: --set learner.lr=1e-5")]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]
ArgOption = Annotated[list[str] | None, typer.Option(help="Environment argument: --arg games=gen-tiny")]
EnvArgument = Annotated[str, typer.Argument(help="An id, module:Class or path/to/file.py:Class.")]


def env_arguments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`name=value` pairs of `--arg` as keyword arguments of an environment; values are read as YAML, `${NAME}` in them
    from the environment.

    Raises:
        ConfigError: a pair without "=", or a value that is not YAML.
        EnvError: a variable that is not set.
    """
    from rlsd.envs.redact import revealed, stored
    from rlsd.harness.config import ConfigError, read_value
    from rlsd.harness.config.yaml_text import check_finite

    kwargs: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--arg {pair!r}: expected name=value, e.g. --arg games=gen-tiny")
        kwargs[name] = read_value(text, f"--arg {pair!r}")
        check_finite(kwargs[name], f"--arg {name}")
    stored(kwargs, "arg")
    return revealed(kwargs, "--arg")

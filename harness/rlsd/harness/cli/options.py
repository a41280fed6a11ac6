"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: --set learner.lr=1e-5")]
WithOption = Annotated[list[Path] | None, typer.Option("--with", help="A config overlay: configs/launch/…")]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]
BodyOption = Annotated[
    list[str] | None, typer.Option(help="Field of the requests to a chat endpoint: --body top_p=0.9")
]
DropOption = Annotated[
    list[str] | None, typer.Option(help="Leave out a field that a chat endpoint refuses: --drop-body temperature")
]
RateOption = Annotated[str | None, typer.Option(help="Requests to a chat endpoint in a time: 10/s, 500/min.")]
TokenRateOption = Annotated[str | None, typer.Option(help="Tokens, in and out, in a time: 90000/min.")]
BudgetOption = Annotated[int | None, typer.Option(help="Stop when a chat endpoint has used so many tokens.")]
CostOption = Annotated[float | None, typer.Option(help="Stop when so much money is spent; needs --prices.")]
TimeoutOption = Annotated[float | None, typer.Option(help="Seconds of one try at a chat endpoint; default 300.")]
RetriesOption = Annotated[int | None, typer.Option(help="Further tries of a failed request; default 5.")]
PricesOption = Annotated[
    Path | None, typer.Option(help="YAML: model → input, output (cached, reasoning), a million tokens.")
]
ArgOption = Annotated[list[str] | None, typer.Option(help="Environment argument: --arg games=gen-tiny")]
EnvArgument = Annotated[str, typer.Argument(help="An id, module:Class or path/to/file.py:Class.")]


def env_arguments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`name=value` pairs of `--arg` as keyword arguments of an environment; values are read as YAML, `${NAME}` in them
    from the environment.

    Raises:
        ConfigError: a pair without "=", or a value that is not YAML.
        EnvError: a variable that is not set.
    """
    return _named(pairs, "arg", "games=gen-tiny")


def body_fields(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`name=value` pairs of `--body`, read as those of `--arg` are.

    Raises:
        ConfigError, EnvError: as `env_arguments`.
    """
    return _named(pairs, "body", "top_p=0.9")


def _named(pairs: Sequence[str] | None, option: str, example: str) -> dict[str, Any]:
    from rlsd.envs.redact import revealed, stored
    from rlsd.harness.config import ConfigError, read_value
    from rlsd.harness.config.yaml_text import check_finite

    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--{option} {pair!r}: expected name=value, e.g. --{option} {example}")
        values[name] = read_value(text, f"--{option} {pair!r}")
        check_finite(values[name], f"--{option} {name}")
    stored(values, option)
    return revealed(values, f"--{option}")

"""`rlsd warm-start`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlsd.harness.cli.options import ArgOption, EnvArgument, SetOption, env_arguments
from rlsd.harness.cli.tables import print_text


def warm_start(
    env: EnvArgument,
    run: Annotated[Path, typer.Option("--run", help="Run directory; the same command resumes.")] = Path("runs/warm"),
    arg: ArgOption = None,
    expert: Annotated[
        str | None, typer.Option(help="explorer or oracle; default: the explorer, if there is one.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model folder to start from; default: a tiny model from scratch.")
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train an adapter of --model; best/ has it merged.")] = False,
    iterations: Annotated[int, typer.Option(min=1, help="Budget; it ends sooner when the model is ready.")] = 400,
    every: Annotated[int, typer.Option(min=1, help="Iterations between diagnoses.")] = 25,
    episodes: Annotated[int, typer.Option(min=1, help="Validation tasks of a diagnosis.")] = 48,
    success: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its own episodes that the student must win, too.")
    ] = 0.3,
    set_: SetOption = None,
) -> None:
    """Make a model for an environment: it imitates the expert, with and without hindsight, until it reads hindsight."""
    from rlsd.harness.config import ConfigError, EnvConfig, parse_config
    from rlsd.harness.config.masked import masked
    from rlsd.harness.config.yaml_text import write_yaml
    from rlsd.harness.runs.rundir import write_atomic
    from rlsd.harness.runs.signals import on_stop
    from rlsd.harness.warm_start.recipe import EXPERTS, LOOKED_AT, in_words, look, rlsd_config, warm_config
    from rlsd.harness.warm_start.run import Sparse
    from rlsd.harness.warm_start.run import warm_start as run_warm_start

    if lora and model is None:
        raise ConfigError("--lora trains an adapter of a model: give one with --model FOLDER")
    if expert is not None and expert not in EXPERTS:
        raise ConfigError(f"--expert {expert!r}: expected {' or '.join(EXPERTS)}")
    own = [setting for setting in set_ or [] if setting.startswith("env.")]
    named = EnvConfig(id=env, kwargs=env_arguments(arg)).model_dump(exclude_defaults=True)
    block = with_settings({"env": named, "model": {"tiny": {}}}, own).env
    print_text(f"{env}: its expert plays {LOOKED_AT} training tasks, to size prompts and context")
    seen = look(block, expert=expert)
    data = warm_config(block, seen, model=model, lora=lora, iterations=iterations, episodes=episodes)
    config = with_settings(data, set_ or [])
    print_text(f"{env}: {'a tiny model from scratch' if model is None else model} {in_words(seen)}")
    received: list[int] = []
    before = on_stop(received)
    try:
        progress = Sparse(total=iterations)
        ended = run_warm_start(config, run, every=every, least_success=success, progress=progress)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from the last checkpoint\n")
        raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    print_text(f"{run}: {ended.sentence}")
    if not ended.ready:
        raise typer.Exit(1)
    following = rlsd_config(config, run)
    parse_config(following)
    text = f"# RLSD from this warm start: rlsd train {run}/rlsd.yaml\n{write_yaml(masked(following))}"
    write_atomic(run / "rlsd.yaml", text)
    print_text(f"next: rlsd train {run}/rlsd.yaml --run runs/rlsd")


def with_settings(data: dict[str, Any], settings: list[str]) -> Any:
    """The config of `data`, changed by `--set`."""
    from rlsd.harness.config import parse_config
    from rlsd.harness.config.load import changed

    return parse_config(changed(data, settings))

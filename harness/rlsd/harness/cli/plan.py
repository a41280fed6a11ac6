"""`rlsd plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd.harness.cli.options import JsonOption, SetOption, WithOption
from rlsd.harness.cli.tables import print_table, print_text

if TYPE_CHECKING:
    from rlsd.harness.plan.by_length import RowCost
    from rlsd.harness.plan.gpus import Gpu
    from rlsd.harness.plan.planned import Plan
    from rlsd.harness.plan.speed import Rate


def plan(
    config: Annotated[Path, typer.Argument(help="A YAML file or a run directory.")],
    gpu: Annotated[str | None, typer.Option(help="Also least times on a GPU: H200, A100-80, 4090 …")] = None,
    tokens: Annotated[int | None, typer.Option(min=2, help="Tokens of a row; default: the context.")] = None,
    turns: Annotated[
        int | None, typer.Option(min=1, help="Turns of an episode; default: rollout.max_turns, else 30.")
    ] = None,
    row: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Also what one row of this many tokens costs, whatever the context; repeatable."),
    ] = None,
    set_: SetOption = None,
    with_: WithOption = None,
    json_: JsonOption = False,
) -> None:
    """How much memory will a run need, and how fast can it be at best? Neither weights nor a GPU are needed."""
    from rlsd.harness.config import load_config
    from rlsd.harness.plan.by_length import row_costs
    from rlsd.harness.plan.gpus import find_gpu
    from rlsd.harness.plan.planned import plan as planned
    from rlsd.harness.runs.rundir import load_run_config

    device = None if gpu is None else find_gpu(gpu)
    settings = load_run_config(config) if config.is_dir() else load_config(config, list(set_ or ()), with_ or ())
    made = planned(settings, row=tokens, turns=turns)
    rates = {} if device is None else made.rates(settings, device)
    rows = row_costs(settings, row) if row else []
    if json_:
        print(json.dumps(_numbers(made, rates) | ({"rows": [asdict(row) for row in rows]} if rows else {})))
        return
    _show(made, rates)
    if rows:
        _show_rows(rows)
    if device is not None:
        print_text(_fits(made, gpu or "", device))


def _show(made: Plan, rates: dict[str, Rate]) -> None:
    episode, memory = made.episode, made.memory
    rows = [["of one process", "GiB"]]
    rows += [[name, _gib(size)] for name, size in memory.lasting.items()]
    rows += [[f"{name}, at its peak", _gib(size)] for name, size in memory.stages.items()]
    rows.append(["in all, at the peak", _gib(memory.peak)])
    if made.server is not None:
        rows.append(["servers: weights and all episodes' keys and values", _gib(made.server)])
    rows_are = f"{episode.turns_in_row} turns" if episode.turns_in_row > 1 else "one turn"
    print_table(
        f"{made.sizes.parameters:,} weights; rows of {episode.row:,} tokens ({rows_are}), responses of "
        f"{episode.response:,}, hindsight of {episode.hindsight:,}; micro-batches of {made.update.rows} rows",
        rows,
    )
    if rates:
        head = ["stage", "tokens a second, at most", "seconds an iteration, at least", "bound by"]
        cells = [[n, f"{r.tokens_a_second:,.0f}", f"{r.seconds:,.1f}", r.bound] for n, r in rates.items()]
        print_table(f"{episode.turns} turns an episode", [head, *cells])


def _show_rows(rows: list[RowCost]) -> None:
    head = ["tokens", "keys and values, GiB", "scoring, GiB", "update, GiB", "10¹² operations", "a whole mask, GiB"]
    cells = [
        [
            f"{r.tokens:,}",
            *(_gib(size) for size in (r.keys_and_values, r.scoring, r.update)),
            f"{r.flops / 1e12:,.0f}",
            _gib(r.whole_mask),
        ]
        for r in rows
    ]
    print_table("one row, beside weights, gradients and moments; the whole mask is never made", [head, *cells])


def _fits(made: Plan, name: str, gpu: Gpu) -> str:
    share = made.memory.peak / (gpu.memory_gb * 1e9)
    if share <= 0.9:
        return f"{name}: {100 * share:.0f} % of its memory; allocators and kernels take some of the rest"
    return (
        f"{name}: needs {100 * share:.0f} % of its memory. Lower learner.micro_batch_tokens or rollout.max_concurrent, "
        "set learner.gradient_checkpointing, or spread it (learner.parallel: fsdp2)"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f}"


def _numbers(made: Plan, rates: dict[str, Rate]) -> dict[str, Any]:
    return {
        "weights": made.sizes.parameters,
        "episode": asdict(made.episode),
        "bytes": {**made.memory.lasting, **made.memory.stages, "peak": made.memory.peak, "server": made.server},
        "rates": {name: asdict(rate) for name, rate in rates.items()},
    }

"""`rlsd eval`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsd.harness.cli.options import (
    ArgOption,
    BodyOption,
    BudgetOption,
    CostOption,
    DropOption,
    JsonOption,
    PricesOption,
    RateOption,
    RetriesOption,
    SetOption,
    TimeoutOption,
    TokenRateOption,
    body_fields,
    env_arguments,
)
from rlsd.harness.cli.tables import out, print_table, print_text

if TYPE_CHECKING:
    from rlsd.harness.evals.evaluate import EvalResult
    from rlsd.harness.evals.requests import EvalRequest


def evaluate(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(help="A YAML file or a run directory (its best weights, else the newest checkpoint)."),
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment id or module:Class.")] = None,
    agent: Annotated[
        str | None,
        typer.Option(help="random, explorer, oracle, hf:FOLDER, vllm:URL, openai:URL#MODEL or recorded:FILE."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="How the agent is prompted: a name (rlsd profile list) or a file; default: its weights'."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, valid or test; with --env any split it has.")] = "test",
    episodes: Annotated[int | None, typer.Option(help="The panel's first tasks only.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Episodes of each task: adds pass@k and pass^k.")] = 1,
    seed: Annotated[int, typer.Option(help="Of sampling, scripted agents and environments.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="Default: the config's (0 = greedy).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for hf:FOLDER; default: a GPU if there.")] = None,
    arg: ArgOption = None,
    set_: SetOption = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Episodes at once, with --env; default 64.")] = None,
    rate: RateOption = None,
    token_rate: TokenRateOption = None,
    max_tokens_total: BudgetOption = None,
    max_cost: CostOption = None,
    prices: PricesOption = None,
    body: BodyOption = None,
    drop_body: DropOption = None,
    timeout_s: TimeoutOption = None,
    retries: RetriesOption = None,
    protocol: Annotated[
        str, typer.Option(help="rlsd, or legacy: sampled as published training code does; `rlsd envs --protocols`.")
    ] = "rlsd",
    on_training_tasks: Annotated[
        bool, typer.Option("--on-training-tasks", help="Also report on tasks that the weights were trained on.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write the summary and every task's outcome to a file; the same command goes on where it stopped."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder for all episodes, with --env: prompts, responses, usage, times; see rlsd report."),
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(help="Instead of all above: a YAML file of environments, agents and seeds; resumable."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of a suite; default runs/suite/<file name>.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that play a suite, each on one thread.")] = 1,
    report: Annotated[bool, typer.Option("--report", help="Of a suite: play nothing, print the table.")] = False,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
    json_: JsonOption = False,
) -> None:
    """Play a whole panel; success by task type with 95 % Wilson intervals. Or a whole suite of panels and agents."""
    if suite is not None:
        from rlsd.harness.cli.suite import play_suite

        play_suite(context, suite, folder=run, jobs=jobs, worker=worker, table=report, json_=json_)
        return
    from rlsd.harness.evals.api import ApiRequest
    from rlsd.harness.evals.requests import EvalRequest

    request = EvalRequest(
        config=config,
        env=env,
        agent=agent,
        split=split,
        episodes=episodes,
        samples=samples,
        seed=seed,
        temperature=temperature,
        device=device,
        env_kwargs=env_arguments(arg),
        overrides=tuple(set_ or ()),
        profile=profile,
        protocol=protocol,
        on_training_tasks=on_training_tasks,
        save=save,
        keep=keep,
        concurrency=concurrency,
        api=ApiRequest(
            body=body_fields(body),
            drop_body=tuple(drop_body or ()),
            rate=rate,
            token_rate=token_rate,
            max_tokens_total=max_tokens_total,
            max_cost=max_cost,
            prices=prices,
            timeout_s=timeout_s,
            retries=retries,
        ),
    )
    result, name = _play(request, quiet=json_)
    if not json_:
        _show(name, result)
        return
    from rlsd.harness.evals.keeping import summary_of

    summary = summary_of(name, result)
    print(json.dumps(summary if result.account is None else {**summary, "account": result.account}))


def _play(request: EvalRequest, *, quiet: bool) -> tuple[EvalResult, str]:
    """The evaluation; a signal ends it with a line about what is kept."""
    from rlsd.harness.evals.agents import run_eval
    from rlsd.harness.evals.keeping import interrupted
    from rlsd.harness.runs.signals import on_stop

    received: list[int] = []
    before = on_stop(received)
    try:
        return run_eval(request, quiet=quiet)
    except KeyboardInterrupt:
        sys.stderr.write(interrupted(request.save))
        raise SystemExit(128 + (received or [signal.SIGINT])[0]) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(name: str, result: EvalResult) -> None:
    """The table by task type, and what there is to say about the episodes."""
    from rlsd.envs.hiding import hidden
    from rlsd.harness.evals.api import accounted
    from rlsd.harness.evals.evaluate import table
    from rlsd.harness.evals.keeping import summary_of
    from rlsd.harness.evals.played import told
    from rlsd.harness.runs.progress import counted

    summary, panel = summary_of(name, result), result.panel
    if "weights" in summary:
        out.print(told(summary["weights"]))
    print_table(f"{panel.env_id} {panel.split}, panel {panel.digest}", table({name: result}))
    print_text(
        f"turns {summary['turns']:.1f}, invalid actions {100 * summary['invalid_rate']:.1f} %, "
        f"tokens a turn {summary['tokens_per_turn']:.1f}, errors {counted(summary['errors'], summary['failures'])}"
    )
    if result.account is not None:
        print_text(accounted(result.account))
    if result.samples > 1:
        from rlsd.harness.cli.compare import pass_rows

        print_table(f"{result.samples} samples of each task", pass_rows({name: summary}))
    for failure in result.first_failures().values():
        print_text(hidden(f"failed: {failure}"))

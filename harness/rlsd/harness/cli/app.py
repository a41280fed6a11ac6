"""The command line. Exit code 0 only if the job was done; 2 for a usage or config error, told in one line."""

from __future__ import annotations

import atexit
import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rlsd.harness.cli.serve import index, serve
from rlsd.harness.cli.tables import out, print_table
from rlsd.harness.cli.tools import around

app = typer.Typer(
    help="Train and evaluate multi-turn LLM agents; hindsight decides how much each step earned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(around)
app.add_typer(serve, name="serve")
app.add_typer(index, name="index")

SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: --set learner.lr=1e-5")]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a disk may refuse that its user can mend."""
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (`sys.argv` by default); errors a user can mend become one line and exit code 2."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads crawl when the machine is shared
    from safetensors import SafetensorError

    from rlsd.algorithms import AlgorithmError
    from rlsd.envs.errors import RlsdError

    try:
        app(arguments)
    except (RlsdError, AlgorithmError) as error:
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        leave(2)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) not in DISK and "os error" not in str(error):
            raise
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        leave(2)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise


def _versions(wanted: bool) -> None:
    if wanted:
        from rlsd.harness.runs.rundir import versions

        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_versions, help="Versions of rlsd and what it runs on.")
    ] = False,
) -> None:
    """What stands before a command."""


def leave(code: int) -> NoReturn:
    """End this process. One of several ends without taking the interpreter down piece by piece: the threads of their
    process group may still hold a tensor then, and letting go of it aborts (exit code -6 of a run that is done)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, or a run directory to go on with.")],
    run: Annotated[Path | None, typer.Option("--run", help="Run directory; default runs/<config name>.")] = None,
    with_: Annotated[
        list[Path] | None, typer.Option("--with", help="Lay a file of blocks over the config: configs/launch/…")
    ] = None,
    set_: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result.")] = False,
) -> None:
    """Train; the same command on the same run directory resumes. Several processes: see configs/launch."""
    from rlsd.harness.config import load_config
    from rlsd.harness.runs.progress import Progress
    from rlsd.harness.runs.signals import on_stop
    from rlsd.harness.train import train as run_training

    if config.is_dir():
        run, config = run or config, config / "config.yaml"
    settings = load_config(config, set_, with_ or ())
    folder = run or Path("runs") / config.stem
    if settings.sampler.urls and settings.sampler.backend == "hf" and not quiet:
        sys.stderr.write("sampler.urls are named, but sampler.backend is hf: episodes are sampled in this process\n")
    told: list[int] = []
    before = on_stop(told)  # or the weights that were written for servers would be left behind
    try:
        result = run_training(settings, folder, progress=Progress(quiet=quiet, total=settings.iterations))
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from the last checkpoint\n")
        raise SystemExit(128 + (told or [signal.SIGINT])[0]) from None
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


@app.command("eval")
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="A YAML file or a run directory (its best weights).")] = None,
    env: Annotated[str | None, typer.Option(help="Environment id or module:Class.")] = None,
    agent: Annotated[
        str | None,
        typer.Option(help="random, explorer, oracle, hf:FOLDER, vllm:URL, openai:URL#MODEL or recorded:FILE."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, valid or test; with --env any split it has.")] = "test",
    episodes: Annotated[int | None, typer.Option(help="The panel's first tasks only.")] = None,
    seed: Annotated[int, typer.Option(help="Of sampling, scripted agents and environments.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="Default: the config's (0 = greedy).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, for hf:FOLDER; default: a GPU if there.")] = None,
    arg: Annotated[list[str] | None, typer.Option(help="Environment argument: --arg games=gen-tiny")] = None,
    set_: SetOption = None,
    save: Annotated[Path | None, typer.Option(help="Write the summary and every task's outcome to a file.")] = None,
    json_: JsonOption = False,
) -> None:
    """Play a whole panel; success by task type with 95 % Wilson intervals."""
    from rlsd.harness.evals.agents import EvalRequest, run_eval

    request = EvalRequest(
        config=config,
        env=env,
        agent=agent,
        split=split,
        episodes=episodes,
        seed=seed,
        temperature=temperature,
        device=device,
        env_args=tuple(arg or ()),
        overrides=tuple(set_ or ()),
    )
    result, name = run_eval(request, quiet=json_)
    summary = {"agent": name, **result.summary()}
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps({**summary, "wins": result.wins(), "scores": result.scores()}, indent=1) + "\n")
    if json_:
        print(json.dumps(summary))
        return
    from rlsd.harness.evals.evaluate import table

    panel = result.panel
    print_table(f"{panel.env_id} {panel.split}, panel {panel.digest}", table({name: result}))
    out.print(
        f"turns {summary['turns']:.1f}, invalid actions {100 * summary['invalid_rate']:.1f} %, "
        f"tokens a turn {summary['tokens_per_turn']:.1f}, errors {summary['errors']}"
    )


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A file written by `rlsd eval --save`.")],
    b: Annotated[Path, typer.Argument(help="Another, of the same panel.")],
    json_: JsonOption = False,
) -> None:
    """Compare two evaluations task by task (paired bootstrap and McNemar's exact test)."""
    from rlsd.harness.evals.compare import compare_files

    found = compare_files(a, b)
    if json_:
        print(json.dumps(found))
        return
    low, high = found["interval"]
    out.print(
        f"{b.stem} − {a.stem}: {100 * found['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], "
        f"McNemar p = {found['p']:.3g} on {found['tasks']} tasks: {found['verdict']}"
    )
    if "score_difference" in found:
        low, high = found["score_interval"]
        out.print(f"score: {100 * found['score_difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    to: Annotated[Path | None, typer.Option(help="Where to write; default RUN/report.html.")] = None,
    step: Annotated[
        int | None, typer.Option(help="Iteration whose episodes are shown; default: the last kept.")
    ] = None,
    groups: Annotated[int, typer.Option(min=0, help="Tasks whose episodes are shown.")] = 4,
) -> None:
    """One HTML page of a run: results, curves, and episodes with the credit that each turn got."""
    from rlsd.harness.report.report import write_report

    out.print(str(write_report(run, to, step=step, groups=groups)), markup=False, highlight=False, soft_wrap=True)


@app.command()
def diagnose(
    config: Annotated[Path, typer.Argument(help="A YAML file or a run directory.")],
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "valid",
    episodes: Annotated[int | None, typer.Option(help="The split's first tasks only.")] = None,
    views: Annotated[bool, typer.Option(help="Also measure success under each view.")] = True,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Can this model read hindsight? AUC of Δ for actions that come nearer, true hindsight against another task's."""
    from rlsd.harness.evals.agents import parts_of
    from rlsd.harness.evals.diagnose import diagnose as run_diagnosis
    from rlsd.harness.runs.progress import Progress

    found = run_diagnosis(
        parts_of(config, tuple(set_ or ())),
        split=split,
        episodes=episodes,
        views=views,
        progress=Progress(quiet=json_),
    )
    if json_:
        print(json.dumps(found))
        return
    rows = [["hindsight", "AUC of Δ", "95 %"]]
    for name in ("auc", "auc_other"):
        value, low, high = found[name]
        rows.append(["own" if name == "auc" else "another task's", f"{value:.3f}", f"[{low:.3f}, {high:.3f}]"])
    print_table(f"{found['episodes']} episodes, {found['actions']['nearer']} actions came nearer", rows)
    out.print(
        f"margin {found['margin']:.3f}, Δ nearer {found['gap_nearer']:+.3f}, others {found['gap_not_nearer']:+.3f}, "
        f"echo {found['echo']:.2f}: hindsight is {'readable' if found['readable'] else 'NOT readable'}"
    )
    if "success" in found:
        views_ = found["success"]
        print_table(
            "success by view",
            [["view", "success", "95 %"]]
            + [
                [
                    name,
                    f"{100 * v['success']:.1f} %",
                    f"[{100 * v['interval'][0]:.1f}, {100 * v['interval'][1]:.1f}]",
                ]
                for name, v in views_.items()
            ],
        )


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option("--run", help="Where everything goes.")] = Path("runs/quickstart"),
    from_scratch: Annotated[
        bool, typer.Option(help="Warm-start too, instead of using the shipped checkpoint.")
    ] = False,
    set_: SetOption = None,
) -> None:
    """Train the tiny model with RLSD on generated games; evaluate before and after; write curve.png."""
    from rlsd.harness.cli.quickstart import run_quickstart

    run_quickstart(folder, from_scratch=from_scratch, overrides=set_ or [], console=out)

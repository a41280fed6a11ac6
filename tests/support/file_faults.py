"""Faults of files: what happens to a run whose files are cut, gone, garbled, linked, moved or cannot be written.

Each fault is injected into a copy of a small finished run, and a command then uses it. The outcome is

    survived    the command did what it would have done without the fault, or ended in one line that names the file,
                and everything else in the folder is still there
    lost        a traceback, a line that does not say where, or something else is gone
    silent      the command went on, with another result than without the fault, and did not say so
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlsd.harness.cli.app import main
from tests.support.smallest_run import small_run
from tests.support.viewer_page import Page

CONFIG = small_run(
    checkpoint_every=1,
    save_rollouts_every=1,
    eval={"every": 1, "episodes": 1, "at_start": True},
    threads=1,
)
CHECKPOINT = "checkpoints/step-000002"
Harm = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that can be run in an empty folder; returns "survived", "lost" or "silent"."""

    name: str
    kind: str
    run: Callable[[Path], str]


@functools.cache
def finished(lora: bool = False) -> Path:
    """A finished run of two iterations, and beside it what each command makes of it when nothing is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="rlsd-faults-"))
    model = {**CONFIG["model"], "lora": {"rank": 2, "alpha": 4} if lora else None}
    (folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "model": model}))
    code, error = call("train", folder / "run.yaml", "--run", folder / "run", "--quiet")
    assert code == 0, error
    (folder / "run" / "notes.txt").write_text("mine")
    return folder


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and stderr of a command; -1 for a traceback."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            return int(stop.code or 0), told.getvalue()
        except Exception as error:
            return -1, repr(error)
    return 0, told.getvalue()


# ------------------------------------------------------------------ commands: (exit code, stderr, result)

Use = Callable[[Path], tuple[int, str, Any]]


def go_on(run: Path) -> tuple[int, str, Any]:
    code, error = call("train", run, "--set", "iterations=3")
    newest = run / "checkpoints" / "step-000003"
    if code or not newest.is_dir():
        return code, error, None
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    weights = (newest / "model.safetensors").read_bytes()
    return code, error, (weights, [{k: v for k, v in r.items() if k != "timing"} for r in records])


def export(run: Path, *options: str) -> tuple[int, str, Any]:
    code, error = call("export", run, run.parent / "out", *options)
    out = run.parent / "out"
    return code, error, {p.name: p.read_bytes() for p in out.iterdir()} if out.is_dir() else None


def export_adapter(run: Path) -> tuple[int, str, Any]:
    return export(run, "--adapter")


def evaluate(run: Path) -> tuple[int, str, Any]:
    code, error = call("eval", run, "--split", "valid", "--episodes", "1", "--save", run.parent / "eval.json")
    saved = run.parent / "eval.json"
    result = json.loads(saved.read_text()) if saved.is_file() else None
    if result is not None:
        del result["weights"]["folder"], result["played"]["config"]  # which may be others; the weights' digest stays
        del result["trained_by"], result["checksum"]
    return code, error, result


def report(run: Path) -> tuple[int, str, Any]:
    code, error = call("report", run, "--to", run.parent / "report.html")
    if not (run.parent / "report.html").is_file():
        return code, error, None
    page = Page.of(run.parent / "report.html")
    for about in page.start["runs"]:  # times do not repeat
        del about["seconds"]
        values = about["curves"]["values"]
        about["curves"]["values"] = {k: v for k, v in values.items() if not k.startswith("timing.")}
    return code, error, page


def compare(run: Path) -> tuple[int, str, Any]:
    a, b = run / "a.json", run / "b.json"
    code, error = call("compare", a, b)
    return code, error, None


# ------------------------------------------------------------------ harm


def cut(name: str) -> Harm:
    def harm(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return harm


def empty(name: str) -> Harm:
    return lambda run: (run / name).write_bytes(b"") and None


def gone(name: str) -> Harm:
    def harm(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return harm


def garbled(name: str) -> Harm:
    def harm(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        for i in range(len(content) // 3, len(content) // 3 + 4):
            content[i % len(content)] ^= 0x95
        (run / name).write_bytes(content)

    return harm


def changed(name: str, change: Callable[[str], str]) -> Harm:
    return lambda run: (run / name).write_text(change((run / name).read_text())) and None


def copied(name: str, to: str) -> Harm:
    return lambda run: (run / to).write_bytes((run / name).read_bytes()) and None


def swapped(name: str, old: str, new: str, times: int = -1) -> Harm:
    return changed(name, lambda text: text.replace(old, new, times))


def stray(run: Path) -> None:
    """A file of another name among the kept episodes."""
    (run / "rollouts" / "step-abc.jsonl.gz").write_text("")


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Harm:
    return changed(name, lambda text: "".join(change(text.splitlines(keepends=True))))


def episodes(change: Callable[[dict[str, Any]], Any]) -> Harm:
    """Change the first record of the last kept iteration."""

    def harm(run: Path) -> None:
        path = run / "rollouts" / "step-000001.jsonl.gz"
        first, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
        record = json.loads(first)
        change(record)
        path.write_bytes(gzip.compress("\n".join([json.dumps(record), *rest, ""]).encode()))

    return harm


def linked(name: str, *, dangling: bool = False) -> Harm:
    """The real thing is elsewhere, a link in its place."""

    def harm(run: Path) -> None:
        elsewhere = run.parent / "elsewhere"
        elsewhere.mkdir()
        place = elsewhere / Path(name).name
        shutil.move(run / name, place)
        (run / name).symlink_to(elsewhere / "nothing" if dangling else place)

    return harm


def in_the_way(name: str, *, folder: bool = False) -> Harm:
    """A file where a folder belongs, or the other way round: neither can be written, as on a disk that is read-only."""

    def harm(run: Path) -> None:
        gone(name)(run) if (run / name).exists() else None
        (run / name).mkdir() if folder else (run / name).write_text("mine")

    return harm


def evals(change: Callable[[dict[str, Any]], Any] | None, text: str | None = None) -> Harm:
    """Two files of `rlsd eval --save`, the second one changed."""

    def harm(run: Path) -> None:
        data = {"panel": {"digest": "d"}, "wins": {"a": True, "b": False}, "scores": {"a": 1.0, "b": 0.0}}
        (run / "a.json").write_text(json.dumps(data))
        if change is not None:
            change(data)
        (run / "b.json").write_text(json.dumps(data) if text is None else text)

    return harm


@contextlib.contextmanager
def small_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond `largest` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ------------------------------------------------------------------ outcome


def outcome(
    folder: Path, harm: Harm, use: Use, *, says: str, lora: bool = False, limit: int | None = None, warned: bool = False
) -> str:
    """Copy the run, harm it, use it, and judge.

    Args:
        says: what a refusal must name.
        limit: bytes a file may have while the command runs.
        warned: another result than without the fault is right if a line names `says`.
    """
    run = Path(shutil.copytree(finished(lora) / "run", folder / "run", symlinks=True))
    harm(run)
    before = {p for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    with small_disk(limit) if limit else contextlib.nullcontext():
        code, error, result = use(run)
    pruned = {p for p in before if code == 0 and p.parent.name.startswith("step-")}  # the oldest checkpoint
    if not all(p.exists() for p in before - pruned) or (run / "notes.txt").read_text() != "mine":
        return "lost"
    told = "".join(error.split())  # a console breaks its lines
    if code == 2:
        last = error.splitlines()[-1] if error else ""  # after those of the progress
        return "survived" if says in last and re.match(r"\w+Error: ", last) else "lost"
    if code:
        return "lost"
    if result == expected(use, lora):
        return "survived"
    return "survived" if warned and says in told else "silent"


@functools.cache
def expected(use: Use, lora: bool) -> Any:
    """What the command makes of the run when nothing is wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(shutil.copytree(finished(lora) / "run", Path(scratch) / "run"))
        code, error, result = use(run)
        assert code == 0 or use is compare, error
        return result


def fault(kind: str, name: str, harm: Harm, use: Use, says: str, **options: Any) -> Fault:
    run = functools.partial(outcome, harm=harm, use=use, says=says, **options)
    return Fault(name=f"{name} ({use.__name__})", kind=kind, run=run)


WAYS: dict[str, Callable[[str], Harm]] = {"cut": cut, "empty": empty, "gone": gone, "garbled": garbled}
PARTS = ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json", "MANIFEST.json")
BEST = ("config.json", "model.safetensors", "tokenizer.json", "rlsd.json")
ROLLOUT = "rollouts/step-000001.jsonl.gz"
TOKENS = "rollouts/step-000001.tokens.safetensors"
METRICS = "metrics.jsonl"


def table() -> list[Fault]:
    """All faults of files, in a fixed order."""
    found = [
        fault("checkpoint", f"{part} {way}", make(f"{CHECKPOINT}/{part}"), go_on, part)
        for part in PARTS
        for way, make in WAYS.items()
    ]
    found += [
        fault("best", f"best/{part} {way}", make(f"best/{part}"), use, part)
        for part in BEST
        for way, make in WAYS.items()
        for use in (export, *((evaluate,) if way == "garbled" else ()))
    ]
    found += [
        fault("best", "best/MANIFEST.json cut", cut("best/MANIFEST.json"), export, "MANIFEST.json"),
        fault("best", "best/MANIFEST.json gone", gone("best/MANIFEST.json"), export, "MANIFEST.json"),
        fault("best", "best gone", gone("best"), export, "no best weights"),
        fault("best", "best gone", gone("best"), go_on, "best"),
        fault("best", "best/model.safetensors cut", cut("best/model.safetensors"), go_on, "model.safetensors"),
        fault("config", "config.yaml cut", cut("config.yaml"), go_on, "config.yaml"),
        fault("config", "config.yaml empty", empty("config.yaml"), go_on, "config.yaml"),
        fault("config", "config.yaml gone", gone("config.yaml"), go_on, "config.yaml"),
        fault("config", "config.yaml garbled", garbled("config.yaml"), go_on, "config.yaml"),
        fault("config", "a key twice", changed("config.yaml", lambda t: t + "seed: 3\n"), go_on, "'seed'"),
        fault(
            "config",
            "an infinite number",
            changed("config.yaml", lambda t: t.replace("grad_clip: 1.0", "grad_clip: .inf")),
            go_on,
            "grad_clip",
        ),
        fault(
            "adapter",
            "weights cut",
            cut(f"{CHECKPOINT}/model.safetensors"),
            export_adapter,
            "model.safetensors",
            lora=True,
        ),
        fault(
            "adapter",
            "weights garbled",
            garbled(f"{CHECKPOINT}/model.safetensors"),
            export_adapter,
            "model.safetensors",
            lora=True,
        ),
        fault(
            "adapter", "weights gone", gone(f"{CHECKPOINT}/model.safetensors"), go_on, "model.safetensors", lora=True
        ),
    ]
    for use in (report, go_on):
        found += [
            fault("metrics", "last line cut", changed(METRICS, lambda t: t[:-20]), use, METRICS, warned=True),
            fault("metrics", "a line garbled", lines(METRICS, lambda x: [x[0], "{" + x[1], *x[2:]]), use, METRICS),
            fault("metrics", "a line gone", lines(METRICS, lambda x: [x[0], *x[2:]]), use, METRICS, warned=True),
            fault("metrics", "a line twice", lines(METRICS, lambda x: [*x[:2], *x[1:]]), use, METRICS),
            fault("metrics", "lines swapped", lines(METRICS, lambda x: x[::-1]), use, METRICS),
            fault("metrics", "a stray line break", swapped(METRICS, ", ", ",\r", 1), use, METRICS),
            fault(
                "metrics",
                "NaN",
                changed(METRICS, lambda t: t.replace('"loss": ', '"loss": NaN, "x": ', 1)),
                use,
                METRICS,
            ),
            fault("metrics", "a folder in the way", in_the_way(METRICS, folder=True), use, METRICS),
            fault("metrics", "a link to nothing", linked(METRICS, dangling=True), use, METRICS),
            fault("metrics", "gone", gone(METRICS), use, "metrics", warned=True),
        ]
    found += [
        fault("metrics", "a digit changed", swapped(METRICS, '"success": ', '"success": 0.5, "x": '), report, METRICS),
        fault("metrics", "an evaluation gone", lines(METRICS, lambda x: x[1:]), report, METRICS, warned=True),
        fault("metrics", "success beyond 1", swapped(METRICS, '"success": ', '"success": 7', 1), report, METRICS),
        fault("metrics", "a field gone", swapped(METRICS, '"interval"', '"intervall"', 1), report, METRICS),
        fault("rollouts", "cut", cut(ROLLOUT), report, "step-000001"),
        fault("rollouts", "empty", empty(ROLLOUT), report, "step-000001"),
        fault("rollouts", "garbled", garbled(ROLLOUT), report, "step-000001"),
        fault("rollouts", "no credit", episodes(lambda r: r.pop("turn_credit")), report, "step-000001"),
        fault("rollouts", "credit of fewer turns", episodes(lambda r: r["turn_credit"].pop()), report, "step-000001"),
        fault("rollouts", "a turn is no turn", episodes(lambda r: r["turns"].__setitem__(0, 3)), report, "step-000001"),
        fault("rollouts", "key cut", episodes(lambda r: r["key"].pop()), report, "step-000001"),
        fault("rollouts", "tokens cut", cut(TOKENS), report, "step-000001.tokens"),
        fault("rollouts", "tokens empty", empty(TOKENS), report, "step-000001.tokens"),
        fault("rollouts", "tokens of another step", copied(TOKENS, TOKENS.replace("1.t", "0.t")), report, "step-00000"),
        fault("rollouts", "a foreign name", stray, report, "step-abc"),
        fault("links", "newest checkpoint elsewhere", linked(CHECKPOINT), go_on, "step-000002"),
        fault("links", "newest checkpoint a link to nothing", linked(CHECKPOINT, dangling=True), go_on, "step-000002"),
        fault("links", "checkpoints elsewhere", linked("checkpoints"), go_on, "checkpoints"),
        fault("links", "checkpoints a link to nothing", linked("checkpoints", dangling=True), go_on, "checkpoints"),
        fault("links", "best elsewhere", linked("best"), go_on, "best"),
        fault("links", "best elsewhere", linked("best"), export, "best"),
        fault("links", "config elsewhere", linked("config.yaml"), go_on, "config.yaml"),
        fault("writing", "a file named checkpoints", in_the_way("checkpoints"), go_on, "checkpoint"),
        fault("writing", "a file named rollouts", in_the_way("rollouts"), go_on, "rollouts"),
        fault("writing", "a folder named .lock", in_the_way(".lock", folder=True), go_on, "run directory"),
        fault("writing", "a file named best.partial", in_the_way("best.partial"), export, "best"),
        fault("writing", "disk full at a checkpoint", lambda run: None, go_on, "", limit=20_000),
        fault("writing", "disk full at the config", lambda run: None, go_on, "", limit=100),
        fault("writing", "disk full at an export", lambda run: None, export, "", limit=2_000),
        fault("writing", "disk full at a report", lambda run: None, report, "", limit=2_000),
        fault("compare", "cut", evals(None, '{"panel": {"dig'), compare, "b.json"),
        fault("compare", "a score that is NaN", evals(lambda d: d["scores"].update(a=float("nan"))), compare, "b.json"),
        fault("compare", "a win that is a text", evals(lambda d: d["wins"].update(a="false")), compare, "b.json"),
        fault("compare", "a score gone", evals(lambda d: d["scores"].pop("a")), compare, "b.json"),
    ]  # fmt: skip
    for use in (go_on, evaluate, export, report):
        found.append(Fault(name=f"run moved ({use.__name__})", kind="moved", run=functools.partial(_moved, use=use)))
    return found


def _moved(folder: Path, use: Use) -> str:
    (folder / "deep").mkdir()
    run = Path(shutil.copytree(finished() / "run", folder / "first"))
    os.rename(run, folder / "deep" / "run")
    code, _, result = use(folder / "deep" / "run")
    return "lost" if code else "survived" if result == expected(use, False) else "silent"

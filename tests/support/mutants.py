"""Mutation testing: change one thing on one line of a central module; do its tests notice? (`make mutants`)

The checkout is copied to a temporary folder and changed there. A server process imports the heavy libraries once and
forks for every trial, which then imports the copy's own modules afresh. A change that no test noticed is printed as
`file:line: before -> after`: a missing test, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOTS = ("envs", "agents", "algorithms", "harness")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "checkpoints", "results", "models", "runs")
HEAVY = ["torch", "transformers", "pydantic", "numpy", "pytest", "hypothesis"]
NOT_THE_COPY = 77
"""Exit code of a trial whose tests did not import the changed module from the copy."""


class MutantsError(Exception):
    """The tests cannot be trusted to judge: they fail on unchanged code, or do not read the copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    path: str
    tests: tuple[str, ...]
    """Fast test files that must notice, the most telling first."""
    only: str | None = None
    """The one function to change; None: the whole module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """`new` instead of the bytes [start, stop) of a source."""

    line: int
    start: int
    stop: int
    new: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.stop :]

    def told(self, source: bytes) -> str:
        before, after = (s.splitlines()[self.line - 1].decode().strip() for s in (source, self.applied(source)))
        return f"{self.line}: {before} -> {after}"


_CREDIT = ("golden/test_credit_golden.py", "algorithms/test_credit.py", "properties/test_credit_properties.py")
_ADVANTAGE = ("golden/test_advantage_golden.py", "algorithms/test_config.py", "properties/test_credit_properties.py")
_METHODS = "golden/test_methods_credit.py"
_ORIGINALS = "golden/test_originals.py"
_DISTILL = ("golden/test_methods_distill.py", "golden/test_trl.py", "algorithms/test_loss.py")
_TABLES = ("harness/scoring/test_tables.py", "harness/rollout/test_rollout.py", "harness/rollout/test_failures.py")
TARGETS = tuple(
    Target(path=path, tests=tuple(f"tests/{t}" for t in tests), only=only)
    for path, tests, only in (
        ("algorithms/rlsd/algorithms/rlsd.py", _CREDIT, None),
        ("algorithms/rlsd/algorithms/credit.py", (*_CREDIT, _METHODS), None),
        ("algorithms/rlsd/algorithms/spikes.py", (_METHODS,), None),
        ("algorithms/rlsd/algorithms/uni_opsd.py", (_METHODS,), None),
        ("algorithms/rlsd/algorithms/advantage.py", _ADVANTAGE, None),
        ("algorithms/rlsd/algorithms/gigpo.py", ("golden/test_advantage_golden.py", _ORIGINALS), None),
        (
            "algorithms/rlsd/algorithms/agent_opsd.py",
            ("golden/test_credit_golden.py", "golden/test_originals.py"),
            None,
        ),
        ("algorithms/rlsd/algorithms/token_weights.py", ("algorithms/test_token_weights.py", *_CREDIT[2:]), None),
        ("algorithms/rlsd/algorithms/loss.py", ("algorithms/test_config.py", *_DISTILL), None),
        ("algorithms/rlsd/algorithms/distill.py", _DISTILL, None),
        ("algorithms/rlsd/algorithms/token_shares.py", _DISTILL, None),
        ("algorithms/rlsd/algorithms/targets.py", ("golden/test_targets_golden.py", "golden/test_trl.py"), None),
        ("algorithms/rlsd/algorithms/schedule.py", ("algorithms/test_schedule.py", "algorithms/test_config.py"), None),
        ("harness/rlsd/harness/scoring/sequences.py", ("harness/scoring/test_sequences.py",), None),
        ("harness/rlsd/harness/scoring/tables.py", _TABLES, None),
        ("harness/rlsd/harness/hindsight/hints.py", ("harness/hindsight/test_hints.py",), None),
        ("harness/rlsd/harness/scoring/elsewhere.py", ("harness/scoring/test_elsewhere.py",), None),
        ("harness/rlsd/harness/evals/rerolls.py", ("harness/evals/test_rerolls.py",), None),
        ("harness/rlsd/harness/evals/stats.py", ("harness/evals/test_stats.py",), None),
        ("harness/rlsd/harness/config/learner.py", ("harness/config/test_blocks.py",), "at"),
        ("agents/rlsd/agents/parsing.py", ("agents/test_parsing.py", "agents/test_shop_format.py"), None),
    )
)

_SWAPS: dict[type[ast.AST], tuple[str, str]] = {
    **{ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")},
    **{ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is")},
    **{ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and")},
    **{ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")},
    **{ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&")},
}
_DROPPED: dict[type[ast.AST], str] = {ast.Not: "not ", ast.Invert: "~", ast.USub: "-"}
_UNTOUCHED = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)


def mutations(source: bytes, only: str | None = None) -> list[Mutation]:
    """All changes of a module: operators exchanged or dropped, conditions negated, numbers off by one, flags flipped.
    What raises or annotates stays as it is."""
    tree: ast.AST = ast.parse(source)
    if only is not None:
        (tree,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == only]
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def begin(node: ast.expr) -> int:
        return starts[node.lineno - 1] + node.col_offset

    def end(node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.end_lineno - 1] + node.end_col_offset

    def change(start: int, stop: int, new: str) -> Mutation:
        return Mutation(line=source[:start].count(b"\n") + 1, start=start, stop=stop, new=new)

    def swapped(left: ast.expr, op: ast.AST, right: ast.expr) -> Iterator[Mutation]:
        if type(op) in _SWAPS:
            old, new = _SWAPS[type(op)]
            at = source.index(old.encode(), end(left), begin(right))
            yield change(at, at + len(old), new)

    def of(node: ast.AST) -> Iterator[Mutation]:
        if isinstance(node, ast.Compare):
            for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators):
                yield from swapped(left, op, right)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:]):
                yield from swapped(left, node.op, right)
        elif isinstance(node, ast.BinOp):
            yield from swapped(node.left, node.op, node.right)
        elif isinstance(node, ast.AugAssign):
            yield from swapped(node.target, node.op, node.value)
        elif isinstance(node, ast.UnaryOp) and type(node.op) in _DROPPED:
            yield change(begin(node), begin(node) + len(_DROPPED[type(node.op)]), "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield change(begin(node), end(node), str(not node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            for step in (1, -1):
                yield change(begin(node), end(node), f"({node.value + step!r})")
        asked = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) else None
        bare = asked if isinstance(asked, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr) else None
        given = (
            node.value if isinstance(node, ast.Return) and isinstance(node.value, ast.Compare | ast.BoolOp) else None
        )
        if condition := bare or given:
            inner = source[begin(condition) : end(condition)].decode()
            yield change(begin(condition), end(condition), f"(not ({inner}))")

    def walk(node: ast.AST) -> Iterator[Mutation]:
        yield from of(node)
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in ("annotation", "returns", "decorator_list"):
                    yield from () if isinstance(child, _UNTOUCHED) else walk(child)

    return list(walk(tree))


def run(
    root: Path,
    targets: Sequence[Target],
    *,
    minutes: float,
    seed: int = 0,
    reconnect_s: float = 10,
    preload: Sequence[str] = (),
    tell: bool = True,
) -> tuple[dict[str, int], list[str]]:
    """Try mutations of `targets` in random order until they or the time run out.

    Args:
        root: the checkout; it is only read.
        reconnect_s: a trial hangs if it takes this much more than three times as long as on unchanged code.
        preload: libraries imported once for all trials.

    Returns:
        Counts of `tried`, `killed` and `survived`, and the survivors as `file:line: before -> after`.

    Raises:
        MutantsError: tests fail on unchanged code, or do not import their module from the copy.
    """
    until = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    sources = {t.path: (root / t.path).read_bytes() for t in targets}
    plan = [(t, m) for t in targets for m in mutations(sources[t.path], t.only)]
    random.Random(seed).shuffle(plan)
    survivors: list[str] = []
    counts = {"tried": 0, "killed": 0, "survived": 0}
    limits: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        copy = Path(temporary) / "checkout"
        shutil.copytree(root, copy, ignore=LEFT_OUT)
        for target, mutation in plan:
            if time.monotonic() >= until:
                break
            if target.path not in limits:
                started = time.monotonic()
                code = _trial(context, copy, target, timeout_s=600)
                if code:
                    raise MutantsError(_why(target, code, copy))
                limits[target.path] = reconnect_s + 3 * (time.monotonic() - started)
            source = sources[target.path]
            (copy / target.path).write_bytes(mutation.applied(source))
            code = _trial(context, copy, target, timeout_s=limits[target.path])
            (copy / target.path).write_bytes(source)
            counts["tried"] += 1
            counts["killed" if code else "survived"] += 1
            if not code:
                survivors.append(f"{target.path}:{mutation.told(source)}")
                if tell:
                    print(survivors[-1], flush=True)
    return counts, survivors


def _trial(context: multiprocessing.context.ForkServerContext, copy: Path, target: Target, *, timeout_s: float) -> int:
    """Exit code of the target's tests in the copy, 0 where all passed; -9 after the time limit."""
    process = context.Process(target=_tests_in, args=(copy, target))
    process.start()
    process.join(timeout_s)
    if process.exitcode is None:
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _tests_in(copy: Path, target: Target) -> None:
    """In the forked process: the tests, with the copy's modules alone; its exit code is pytest's."""
    os.setsid()  # a trial that hangs is stopped with all it started
    with (copy.parent / "output.txt").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(copy)
    sys.dont_write_bytecode = True  # two versions of a file may have one size and time
    paths = [str(copy), *(str(copy / name) for name in ROOTS)]
    os.environ.update(PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1")
    sys.path[:0] = paths
    for name in [n for n in sys.modules if n.split(".")[0] in ("rlsd", "tests")]:
        del sys.modules[name]
    fast = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not slow and not vllm and not gpu"]
    code = int(pytest.main([*fast, *target.tests]))
    parts = Path(target.path).with_suffix("").parts
    module = sys.modules.get(".".join(parts[1:] if parts[0] in ROOTS else parts))
    if code == 0 and (module is None or module.__file__ != str(copy / target.path)):
        code = NOT_THE_COPY
    sys.stdout.flush()
    os._exit(code)


def _why(target: Target, code: int, copy: Path) -> str:
    tests = ", ".join(target.tests)
    if code == NOT_THE_COPY:
        return f"{tests}: these tests do not import {target.path}; pair it with others in tests/support/mutants.py"
    told = (copy.parent / "output.txt").read_text()[-2000:]
    return f"{tests}: fails (exit code {code}) on unchanged code, so it cannot judge {target.path}:\n{told}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="stop after so long (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which changes are tried (0)")
    parser.add_argument("--only", default="", help="modules whose path contains this text")
    given = parser.parse_args(arguments)
    targets = [t for t in TARGETS if given.only in t.path]
    if not targets:
        parser.error(f"--only {given.only}: expected a part of one of {', '.join(t.path for t in TARGETS)}")
    root = Path(__file__).resolve().parents[2]
    try:
        counts, _ = run(root, targets, minutes=given.minutes, seed=given.seed, preload=HEAVY)
    except MutantsError as error:
        sys.exit(f"MutantsError: {error}")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()

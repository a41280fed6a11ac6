"""Progress output: rich bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from rlsd.envs.hiding import hidden

MUCH_IDLE = 0.5
"""Report the share of a rollout in which the sampler was idle if it is larger: slow environments, or servers away."""


def counted(number: int, failures: Mapping[str, int]) -> str:
    """Failed episodes for people.

    >>> counted(3, {"reward": 2, "raised": 1})
    '3 (reward 2, raised 1)'
    """
    by_reason = ", ".join(f"{reason} {count}" for reason, count in failures.items())
    return f"{number} ({by_reason})" if by_reason else str(number)


class Progress:
    """Prints the progress of a run.

    Args:
        quiet: print nothing.
        total: iterations of the run, for the line that is printed after each.
        headed: also print what the run is before it begins.
    """

    def __init__(self, *, quiet: bool = False, total: int = 0, headed: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.total = total
        self.headed = headed

    def header(self, lines: Callable[[], Sequence[str]]) -> None:
        """What the run is, once."""
        if self.headed:
            for line in lines():
                self.console.print(hidden(line), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, count: int | None) -> Iterator[Callable[[], None]]:
        """A bar while the block runs; the value is a function that advances it by one."""
        if not self.console.is_terminal:
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(what, total=count)
            yield lambda: bars.advance(task)

    @contextmanager
    def status(self, what: str) -> Iterator[None]:
        """A spinner while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(what):
            yield

    def iteration(self, record: dict[str, Any]) -> None:
        """One line after each iteration."""
        parts = [f"step {record['step'] + 1}/{self.total}"]
        own = (("success", "success"), ("returns", "return"))
        imitated = (("success", "imitated success"),)  # the policy did not play these episodes
        outcome = imitated if "loss_student" in record else own
        for name, text in (*outcome, ("loss", "loss"), ("tokens", "tokens")):
            if record.get(name) is not None:
                value = record[name]
                parts.append(f"{text} {value:.3f}" if isinstance(value, float) else f"{text} {value}")
        if record.get("failed_episodes"):
            parts.append(f"failed {counted(record['failed_episodes'], record.get('failures', {}))}")
        if record.get("refilled_groups"):
            parts.append(f"refilled {record['refilled_groups']}")
        if record.get("wasted_tokens"):
            parts.append(f"wasted {record['wasted_tokens']}")
        if record["timing"].get("sampler_idle_share", 0.0) > MUCH_IDLE:
            parts.append(f"sampler idle {100 * record['timing']['sampler_idle_share']:.0f} %")
        if "iteration_s" in record["timing"]:
            parts.append(f"{record['timing']['iteration_s']:.1f} s")
        self.console.print("  ".join(parts), highlight=False)

    def warning(self, message: str) -> None:
        self.console.print(f"[yellow]warning[/yellow]: {escape(hidden(message))}", highlight=False)

    def evaluation(self, step: int, summary: dict[str, Any]) -> None:
        low, high = summary["interval"]
        failed = f", failed {counted(summary['errors'], summary['failures'])}" if summary.get("errors") else ""
        self.console.print(
            f"[bold]valid[/bold] after step {step + 1}: success {100 * summary['success']:.1f} % "
            f"[{100 * low:.1f}, {100 * high:.1f}] on {summary['episodes']} tasks{failed}",
            highlight=False,
        )

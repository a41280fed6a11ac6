"""`rlsd leaderboard`: many results as one static page, a table a panel, figures of papers below as context."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from rlsd.harness.evals.compare import UNSETTLED, compare_pair, verdict
from rlsd.harness.evals.rates import rate_interval
from rlsd.harness.evals.results_file import state
from rlsd.harness.evals.saved import CompareError, Entrant, Saved, read_saved
from rlsd.harness.evals.stats import holm
from rlsd.harness.report.static_page import static_page, write_page

PUBLISHED = {
    "rlsd/ALFWorld-v0": ("valid_seen", "valid_unseen"),
    "rlsd/WebShop-v0": ("test", "valid"),
    "rlsd/SearchQA-v0": ("test", "all"),
}
"""Environment → splits beside which figures of papers are shown, if their tasks are the published ones."""
DATA = {"rlsd/ALFWorld-v0": ("games", None), "rlsd/WebShop-v0": ("catalogue", "real")}
"""Argument that names the data, and its value for the published ones; None: the split's name tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One agent on one panel."""

    name: str
    rate: float
    low: float
    high: float
    score: float
    behind: str
    """Difference to the first row with its interval; "" for the first."""
    seeds: int
    samples: int
    protocol: str
    temperature: str
    turns: str
    weights: str
    agent: str
    training: str
    state: str
    """"sound", "edited" (its checksum is wrong) or "unsealed" (of an earlier version)."""
    types: Sequence[tuple[str, float]]

    @property
    def told(self) -> str:
        return f"{100 * self.rate:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One panel's table."""

    env: str
    split: str
    digest: str
    tasks: int
    rows: Sequence[Row]
    scored: bool
    """Scores differ from wins somewhere."""
    quoted: Sequence[Mapping[str, Any]]
    """Once for each split: beside the panel with most tasks."""


def write_leaderboard(folder: Path, out: Path | None = None, *, quoted: bool = True) -> Path:
    """Write the page; other JSON files in the folder are passed over, and named on the page.

    Raises:
        CompareError: no such folder, or no results in it.
    """
    if not folder.is_dir():
        raise CompareError(f"{folder} is no folder")
    found, passed = list[Saved](), list[str]()
    for path in sorted(folder.rglob("*.json")):
        try:
            found.append(read_saved(path))
        except CompareError:
            passed.append(str(path.relative_to(folder)))
    if not found:
        raise CompareError(f"{folder} has no file of `rlsd eval --save`")
    figures = quoted_figures() if quoted else []
    panels: dict[str, list[Saved]] = defaultdict(list)
    for saved in found:
        panels[saved.digest].append(saved)
    boards = [_board(group, figures) for group in panels.values()]
    boards.sort(key=lambda board: (board.env, board.split, -board.tasks, -len(board.rows)))
    first = {(board.env, board.split): board.digest for board in reversed(boards) if board.quoted}
    boards = [b if first.get((b.env, b.split)) == b.digest else replace(b, quoted=()) for b in boards]
    page = static_page("leaderboard", boards=boards, passed=passed, results=len(found))
    return write_page(out or folder / "leaderboard.html", page)


def quoted_figures() -> list[dict[str, Any]]:
    """Figures of papers, in %, with their budget and source; read as context, none was measured here."""
    return json.loads(files("rlsd.harness.report").joinpath("quoted.json").read_text(encoding="utf-8"))


def _board(found: Sequence[Saved], figures: Iterable[Mapping[str, Any]]) -> Board:
    agents: dict[tuple[Any, ...], list[Saved]] = defaultdict(list)
    for saved in found:
        agents[_who(saved)].append(saved)
    entrants = [Entrant(name=_name(group, len(agents)), files=tuple(group)) for group in agents.values()]
    entrants.sort(key=lambda e: -float(e.table("success").mean()))
    behind = _behind(entrants)
    panel = found[0].data["panel"]
    env, split = str(panel.get("env", "")), str(panel.get("split", ""))
    return Board(
        env=env,
        split=split,
        digest=found[0].digest,
        tasks=len(found[0].wins),
        rows=[_row(entrant, text) for entrant, text in zip(entrants, behind)],
        scored=any(f.outcomes("score") != f.outcomes("success") for f in found),
        quoted=[f for f in figures if f["env"] == env and _published(found[0])],
    )


def _who(saved: Saved) -> tuple[Any, ...]:
    """What makes two files seeds of one agent; a file without it stands alone."""
    data = saved.data
    if "format" not in data:
        return (str(saved.path),)
    weights = data.get("weights") or {}
    return (
        saved.agent, weights.get("digest"), data.get("agent_digest"), saved.samples, tuple(sorted(saved.wins)),
        data["played"].get("protocol"), (data.get("sampling") or {}).get("temperature"),
        json.dumps([data["played"].get(key) for key in ("arguments", "settings", "config")]),
    )  # fmt: skip


def _name(group: Sequence[Saved], agents: int) -> str:
    """A file's name, where agents of several files have one name."""
    return group[0].agent if len({saved.path.stem for saved in group}) == len(group) > 1 else _of_file(group[0])


def _of_file(saved: Saved) -> str:
    return saved.agent if saved.agent == saved.path.stem else f"{saved.path.stem} ({saved.agent})"


def _behind(entrants: Sequence[Entrant]) -> list[str]:
    """Each minus the first, p corrected by Holm for all."""
    pairs = [compare_pair(entrants[0], entrant, "success") for entrant in entrants[1:]]
    for pair, p in zip(pairs, holm([pair["p"] for pair in pairs])):
        pair["p_holm"] = p
    out = [""]
    for pair in pairs:
        low, high = (100 * bound + 0.0 for bound in pair["interval"])
        told = f"{100 * pair['difference'] + 0.0:+.1f} [{low:+.1f}, {high:+.1f}]"
        out.append(f"{told}, {UNSETTLED}" if verdict(pair) == UNSETTLED else told)
    return out


def _row(entrant: Entrant, behind: str) -> Row:
    rate, low, high = rate_interval(entrant.table("success"), samples=entrant.samples)
    data = entrant.files[0].data
    types: dict[str, list[str]] = defaultdict(list)
    for task, kind in entrant.types.items():
        types[kind].append(task)
    sampling = data.get("sampling") or {}
    temperature = sampling.get("temperature")
    turns = data.get("turns")
    training = data.get("training_tasks")
    return Row(
        name=entrant.name,
        rate=rate,
        low=low,
        high=high,
        score=float(entrant.table("score").mean()),
        behind=behind,
        seeds=len(entrant.files),
        samples=entrant.samples,
        protocol=str((data.get("played") or {}).get("protocol", "")),
        temperature="" if temperature is None else f"{temperature:g}",
        turns=f"{turns:.1f}" if isinstance(turns, int | float) and math.isfinite(turns) else "",
        weights=str((data.get("weights") or {}).get("digest", "")),
        agent=str(data.get("agent_digest", "")),
        training="" if training is None else str(training),
        state=state(saved.data for saved in entrant.files),
        types=[(kind, float(entrant.table("success", tasks).mean())) for kind, tasks in sorted(types.items())],
    )


def _published(saved: Saved) -> bool:
    panel, played = saved.data["panel"], saved.data.get("played") or {}
    env = panel.get("env")
    if panel.get("split") not in PUBLISHED.get(str(env), ()):
        return False
    argument, value = DATA.get(str(env), ("questions", None))
    given = (played.get("arguments") or {}).get(argument)
    return given == value if value is not None else not str(given or "").startswith("gen-")

"""`rlsd report`: runs and evaluations as one HTML page that needs nothing else: results, curves, episodes, credit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsd.harness.report.charts import TRAINING
from rlsd.harness.report.kept import KeptEpisodes
from rlsd.harness.report.page import pack, page
from rlsd.harness.report.sources import Source, names_of, open_source
from rlsd.harness.report.static_page import write_page

MAX_MIB = 16.0
"""Default limit of a page."""
MARGIN = 100
"""Bytes of the page around each block of data, at most."""


def write_report(
    runs: Path | Sequence[Path],
    out: Path | None = None,
    *,
    step: int | None = None,
    groups: int | None = None,
    max_mib: float = MAX_MIB,
) -> Path:
    """Write one page of runs and kept evaluations: `report.html` in the first folder, or `out`.

    The page lists every kept episode. Turns and tokens are in it as long as it stays below `max_mib`: the last
    iteration's first, and tasks with wins and losses before others; it says how many it had to leave out.

    Args:
        step: the only iteration whose episodes are wanted, counted from 1; default: all that were kept.
        groups: largest number of tasks of an iteration whose episodes have their turns in the page; default: no limit.

    Raises:
        RunError: no run directory; nothing was recorded there yet, or not that iteration; a damaged record.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    sources = [open_source(folder, step=step) for folder in folders]
    place = out or folders[0] / "report.html"
    start = start_of(sources, names_of(folders), served=False)
    blocks = {
        f"index-{run}-{number}": pack(kept.index)
        for run, source in enumerate(sources)
        for number, kept in source.episodes.items()
    }
    start |= {"left_out": 0, "limit_mib": max_mib, "groups": groups}
    room = int(max_mib * (1 << 20)) - len(page(start, blocks, served=False).encode()) - MARGIN
    for run, number, kept, numbers in _in_order(sources, groups):
        block = "" if room <= 0 else pack({"episodes": {n: kept.episode(n) for n in numbers}})
        if 0 < len(block) <= room:
            blocks[f"group-{run}-{number}-{kept.index['group'][numbers[0]]}"] = block
            room -= len(block) + MARGIN
        else:
            room = 0  # what comes later is worth less: packing it all to find a smaller one would take minutes
            start["left_out"] += len(numbers)
    return write_page(place, page(start, blocks, served=False))


def start_of(sources: Sequence[Source], names: Sequence[str], *, served: bool) -> dict[str, Any]:
    """What a page of these sources starts with, as plain data."""
    charts = [
        {"title": c.title, "note": c.note, "lines": dict(c.lines), "scale": c.scale, "log": c.log, "share": c.share}
        for c in TRAINING
    ]
    return {
        "served": served,
        "charts": charts,
        "runs": [{"name": name, **s.about, "steps": list(s.episodes)} for name, s in zip(names, sources)],
    }


def _in_order(sources: Sequence[Source], most: int | None) -> Iterator[tuple[int, int, KeptEpisodes, Sequence[int]]]:
    """(run, iteration, its episodes, numbers of a group's episodes), what is worth most first: the newest of each run,
    then the next older ones."""
    newest = [sorted(source.episodes, reverse=True) for source in sources]
    for age in range(max(map(len, newest), default=0)):
        for run, steps in enumerate(newest):
            if age < len(steps):
                kept = sources[run].episodes[steps[age]]
                for numbers in _groups(kept.index)[:most]:
                    yield run, steps[age], kept, numbers


def _groups(index: Mapping[str, Any]) -> list[list[int]]:
    """Numbers of the episodes of each group, groups with wins and losses first."""
    found: dict[int, list[int]] = {}
    for number, group in enumerate(index["group"]):
        found.setdefault(group, []).append(number)
    return sorted(found.values(), key=lambda numbers: len({index["won"][n] for n in numbers}) == 1)

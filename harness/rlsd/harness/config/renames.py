"""Renamed settings: the old names work for one version and print one hint each.

To rename a setting, add a line to `RENAMED`. A dotted path is moved as it is, into a block below another one too; a
function gets the old value and returns new paths with their values, as in

    "learner.wrapper": "learner.parallel"
    "learner.lr_final": lambda value: {"learner.lr.final": value, "learner.lr.schedule": "cosine"}
    "sft.contexts": lambda names: {"sft.contexts": [NEW_NAMES.get(name, name) for name in names]}

The last one renames values; if a function returns its argument unchanged, no hint is printed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rlsd.harness.config.blocks import ConfigError

Move = Callable[[Any], Mapping[str, Any]]
CONTEXTS = {"missing": "unmet_goals", "whereabouts": "locations", "changed": "state_changes"}
"""Hindsight contexts, old name → new one."""


def _contexts(path: str) -> Move:
    return lambda names: {path: [CONTEXTS.get(name, name) for name in names]}


def _final(value: float | None) -> Mapping[str, Any]:
    return {} if value is None else {"learner.lr.final": value, "learner.lr.schedule": "cosine"}


def _inverted(value: bool) -> Mapping[str, Any]:
    return {"algorithm.credit.direction": "against_outcome" if value else "outcome"}


def _credit_method(value: str) -> Mapping[str, Any]:
    belief = {"signal": "belief", "level": "turn", "scale": ["z:trajectory"], "squash": "linear", "slope": 0.2}
    blocks: Mapping[str, Any] = {"none": {"rule": "none"}, "rlsd": {"rule": "hindsight"}, "belief": belief}
    return {f"algorithm.credit.{key}": inner for key, inner in blocks.get(value, {"rule": value}).items()}


RENAMED: dict[str, str | Move] = {
    "agent.style": "agent.format",
    "agent.keep": "agent.history_turns",
    "rollout.siblings": "rollout.group_size",
    "rollout.tasks": "rollout.tasks_per_iteration",
    "rollout.slots": "rollout.max_concurrent",
    "rollout.ahead": lambda value: {"rollout.async_steps": int(value)},
    "learner.share": "learner.prefix_sharing",
    "learner.micro_tokens": "learner.micro_batch_tokens",
    "learner.wrapper": "learner.parallel",
    "learner.merge_rows": "learner.merge_turns",
    "learner.lr_updates": "learner.lr.total_updates",
    "learner.lr_final": _final,
    "learner.warmup_updates": "learner.lr.warmup_updates",
    "sampler.kind": "sampler.backend",
    "sampler.patience_s": "sampler.reconnect_s",
    "sampler.gap_warn": "sampler.logprob_gap_warn",
    "sampler.gap_stop": "sampler.logprob_gap_stop",
    "sft.contexts": _contexts("sft.contexts"),
    "algorithm.contexts": _contexts("algorithm.contexts"),
    "algorithm.loss.sampler_cap": "algorithm.loss.tis_cap",
    "algorithm.credit.mean_one": "algorithm.credit.normalize",
    "algorithm.credit.side": "algorithm.credit.applies_to",
    "algorithm.credit.reverse": _inverted,
    "algorithm.credit.invert": _inverted,
    "algorithm.credit.method": _credit_method,
    **{
        f"algorithm.{schedule}.{old}": f"algorithm.{schedule}.{old}_iterations"
        for schedule in ("credit.lam", "loss.distill.coef")
        for old in ("warmup", "hold", "decay")
    },
}
"""Old dotted path → new one, or a function from the old value to new paths and values."""
UNTIL = "0.3"
SHORT = {
    "algorithm": "name",
    "learner.lr": "peak",
    "algorithm.credit.lam": "start",
    "algorithm.loss.distill.coef": "start",
}
"""Blocks that may be written as one value → the key of that value."""
_ABSENT: Any = object()


def renamed(data: Mapping[str, Any], names: Mapping[str, str | Move] | None = None) -> dict[str, Any]:
    """A copy of a raw config (or of some of its blocks) in which every setting has its new name.

    Raises:
        ConfigError: a setting under both of its names.
    """
    return _renamed(data, RENAMED if names is None else names)[0]


def renamed_settings(
    settings: Iterable[tuple[str, Any]], names: Mapping[str, str | Move] | None = None
) -> list[tuple[str, Any]]:
    """The same for `--set` pairs of dotted path and value; one may become several.

    Raises:
        ConfigError: a setting under both of its names.
    """
    moves = [move for name, value in settings for move in _setting(name, value, RENAMED if names is None else names)]
    own = {path for path, _, old in moves if old is None}
    for path, _, old in moves:
        if old is not None and path in own:
            raise _both(old, path)
    return [(path, value) for path, value, _ in moves]


def place(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path, creating missing blocks.

    Raises:
        ConfigError: a part of the path is a value, not a block.
    """
    *parts, last = path.split(".")
    block = data
    for depth, part in enumerate(parts, start=1):
        child, where = block.get(part), ".".join(parts[:depth])
        if child is not None and not isinstance(child, dict) and where in SHORT:
            child = {SHORT[where]: child}
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"cannot set {path!r}: {part!r} is a value, not a block")
        block[part] = dict(child or {})
        block = block[part]
    if path == "learner.lr" and isinstance(block.get(last), dict) and not isinstance(value, dict):
        value = {**block[last], SHORT[path]: value}  # one number changes the peak, not the schedule
    block[last] = value


@functools.cache
def hint(line: str) -> None:
    """Print a line to stderr, once in a process."""
    print(line, file=sys.stderr)


def _renamed(data: Mapping[str, Any], names: Mapping[str, str | Move]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The copy, and the moved values by new path."""
    out, moved = _copy(data), {}
    for old, new in names.items():
        value = _take(out, old)
        if value is _ABSENT:
            continue
        targets = _targets(old, new, value)
        for path, item in targets.items():
            if _has(out, path):
                raise _both(old, path)
            place(out, path, item)
            moved[path] = item
    return out, moved


def _targets(old: str, new: str | Move, value: Any) -> Mapping[str, Any]:
    """New paths and values of a setting; prints the hint if they differ from the old ones."""
    targets = {new: value} if isinstance(new, str) else new(value)
    if old in targets:
        if targets[old] != value:
            hint(f"{old}: {value} is now {targets[old]}; the old value works until {UNTIL}")
    elif targets:
        hint(f"{old} is now {' and '.join(targets)}; the old name works until {UNTIL}")
    return targets


def _setting(name: str, value: Any, names: Mapping[str, str | Move]) -> Iterator[tuple[str, Any, str | None]]:
    """(path, value, old name or None) for one `--set`."""
    if name in names:
        for path, item in _targets(name, names[name], value).items():
            yield path, item, None if path == name else name
        return
    for old, new in names.items():
        if isinstance(new, str) and name.startswith(f"{old}."):  # a whole block has a new name
            rest = name.removeprefix(old)
            hint(f"{old} is now {new}; the old name works until {UNTIL}")
            yield f"{new}{rest}", value, name
            return
    if not isinstance(value, dict):
        yield name, value, None
        return
    nested: dict[str, Any] = {}
    place(nested, name, value)
    block, moved = _renamed(nested, names)
    inner = _take(block, name)
    yield name, {} if inner is _ABSENT else inner, None
    for path, item in moved.items():
        if not path.startswith(f"{name}."):
            yield path, item, name


def _copy(data: Any) -> Any:
    return {key: _copy(value) for key, value in data.items()} if isinstance(data, Mapping) else data


def _take(data: dict[str, Any], path: str) -> Any:
    """Remove a dotted path and return its value, `_ABSENT` if it is not there; an emptied block is removed too."""
    first, dot, rest = path.partition(".")
    if not dot:
        return data.pop(first, _ABSENT)
    child = data.get(first)
    if not isinstance(child, dict):
        return _ABSENT
    value = _take(child, rest)
    if value is not _ABSENT and not child:
        del data[first]
    return value


def _has(data: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _both(old: str, new: str) -> ConfigError:
    return ConfigError(f"{old} is now {new}, and both are given; leave {old} out")

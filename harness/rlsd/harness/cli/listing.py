"""What `rlsd envs` and `rlsd methods` print."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from rlsd.algorithms import METHODS
from rlsd.envs.alfworld.games import PRESETS, PUBLISHED, REAL_SPLITS
from rlsd.envs.core import Panel
from rlsd.envs.errors import RlsdError, closest
from rlsd.envs.registry import known, make
from rlsd.envs.searchqa.questions.sets import SETS
from rlsd.envs.searchqa.world.presets import PRESETS as ENCYCLOPEDIAS
from rlsd.envs.webshop.shops import SPLITS as WEBSHOP_SPLITS
from rlsd.harness.config import ConfigError
from rlsd.harness.hindsight.contexts import CONTEXTS, find_context

VARIANTS: dict[str, list[dict[str, str]]] = {
    "rlsd/ALFWorld-v0": [
        *({"games": name, "split": split} for name in PRESETS for split in ("train", "valid", "test")),
        *({"games": "real", "split": split} for split in REAL_SPLITS),
    ],
    "rlsd/SearchQA-v0": [
        *({"questions": name, "split": split} for name in ENCYCLOPEDIAS for split in ("train", "valid", "test")),
        *({"questions": name, "split": "all", "corpus": "none"} for name in SETS),
    ],
    "rlsd/WebShop-v0": [
        {"catalogue": name, "split": split} for name in ("gen-tiny", "gen-default", "real") for split in WEBSHOP_SPLITS
    ],
}
"""Arguments that name a data set, where an environment has several."""
HASHED = 500
"""Panels up to this size are hashed; a hash reads or makes every task."""


def env_rows(*, hashes: bool = True) -> tuple[list[list[str]], list[str]]:
    """Header and one row a panel: environment, arguments, tasks, hash; then a line on each data set that is absent."""
    rows = [["environment", "data", "split", "tasks", "panel hash"]]
    absent: dict[tuple[str, str], str] = {}
    for env_id in known():
        for kwargs in VARIANTS.get(env_id, [{"split": s} for s in ("train", "test")]):
            data = next((value for name, value in kwargs.items() if name != "split"), "")
            try:
                tasks, digest = _panel(env_id, kwargs, hashes)
            except RlsdError as error:
                tasks, digest = "-", "missing, see below"
                absent.setdefault((env_id, data), f"{env_id} {data}: {error}")
            rows.append([env_id, data, kwargs["split"], tasks, digest])
    return rows, list(absent.values())


def _panel(env_id: str, kwargs: dict[str, str], hashes: bool) -> tuple[str, str]:
    env = make(env_id, **kwargs)
    tasks = env.tasks()
    digest = Panel.of(env, tasks).digest if hashes and len(tasks) <= HASHED else ""
    env.close()
    return str(len(tasks)), digest if env_id != "rlsd/ALFWorld-v0" else _against_published(kwargs, len(tasks), digest)


def _against_published(kwargs: dict[str, str], count: int, digest: str) -> str:
    """The digest, with a remark where the data here are not the published panel."""
    games, published = PUBLISHED.get(kwargs["split"], (count, "")) if kwargs.get("games") == "real" else (count, "")
    if count != games:
        return f"{digest} part of the release: {count} of {games} games".strip()
    if digest and published and digest != published:
        return f"{digest} differs from the published panel {published}"
    return digest


def method_rows() -> list[list[str]]:
    """Header and one row a method."""
    rows = [["method", "what it does", "source", "test"]]
    for name, method in METHODS.items():
        rows.append([name, method.summary, method.source, method.test])
    return rows


def method_text(name: str) -> str:
    """One method in full: what it is, its five parts as YAML (what is not there has its default), what it reads.

    Raises:
        ConfigError: no such method; names the closest.
    """
    method = METHODS.get(name)
    if method is None:
        raise ConfigError(f"unknown method {name!r}{closest(name, METHODS)}")
    config = method.config
    lines = [name, f"  {method.summary}", ""]
    lines += [f"source   {method.source}", f"differs  {method.differs or '-'}", f"test     {method.test}", ""]
    lines += ["algorithm:", f"  name: {name}"]
    for part in ("advantage", "contexts", "teacher", "credit", "loss"):
        value = getattr(config, part)
        lines.append(f"  {part}:" if isinstance(value, BaseModel) else f"  {part}: {_flow(list(value))}")
        if isinstance(value, BaseModel):
            lines += [f"    {key}: {_flow(v)}" for key, v in _chosen(value).items()]
    reads = [f"  {c.name} ({c.scope}): {c.reads}" for c in map(find_context, config.contexts)]
    return "\n".join([*lines, "", "the teacher reads (scope)", *(reads or ["  nothing"])])


def _chosen(part: BaseModel) -> dict[str, Any]:
    """The rule of a part (its first field), and every setting that is not the part's default."""
    first = next(iter(type(part).model_fields))
    return {first: getattr(part, first), **part.model_dump(mode="json", exclude_defaults=True)}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def context_rows() -> list[list[str]]:
    """Header and one row a hindsight context."""
    return [
        ["context", "scope", "the teacher reads"],
        *[[c.name, c.scope, c.reads] for c in CONTEXTS.values()],
    ]

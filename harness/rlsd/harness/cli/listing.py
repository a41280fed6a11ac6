"""What `rlsd envs` and `rlsd methods` print."""

from __future__ import annotations

from rlsd.algorithms import METHODS
from rlsd.envs.alfworld.games import PRESETS, PUBLISHED, REAL_SPLITS
from rlsd.envs.core import Panel
from rlsd.envs.errors import RlsdError
from rlsd.envs.registry import known, make
from rlsd.envs.searchqa.questions.sets import SETS
from rlsd.envs.searchqa.world.presets import PRESETS as ENCYCLOPEDIAS
from rlsd.envs.webshop.shops import SPLITS as WEBSHOP_SPLITS
from rlsd.harness.hindsight.contexts import CONTEXTS

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


def context_rows() -> list[list[str]]:
    """Header and one row a hindsight context."""
    return [
        ["context", "scope", "the teacher reads"],
        *[[c.name, c.scope, c.reads] for c in CONTEXTS.values()],
    ]

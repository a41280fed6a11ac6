"""`rlsd envs` and `rlsd methods`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlsd.envs.core import Panel
from rlsd.envs.errors import RlsdError, closest
from rlsd.envs.registry import known, make
from rlsd.harness.cli.tables import print_table, print_text

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rlsd.algorithms import Method

HASHED = 500
"""Panels up to this size are hashed; a hash reads or makes every task."""


def envs(
    hashes: Annotated[bool, typer.Option(help="Hash the valid and test panels.")] = True,
    protocols: Annotated[
        bool, typer.Option("--protocols", help="Instead: what is wrong with `--protocol legacy`, and what rlsd does.")
    ] = False,
) -> None:
    """What is installed, which data is present, panel sizes and hashes."""
    if protocols:
        print_table("protocol legacy, for comparison with published figures", protocol_rows())
        return
    rows, absent = env_rows(hashes=hashes)
    print_table("environments", rows)
    for line in absent:
        print_text(line)


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Print this method (or module:METHOD) in full: parts, settings, contexts.")
    ] = None,
) -> None:
    """Every method with its source and test, or one in full."""
    if name is not None:
        print_text(method_text(name))
        return
    print_table("methods", method_rows())
    print_table("hindsight contexts", context_rows())


def protocol_rows() -> list[list[str]]:
    """Header and one row for each flaw of the legacy protocols."""
    from rlsd.envs.alfworld.protocol import FLAWS as ALFWORLD
    from rlsd.envs.webshop.engine.legacy import FLAWS as WEBSHOP

    flaws = {"rlsd/ALFWorld-v0": ALFWORLD, "rlsd/WebShop-v0": WEBSHOP}
    rows = [["environment", "flaw", "legacy", "rlsd"]]
    return [*rows, *([env_id, *flaw] for env_id, found in flaws.items() for flaw in found)]


def _variants() -> dict[str, list[dict[str, str]]]:
    """Arguments that name a data set, where an environment has several."""
    from rlsd.envs.alfworld.games import PRESETS, REAL_SPLITS
    from rlsd.envs.babyai.frozen import LISTED
    from rlsd.envs.searchqa.sets import SETS
    from rlsd.envs.searchqa.world.presets import PRESETS as ENCYCLOPEDIAS
    from rlsd.envs.textcraft.presets import PRESETS as RECIPES
    from rlsd.envs.webshop.shops import SPLITS

    three = ("train", "valid", "test")
    return {
        "rlsd/ALFWorld-v0": [
            *({"games": name, "split": split} for name in PRESETS for split in three),
            *({"games": "real", "split": split} for split in REAL_SPLITS),
        ],
        "rlsd/BabyAI-v0": [{"level": name, "split": split} for name in LISTED for split in three],
        "rlsd/SearchQA-v0": [
            *({"questions": name, "split": split} for name in ENCYCLOPEDIAS for split in three),
            *({"questions": name, "split": "all", "corpus": "none"} for name in SETS),
        ],
        "rlsd/ScienceWorld-v0": [{"split": split} for split in three],
        "rlsd/TextCraft-v0": [{"recipes": name, "split": split} for name in (*RECIPES, "published") for split in three],
        "rlsd/WebShop-v0": [
            {"catalogue": name, "split": split} for name in ("gen-tiny", "gen-default", "real") for split in SPLITS
        ],
    }


def env_rows(*, hashes: bool = True) -> tuple[list[list[str]], list[str]]:
    """Header and one row a panel: environment, arguments, tasks, hash; then a line on each data set that is absent."""
    rows = [["environment", "data", "split", "tasks", "panel hash"]]
    absent: dict[tuple[str, str], str] = {}
    variants = _variants()
    for env_id in known():
        for kwargs in variants.get(env_id, [{"split": s} for s in ("train", "test")]):
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
    from rlsd.envs.alfworld.games import PUBLISHED

    games, published = PUBLISHED.get(kwargs["split"], (count, "")) if kwargs.get("games") == "real" else (count, "")
    if count != games:
        return f"{digest} part of the release: {count} of {games} games".strip()
    if digest and published and digest != published:
        return f"{digest} differs from the published panel {published}"
    return digest


def method_rows() -> list[list[str]]:
    """Header and one row a method."""
    from rlsd.algorithms import METHODS

    rows = [["method", "what it does", "source", "test"]]
    for name, method in METHODS.items():
        rows.append([name, method.summary, method.source, method.test])
    return rows


def method_text(name: str) -> str:
    """One method in full: what it is, its five parts as YAML (what is not there has its default), what it reads.

    Raises:
        ConfigError: no such method; names the closest.
        AlgorithmError: a `module:METHOD` that cannot be imported, or is none.
    """
    from pydantic import BaseModel

    from rlsd.harness.hindsight.contexts import find_context

    method = _method(name)
    config = method.config
    lines = [name, f"  {method.summary}", ""]
    lines += [f"source   {method.source}", f"differs  {method.differs or '-'}", f"test     {method.test}", ""]
    lines += ["algorithm:", f"  name: {name}"]
    against, depth = ["against"] if config.against else [], ["depth"] if config.depth.start else []
    parts = ("advantage", "contexts", *against, "teacher", "credit", "loss", *depth)
    for part in parts:
        value = getattr(config, part)
        lines.append(f"  {part}:" if isinstance(value, BaseModel) else f"  {part}: {_flow(list(value))}")
        if isinstance(value, BaseModel):
            lines += [f"    {key}: {_flow(v)}" for key, v in _chosen(value).items()]
    reads = [f"  {c.name} ({c.scope}): {c.reads}" for c in map(find_context, (*config.contexts, *config.against))]
    return "\n".join([*lines, "", "the teacher reads (scope)", *(reads or ["  nothing"])])


def _method(name: str) -> Method:
    from rlsd.algorithms import METHODS, Method, resolve
    from rlsd.algorithms.plug_in import imported
    from rlsd.harness.config import ConfigError

    if ":" in name:
        config, found = resolve(name), imported(name, "method")
        bare = Method(summary="", source="-", differs="", test="-", config=config)
        return found if isinstance(found, Method) else bare
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}{closest(name, METHODS)}")
    return METHODS[name]


def _chosen(part: BaseModel) -> dict[str, Any]:
    """The rule of a part (its first field), and every setting that is not the part's default."""
    first = next(iter(type(part).model_fields))
    return {first: getattr(part, first), **part.model_dump(mode="json", exclude_defaults=True)}


def _flow(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def context_rows() -> list[list[str]]:
    """Header and one row a hindsight context."""
    from rlsd.harness.hindsight.contexts import CONTEXTS

    return [
        ["context", "scope", "the teacher reads"],
        *[[c.name, c.scope, c.reads] for c in CONTEXTS.values()],
    ]

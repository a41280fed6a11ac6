"""Writes docs/configs.md, docs/cli.md and the tables of docs/algorithms.md and docs/install.md from the code:
`make docs-generate`. A test compares them with what it says.

Nothing here knows a setting or a command by name: keys, defaults and meanings come from the config models, commands and
options from the command line itself.
"""

from __future__ import annotations

import inspect
import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rlsd.algorithms import METHODS
from rlsd.harness.cli.app import app
from rlsd.harness.config import RunConfig
from rlsd.harness.hindsight.contexts import CONTEXTS
from rlsd.harness.study.plan import StudyConfig
from rlsd.harness.suite.plan import SuiteConfig

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written by `make docs-generate` from the code. Change the code, not this page. -->"
CONFIGS_HEAD = f"""{NOTE}

# Configs

A run is one YAML file. A key that is not written has the default below; an unknown key is refused, with the closest
name, and so is a key that stands twice, with its lines. Numbers may be written as `1e-2`; infinite ones are refused.

```bash
rlsd train configs/quickstart.yaml --run runs/mine --set learner.lr=1e-4     # one value changed
rlsd train configs/quickstart.yaml --with configs/launch/one_gpu.yaml        # an overlay: another machine
```

`config.yaml` in the run directory holds every key of the run, defaults included. A combination that cannot work is
refused before a model loads, with the reason.

## Shipped configs

"The published games" (ALFWorld), "the published files" (WebShop) and question sets are found through `RLSD_DATA`;
[environments.md](environments.md) says how. A config that says "not run yet" has passed the checks, and no more.

"""
OVERLAYS = """
### Overlays

Files of some blocks only. `--with FILE` lays one over a config: the same experiment on another machine
([learner.md](learner.md)).

"""
STUDIES = """
### Studies

Plans for `rlsd study`: methods × seeds ([studies.md](studies.md)). Their keys are at the end of this page.

"""
SUITES = """
### Suites

Files for `rlsd eval --suite`: environments × agents × seeds ([evaluation.md](evaluation.md#suites)). Their keys are at
the end of this page.

"""
SUITE_KEYS_HEAD = """
## Every key of a suite
"""
STUDY_KEYS_HEAD = """
## Every key of a study
"""
KEYS_HEAD = """
## Every key

`algorithm` may be a method's name, or a mapping with `name` and what should differ from that method. The defaults under
`algorithm.…` are those of the part itself; each named method sets some of them: `rlsd methods NAME` prints which.
"""
CLI_HEAD = f"""{NOTE}

# Command line

Every command exits with 0 only if it did its job. A usage or config error is one line on standard error, with exit
code 2.
`rlsd COMMAND --help` prints the same as this page, `rlsd --version` the versions. `rlsd --install-completion` makes TAB
complete commands and options in your shell; `rlsd --show-completion` prints what it would install.
"""


def configs_page() -> str:
    """docs/configs.md."""
    runs, overlays, studies, suites = [], [], [], []
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        text = path.read_text()
        name = f"`{path.relative_to(ROOT)}`"
        data = yaml.safe_load(text)
        if "arms" in data:
            studies.append([name, f"{len(data['arms'])}", first_comment(text)])
            continue
        if "agents" in data:
            size = f"{len(data['environments'])} × {len(data['agents'])}"
            suites.append([name, size, first_comment(text)])
            continue
        if "model" not in data and "env" not in data:
            overlays.append([name, first_comment(text)])
            continue
        algorithm = data.get("algorithm", "rlsd")
        runs.append([name, f"`{algorithm if isinstance(algorithm, str) else algorithm['name']}`", first_comment(text)])
    parts = [CONFIGS_HEAD, table(["config", "algorithm", "what it does"], runs), OVERLAYS]
    parts += [table(["overlay", "machine"], overlays), STUDIES, table(["study", "arms", "what it compares"], studies)]
    parts += [SUITES, table(["suite", "environments × agents", "what it plays"], suites)]
    parts += [KEYS_HEAD, *keys_of(RunConfig, "Top level"), STUDY_KEYS_HEAD, *keys_of(StudyConfig, "The file")]
    parts += [SUITE_KEYS_HEAD, *keys_of(SuiteConfig, "The file of a suite")]
    return "".join(parts)


def keys_of(root: type[BaseModel], top: str) -> list[str]:
    """A section for every block of a config model, the model itself under the title `top`."""
    parts = []
    for paths, model in blocks(root):
        title = ", ".join(f"`{path}`" for path in paths) if paths[0] else top
        about = "" if not paths[0] else sentence(model.__dict__.get("__doc__") or "")
        rows = [
            [f"`{key}`", type_text(field), default_text(field), meaning_of(field, model)]
            for key, field in model.model_fields.items()
        ]
        parts.append(f"\n### {title}\n\n" + (f"{about}\n\n" if about else ""))
        parts.append(table(["key", "type", "default", "meaning"], rows))
    return parts


def first_comment(text: str) -> str:
    """The comment at a file's head, up to its first indented line (a command)."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("# ") or line.startswith("#  "):
            break
        lines.append(line.removeprefix("# "))
    return sentence(" ".join(lines))


def sentence(text: str) -> str:
    """Whitespace in single blanks; a last sentence that leads up to a command (it ends with a colon) is left out."""
    words = " ".join(text.split())
    if not words.endswith(":"):
        return words
    before, stop, _ = words.rpartition(". ")
    return f"{before}." if stop else f"{words[:-1]}."


def blocks(root: type[BaseModel]) -> list[tuple[list[str], type[BaseModel]]]:
    """Every config model with the paths it stands at, outer ones first; a model at two places is one entry."""
    found: dict[type[BaseModel], list[str]] = {}

    def visit(path: str, model: type[BaseModel]) -> None:
        found.setdefault(model, []).append(path)
        for key, field in model.model_fields.items():
            for inner in models_in(field.annotation):
                visit(f"{path}.{key}" if path else key, inner)

    visit("", root)
    return [(paths, model) for model, paths in found.items()]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def meaning_of(field: FieldInfo, model: type[BaseModel]) -> str:
    return one_line(field.description or "").replace("this module", f"`{model.__module__}`")


def type_text(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(m, name):g}" for m in field.metadata for name, sign in SIGNS.items() if hasattr(m, name)
    ]
    return ", ".join([type_name(field.annotation), *limits])


SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " \\| ".join(type_name(each) for each in inner if each is not type(None))
    if origin in (list, tuple):
        each = [type_name(i) for i in inner if i is not Ellipsis]
        return f"list of {each[0]}" if len(set(each)) == 1 else f"[{', '.join(each)}]"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "block"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true \\| false"}[annotation.__name__]


def default_text(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "(must be given)"
    if isinstance(value, BaseModel):
        if "name" in type(value).model_fields:
            return f"`{value.name}`"  # type: ignore[attr-defined]
        changed = value.model_dump(exclude_defaults=True)
        return f"`{flow(changed)}`" if changed else ""
    return f"`{flow(value)}`"


def flow(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("...").strip() or "''"


def cli_page() -> str:
    """docs/cli.md."""
    parts = [CLI_HEAD]
    for name, command in commands(typer.main.get_command(app)):
        parts.append(f"\n## {name}\n\n{one_line(command.help or '')}\n\n")
        kinds = get_type_hints(command.callback) if command.callback else {}
        parameters = [p for p in command.params if not getattr(p, "hidden", False)]
        arguments = [p for p in parameters if p.param_type_name == "argument"]
        shown = " ".join(f"[{p.name.upper()}]" if not p.required else p.name.upper() for p in arguments)
        parts.append(f"```text\n{' '.join(filter(None, [name, shown, '[OPTIONS]']))}\n```\n\n")
        rows = [option_row(p, kinds.get(p.name)) for p in (*arguments, *(p for p in parameters if p not in arguments))]
        parts.append(table(["argument or option", "type", "default", "meaning"], rows) if rows else "")
    return "".join(parts).replace("\n\n\n", "\n\n")


def commands(root: Any) -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command that does something; groups are walked."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
            return
        for word, inner in command.commands.items():
            yield from walk(f"{name} {word}", inner)

    return walk("rlsd", root)


def option_row(parameter: Any, kind: Any) -> list[str]:
    argument = parameter.param_type_name == "argument"
    names = [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]
    default = parameter.default
    if parameter.required:
        default_shown = "(must be given)"
    elif default in (None, False, "", []):
        default_shown = ""
    else:
        default_shown = (
            f"`{default}`" if not (parameter.secondary_opts and default is True) else f"`{parameter.opts[0]}`"
        )
    meaning = one_line(parameter.help or "")
    if parameter.multiple:
        meaning = f"{meaning}{'' if meaning.endswith(('.', '…')) else '.'} May be given several times."
    if parameter.envvar:
        meaning = f"{meaning} Or the variable `{parameter.envvar}`.".strip()
    return [", ".join(f"`{n}`" for n in names), option_type(kind), default_shown, meaning]


def option_type(kind: Any) -> str:
    inner = [i for i in get_args(kind) if i is not type(None)]
    if get_origin(kind) in (Union, types.UnionType, list):
        return option_type(inner[0])
    names = {str: "text", int: "whole number", float: "number", bool: "switch", Path: "path"}
    return names.get(kind, "") if inspect.isclass(kind) else ""


def one_line(text: str) -> str:
    """Text as it may stand in a table's cell; `<tag>` would be taken for HTML, except in a code span."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def algorithms_page() -> str:
    """docs/algorithms.md as it is, its marked tables written anew."""
    tables = {
        "methods": table(
            ["method", "what it does", "source", "differs"],
            [[f"`{n}`", *map(one_line, (m.summary, m.source, m.differs))] for n, m in METHODS.items()],
        ),
        "contexts": table(
            ["context", "scope", "the teacher reads"],
            [[f"`{c.name}`", c.scope, one_line(c.reads)] for c in CONTEXTS.values()],
        ),
    }
    return with_tables("algorithms.md", tables)


def install_page() -> str:
    """docs/install.md as it is, its table of extras written anew: packages of pyproject.toml, purposes of README.md."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    purposes = extra_purposes((ROOT / "README.md").read_text())
    rows = [
        [f"`rlsd[{name}]`", purposes[name], ", ".join(f"`{package}`" for package in extras[name])]
        for name in purposes
        if name not in ("dev", "docs")
    ]
    return with_tables("install.md", {"extras": table(["extra", "adds", "packages"], rows)})


def extra_purposes(readme: str) -> dict[str, str]:
    """What each extra is for, as the README's table says; names in one row share it."""
    rows = re.findall(r"^\| ((?:`rlsd\[[\w-]+\]`(?:, )?)+) \| (.*) \|$", readme, re.MULTILINE)
    return {name: purpose for names, purpose in rows for name in re.findall(r"\[([\w-]+)\]", names)}


def with_tables(page: str, tables: dict[str, str]) -> str:
    """A page of docs/ as it is, its marked tables written anew."""
    text = (ROOT / "docs" / page).read_text()
    for name, rows in tables.items():
        mark = f"<!-- generated: {name} -->\n"
        text = re.sub(f"{mark}.*?<!-- end -->", lambda _, m=mark, r=rows: f"{m}{r}<!-- end -->", text, flags=re.DOTALL)
    return text


PAGES = {
    "configs.md": configs_page,
    "cli.md": cli_page,
    "algorithms.md": algorithms_page,
    "install.md": install_page,
}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (ROOT / "docs" / page).write_text(text())
        print(f"docs/{page}: written")

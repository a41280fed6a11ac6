"""`rlsd profile import`: from a family of projects and a checkout to profile files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlsd.envs.errors import closest
from rlsd.harness.config import AgentConfig, ConfigError, of_profile
from rlsd.harness.config.yaml_text import read_yaml, write_yaml
from rlsd.harness.importing import agentgym, search_r1, verl_agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Projects that keep their prompts in the same places."""

    title: str
    worlds: Callable[[Path], list[str]]
    read: Callable[..., dict[str, Any]]
    looked_for: str
    """Where its prompts are."""


_VERL_AGENT = Family(
    title="verl-agent",
    worlds=verl_agent.worlds,
    read=verl_agent.read,
    looked_for="agent_system/environments/prompts/{alfworld,webshop,search}.py",
)
FAMILIES = {
    "verl-agent": _VERL_AGENT,
    "sdar": _VERL_AGENT,
    "skillrl": _VERL_AGENT,
    "agentgym": Family(
        title="AgentGym",
        worlds=agentgym.worlds,
        read=agentgym.read,
        looked_for=f"{agentgym.CLIENTS}/{{alfworld,webshop,searchqa}}.py",
    ),
    "search-r1": Family(title="Search-R1", worlds=search_r1.worlds, read=search_r1.read, looked_for=search_r1.PREFIX),
}
ENVS = ("alfworld", "webshop", "search")


def import_profiles(
    family: str,
    root: Path,
    *,
    env: str | None = None,
    history_turns: int | None = None,
    format: str | None = None,
) -> dict[str, dict[str, Any]]:
    """The profiles of a checkout by environment.

    Args:
        env: one of `ENVS`; None: all that are there.
        history_turns: instead of what the checkout's scripts say.
        format: a response format of one's own, `module:NAME`.

    Raises:
        ConfigError: an unknown family or environment, or a checkout of another layout; names what was looked for.
    """
    found = FAMILIES.get(family.lower())
    if found is None:
        raise ConfigError(f"unknown family {family!r}{closest(family.lower(), FAMILIES)}")
    if env is not None and env not in ENVS:
        raise ConfigError(f"--env is {env!r}{closest(env, ENVS)}")
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder; give a checkout of {found.title}")
    names = found.worlds(root)
    if not names or (env is not None and env not in names):
        what = "prompts" if env is None else f"prompts of {env}"
        raise ConfigError(
            f"{root} has no {what} of {found.title}: looked for {found.looked_for}"
            + (f", found those of {', '.join(names)}" if names else "")
        )
    chosen = names if env is None else [env]
    return {name: found.read(root, name, history_turns=history_turns, format=format) for name in chosen}


def write_profiles(profiles: Mapping[str, Mapping[str, Any]], out: Path, *, about: str) -> dict[Path, AgentConfig]:
    """Write each profile: one to `out`, several beside it with their environments' names; returns them by file.

    Raises:
        ConfigError: a file cannot be written.
    """
    done: dict[Path, AgentConfig] = {}
    for name, profile in profiles.items():
        file = out if len(profiles) == 1 else out.with_name(f"{out.stem}-{name}{out.suffix or '.yaml'}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(profile_text(profile, about=f"{about}: {name}"), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror}") from error
        done[file] = of_profile(str(file))
    return done


def profile_text(profile: Mapping[str, Any], *, about: str) -> str:
    """A profile as a YAML file, prompts as blocks of text to the last space.

    Raises:
        ConfigError: it is no profile.
    """
    AgentConfig.model_validate(dict(profile))
    lines = [f"# {about}\n"]
    for key, value in profile.items():
        if isinstance(value, str) and "\n" in value:
            lines.append(f"{key}: {_block(value)}")
        else:
            lines.append(write_yaml({key: value}))
    text = "".join(lines)
    assert read_yaml(text, about) == dict(profile)
    return text


def _block(text: str) -> str:
    """A YAML value that reads back as `text`: a literal block if there is one."""
    body = "".join(f"  {line}" if line.strip("\n") else line for line in text.splitlines(keepends=True))
    block = f"|2+\n{body}" if text.endswith("\n") else f"|2-\n{body}\n"
    try:
        if yaml.safe_load(f"x: {block}y: 1\n") == {"x": text, "y": 1}:
            return block
    except yaml.YAMLError:
        pass
    return json.dumps(text, ensure_ascii=False) + "\n"

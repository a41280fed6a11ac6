"""What makes the file of `rlsd eval --save` checkable by others: what was played with what, and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from rlsd.harness.config import AgentConfig
from rlsd.harness.config.masked import masked
from rlsd.harness.runs.rundir import versions

FORMAT = 2
"""Of the file; files of earlier versions have none, and neither outcomes nor a checksum."""


def provenance(
    *,
    played: Mapping[str, Any],
    agent: AgentConfig | None,
    temperature: float | None,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Args:
        played: the request, so that it can be repeated.
        agent: the settings that the agent's prompts are made with; None for scripted ones.
        temperature: of sampling; None for scripted agents.
        training: see `training_tasks.check`.
    """
    out: dict[str, Any] = {"format": FORMAT, "played": dict(played), "versions": versions(), **training}
    out["sampling"] = {"temperature": temperature, "seed": played["seed"], "samples": played["samples"]}
    if agent is not None:
        out["agent_settings"] = masked(agent.model_dump(mode="json"))
        out["agent_digest"] = agent_digest(agent)
    return out


def agent_digest(agent: AgentConfig) -> str:
    """The digest of the agent's profile: the same for equal prompts and sampling, whatever their files are called."""
    return agent.digest()


def sealed(result: dict[str, Any]) -> dict[str, Any]:
    """The result with a checksum over everything else in it."""
    return {**result, "checksum": checksum(result)}


def checksum(result: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 over all but the checksum itself, as sorted JSON."""
    return _digest({k: v for k, v in result.items() if k != "checksum"}, 16)


def state(results: Iterable[Mapping[str, Any]]) -> str:
    """ "sound", "edited" if a checksum is not that of its content, "unsealed" if an earlier version wrote one."""
    found = list(results)
    if any("checksum" not in result for result in found):
        return "unsealed"
    return "sound" if all(result["checksum"] == checksum(result) for result in found) else "edited"


def _digest(value: Any, digits: int = 12) -> str:
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]

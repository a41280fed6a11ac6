"""What profiles of other projects make of ten episodes a world: digests of prompts that were equal, character for
character, to those of the projects' own code (`benchmarks/imported_profiles.py`). Their texts are not kept here, so
this needs checkouts: `RLSD_CHECKOUTS` is a folder with one under each of the names below."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlsd.harness.config import AgentConfig
from rlsd.harness.importing.families import import_profiles
from tests.support.played_worlds import appended, digest, play, prompts

CHECKOUTS = Path(os.environ.get("RLSD_CHECKOUTS", "nowhere"))
DIGESTS = {
    ("verl-agent", "tongyao-zhu+verl-agent"): {"alfworld": "d6c21f49c9cdb970", "webshop": "1bcbe03279097cee"},
    ("verl-agent", "ZJU-REAL+SDAR"): {
        "alfworld": "d7c0cb2d16b4ff6d",
        "webshop": "1bcbe03279097cee",
        "search": "cbe317b32ea54edf",
    },
    ("verl-agent", "aiming-lab+SkillRL"): {
        "alfworld": "f56f5c74761a323b",
        "webshop": "955f826a12a8251f",
        "search": "cbe317b32ea54edf",
    },
    ("agentgym", "WooooDyy+AgentGym"): {
        "alfworld": "d5f195bda77015a5",
        "webshop": "95bd3e6791e170f9",
        "search": "bda38fd195167ec6",
    },
    ("search-r1", "PeterGriffinJin+Search-R1"): {"search": "7bee1c2f5e1b21b9"},
}
"""Of the commits 32a716db0f72, 8b85c231df3b, 48c8446f5993, 3ef9235d23e6 and a14dc3a4ffc6."""


@pytest.mark.parametrize(
    ("family", "folder", "env"), [(family, folder, env) for (family, folder), envs in DIGESTS.items() for env in envs]
)
def test_ten_episodes_are_rendered_as_the_original_code_did(family: str, folder: str, env: str) -> None:
    if not (CHECKOUTS / folder).is_dir():
        pytest.skip(f"needs RLSD_CHECKOUTS with {folder}")
    agent = AgentConfig.model_validate(import_profiles(family, CHECKOUTS / folder, env=env)[env])
    if family == "search-r1":  # its loop, and responses that it can read: see the benchmark
        made = appended(agent, play(env, agent.format, plain=True, protocol=family))
    else:
        made = prompts(agent, play(env, agent.format))
    assert digest(made) == DIGESTS[family, folder][env]

"""The Δ diagnostic: which actions it counts as bringing the goal nearer."""

from __future__ import annotations

from pathlib import Path

from rlsd.agents.hf.models import save_policy
from rlsd.harness.config import parse_config
from rlsd.harness.evals.diagnose import diagnose
from rlsd.harness.iteration.parts import build
from tests.support.plain_worlds import Pacing
from tests.support.smallest_run import BASE


def test_only_a_smaller_distance_counts_as_nearer(tmp_path: Path) -> None:
    """Each episode takes one step towards the goal, stands still twice and takes one step away."""
    save_policy(build(parse_config(BASE)).policy, tmp_path)
    env = {"id": "tests.support.plain_worlds:Pacing", "kwargs": {"length": 4}}
    algorithm = {"name": "rlsd", "contexts": ["distance"]}
    config = parse_config({**BASE, "env": env, "model": {"path": str(tmp_path)}, "algorithm": algorithm})
    found = diagnose(build(config), episodes=3, views=False)
    assert Pacing.DISTANCES == (3, 2, 2, 2, 3)
    assert found["counts"]["given"] == 12
    assert found["actions"] == {"nearer": 3, "not_nearer": 9}

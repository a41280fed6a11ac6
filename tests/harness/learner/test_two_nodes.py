"""Two nodes, each in a network of its own: one run, and what is left of it when one of them loses its power."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.learner.test_two_processes import CONFIG, changed
from tests.support.two_nodes import Nodes, possible, two_nodes
from tests.support.two_processes import alone, assert_same_run, assert_same_weights

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not possible(), reason="needs root and network namespaces")]


def start(nodes: Nodes, folder: Path, learner: dict[str, Any], *, iterations: int) -> Path:
    config = {**changed(processes=2, timeout_s=30, **learner), "iterations": iterations}
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    nodes.torchrun("rlsd", "train", str(folder / "run.yaml"), "--run", str(folder / "run"), "--quiet")
    return folder / "run"


@pytest.mark.parametrize(
    "learner",
    [{"parallel": "ddp"}, {"parallel": "fsdp2"}, {"parallel": "fsdp2", "tensor_parallel": 2}],
    ids=["ddp", "fsdp2", "layers-shared"],
)
def test_one_process_goes_on_when_a_node_loses_its_power(tmp_path: Path, learner: dict[str, Any]) -> None:
    """Two nodes play as one process does; one is cut off after two iterations, the other says so and ends; one process
    ends the run as if nothing had happened."""
    with two_nodes() as nodes:
        run = start(nodes, tmp_path / "two", learner, iterations=3)
        end = time.monotonic() + 600
        while not (run / "checkpoints" / "step-000002").is_dir():
            assert time.monotonic() < end, "no checkpoint"
            assert nodes.running[0].poll() is None, nodes.outcome(0, timeout_s=5)[1][-3000:]
            time.sleep(0.02)
        nodes.power_cut(1)
        code, out = nodes.outcome(0, timeout_s=300)
    assert code != 0
    assert "RanksError" in out, out[-3000:]
    one = alone(tmp_path / "one", CONFIG)
    assert_same_run(run, one, steps=2)
    assert_same_weights(run, one, 2)
    alone(run, CONFIG)
    assert_same_run(run, one, steps=3)
    assert_same_weights(run, one, 3)

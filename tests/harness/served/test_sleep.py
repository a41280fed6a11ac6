"""Servers that sleep while the learner learns, on a GPU that both use in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.vllm.errors import ServerMismatch
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.harness.config import ConfigError, parse_config
from rlsd.harness.iteration.parts import build
from rlsd.harness.train import train
from tests.support.served_runs import records, settings

AWAKE = ["wake weights", "wake kv_cache"]
TIMES = ("timing", "check")


@pytest.mark.parametrize(
    "sleep, level, more",
    [
        ("offload", 1, {}),
        ("discard", 2, {}),
        ("offload", 1, {"model": {"lora": {"rank": 4, "alpha": 8}}}),
        ("discard", 2, {"sampler": {"weights": "gloo"}}),
        ("offload", 1, {"sampler": {"score_teacher": True}}),
    ],
    ids=["offload", "discard", "lora", "gloo", "scored"],
)
def test_a_run_with_naps_is_the_run_without(
    folder: Path, server: FakeVLLM, tmp_path: Path, sleep: str, level: int, more: dict[str, Any]
) -> None:
    """The sleeping server refuses every request and, at level 2, has lost its weights."""
    more = {"eval": {"every": 1, "episodes": 2, "at_start": False}, **more}
    sampler = more.pop("sampler", {})
    data = settings(folder, server, sampler={**sampler, "sleep": sleep}, **more)
    train(parse_config(data), tmp_path / "naps")
    assert server.slept == [*AWAKE, *(2 * [f"sleep {level}", *AWAKE])]
    train(parse_config(settings(folder, server, sampler=sampler, **more)), tmp_path / "awake")
    kept, same = records(tmp_path / "naps"), records(tmp_path / "awake")
    assert [{k: v for k, v in r.items() if k not in TIMES} for r in kept] == [
        {k: v for k, v in r.items() if k not in TIMES} for r in same
    ]


def test_a_server_that_cannot_sleep_says_so_in_one_line(folder: Path, server: FakeVLLM, tmp_path: Path) -> None:
    config = parse_config(settings(folder, server, sampler={"sleep": "offload"}))
    server.wrong.sleepless = True
    with pytest.raises(ServerMismatch, match=r"not enabled.*serve policy --sleep.*on a GPU") as refused:
        train(config, tmp_path / "run")
    assert "\n" not in str(refused.value)
    server.wrong.lacks = ("/sleep",)
    with pytest.raises(ServerMismatch, match=r"no route /sleep: start it with `rlsd serve policy --sleep`"):
        train(config, tmp_path / "other")


def test_a_server_that_is_gone_at_bedtime_is_waited_for_with_the_next_weights(folder: Path, server: FakeVLLM) -> None:
    parts = build(parse_config(settings(folder, server, sampler={"sleep": "offload"})))
    assert isinstance(parts.sampler, VLLMSampler)
    parts.publish()
    server.stop()
    parts.sampler.rest()
    again = FakeVLLM(folder, port=server.port)
    parts.publish()
    assert again.slept == AWAKE
    parts.sampler.close()
    again.stop()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sampler": {"sleep": "offload"}}, "this process samples itself: leave it out"),
        ({"rollout": {"async_steps": 1}}, "samples while the learner learns: set it to 0"),
        ({"model": {"lora": {}}, "sampler": {"sleep": "discard"}}, "base weights that are discarded: take offload"),
    ],
)
def test_what_cannot_sleep_is_refused(folder: Path, server: FakeVLLM, change: dict[str, Any], words: str) -> None:
    data = settings(folder, server, sampler={"sleep": "offload"})
    for name, block in change.items():
        data[name] = {**data.get(name, {}), **block}
    if "itself" in words:
        data["sampler"] = change["sampler"]
    data["algorithm"] = {"name": "rlsd", "loss": {"tis_cap": 2.0}}
    with pytest.raises(ConfigError, match=words):
        parse_config(data)

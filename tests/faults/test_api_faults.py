"""Servers that misbehave, fault by fault: an answer is right, or the episode is lost with a typed error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.api_faults import ALWAYS, COUNTED, EXPECTED, FAULTS, GOOD, SILENT, Fault, outcome
from tests.support.stub_server import says


def name(fault: Fault) -> str:
    return f"{fault.kind} {fault.name}"


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_a_fault_of_one_request(fault: Fault, tmp_path: Path) -> None:
    assert fault.run(tmp_path) == EXPECTED[fault.kind, fault.name]


@pytest.mark.parametrize("fault", ALWAYS, ids=name)
def test_a_fault_that_stays_loses_its_episode_alone(fault: Fault, tmp_path: Path) -> None:
    assert fault.run(tmp_path) == COUNTED


def test_there_are_faults_of_both_clients() -> None:
    assert {fault.kind for fault in FAULTS} == {"chat", "vllm"}
    assert len({name(fault) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("kind", ["chat", "vllm"])
def test_another_answer_than_the_right_one_is_noticed(kind: str) -> None:
    texts = {"chat": (b"go left", b"go  right"), "vllm": (b"[7, 2]", b"[8, 2]")}
    wrong = json.dumps(GOOD[kind]).encode().replace(*texts[kind])
    assert outcome(kind, says(200, wrong), always=False) == SILENT

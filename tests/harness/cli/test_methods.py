"""`rlsd methods NAME` prints a method in full, and what it prints is the method."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from rlsd.algorithms import METHODS, AlgorithmConfig
from rlsd.harness.cli.app import app
from rlsd.harness.cli.listing import method_text
from rlsd.harness.config import ConfigError


@pytest.mark.parametrize("name", METHODS)
def test_the_printed_yaml_is_the_whole_method(name: str) -> None:
    text = method_text(name)
    block = text[text.index("algorithm:") : text.index("the teacher reads")]
    assert AlgorithmConfig.model_validate(yaml.safe_load(block)["algorithm"]) == METHODS[name].config


def test_the_command_prints_source_differences_settings_and_contexts() -> None:
    done = CliRunner().invoke(app, ["methods", "rlsd_token"])
    assert done.exit_code == 0, done.output
    assert (
        done.output.rstrip()
        == """rlsd_token
  RLSD as in the paper: one weight a token, teacher copied every 10 iterations

source   arXiv 2604.03128
differs  student log-probs are those before the update; trajectory mean; dual clip 3 as in the released code
test     tests/golden/test_credit_golden.py

algorithm:
  name: rlsd_token
  advantage:
    method: grpo
  contexts: [answer, demonstration]
  teacher:
    weights: sync
  credit:
    rule: hindsight
    level: token
  loss:
    policy: ppo
    clip_high: 0.28
    dual_clip: 3.0

the teacher reads (scope)
  answer (episode): the task's solution itself
  demonstration (episode): an expert's actions from the start"""
    )


def test_a_method_without_hindsight_reads_nothing() -> None:
    assert method_text("grpo").endswith("the teacher reads (scope)\n  nothing")


def test_an_unknown_method_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'gippo'\. Did you mean 'gigpo'\?"):
        method_text("gippo")


def test_without_a_name_the_tables_are_printed() -> None:
    done = CliRunner().invoke(app, ["methods"])
    assert done.exit_code == 0, done.output
    assert all(name[:10] in done.output for name in METHODS)
    assert "hindsight contexts" in done.output

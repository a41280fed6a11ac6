"""Settings under their old names: they work, say so once, and never stand beside their new names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.harness.config import ConfigError, RunConfig, load_config, parse_config
from rlsd.harness.config.renames import RENAMED, hint, place, renamed, renamed_settings

OLD: dict[str, Any] = {
    "agent.style": "compact",
    "agent.keep": 5,
    "rollout.siblings": 3,
    "rollout.tasks": 5,
    "rollout.slots": 7,
    "rollout.ahead": True,
    "learner.share": False,
    "learner.micro_tokens": 128,
    "learner.wrapper": "ddp",
    "learner.merge_rows": False,
    "learner.lr_updates": 100,
    "learner.lr_final": 1e-7,
    "learner.warmup_updates": 4,
    "sampler.kind": "vllm",
    "sampler.patience_s": 5.0,
    "sampler.gap_warn": 0.1,
    "sampler.gap_stop": 0.3,
    "sft.contexts": ["missing"],
    "algorithm.contexts": ["changed", "whereabouts"],
    "algorithm.loss.sampler_cap": 2.0,
    "algorithm.credit.mean_one": "trajectory",
    "algorithm.credit.side": "positive",
    "algorithm.credit.reverse": True,
    "algorithm.credit.invert": True,
    "algorithm.credit.method": "belief",
    "algorithm.credit.lam.warmup": 2,
    "algorithm.credit.lam.hold": 3,
    "algorithm.credit.lam.decay": 4,
    "algorithm.loss.distill.coef.warmup": 2,
    "algorithm.loss.distill.coef.hold": 3,
    "algorithm.loss.distill.coef.decay": 4,
}
"""A value for every old name."""
RULES = {
    "a.old": "a.new",
    "a.deep": "b.sub.deep",
    "whole": "block",
    "a.pair": lambda value: {"a.first": value, "a.second": value + 1},
    "a.words": lambda words: {"a.words": [{"was": "is"}.get(word, word) for word in words]},
}


@pytest.fixture(autouse=True)
def not_hinted_before() -> None:
    hint.cache_clear()


def config(tmp_path: Path, data: dict[str, Any], *overrides: str) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": "m"}, **data}))
    return load_config(path, list(overrides))


def nested(path: str, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    place(data, path, value)
    return data


def base(old: str) -> dict[str, Any]:
    """The rest of a config in which the value under the old name is allowed and counts."""
    if old.startswith("algorithm."):
        loss = {"distill": {"coef": {"start": 0.1}}} if "distill" in old else {}
        level = {"level": "token"} if old.endswith("mean_one") else {}
        return {"algorithm": {"name": "sdar" if loss else "rlsd", "loss": loss, "credit": level}}
    if old == "rollout.ahead":
        return {"algorithm": {"name": "rlsd", "loss": {"tis_cap": 2.0}}}
    if old == "sampler.kind":
        return {"sampler": {"urls": ["http://127.0.0.1:8000"]}}
    if old == "learner.lr_final":
        return {"learner": {"lr": {"total_updates": 50}}}
    return {}


def based(old: str) -> dict[str, Any]:
    data = base(old)
    place(data, old, OLD[old])
    return data


def test_every_old_name_has_a_value_here() -> None:
    assert set(OLD) == set(RENAMED)


@pytest.mark.parametrize("old", RENAMED)
def test_every_old_name_works_in_a_file_and_on_the_command_line_and_prints_one_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str
) -> None:
    data = based(old)
    in_file = config(tmp_path, data)
    told = capsys.readouterr().err
    assert told.startswith((f"{old} is now ", f"{old}: "))
    assert re.search(r" is now .*; the old (name|value) works until 0\.3\n$", told)
    assert told.count("\n") == 1
    assert config(tmp_path, base(old), f"{old}={OLD[old]}") == in_file == parse_config({"model": {"path": "m"}, **data})
    assert capsys.readouterr().err == "", "a process says it once"
    assert in_file != config(tmp_path, base(old)), "the value counts"


def test_the_hint_names_the_new_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config(tmp_path, {}, "agent.style=compact").agent.format == "compact"
    assert capsys.readouterr().err == "agent.style is now agent.format; the old name works until 0.3\n"


def test_new_names_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config(tmp_path, {"agent": {"format": "compact"}}, "agent.history_turns=3")
    assert capsys.readouterr().err == ""


def test_the_command_line_wins_under_either_name(tmp_path: Path) -> None:
    assert config(tmp_path, {"agent": {"format": "shop"}}, "agent.style=compact").agent.format == "compact"
    assert config(tmp_path, {"agent": {"style": "shop"}}, "agent.format=compact").agent.format == "compact"
    assert config(tmp_path, {"agent": {"style": "shop"}}, "agent={style: compact}").agent.format == "compact"


def test_an_old_name_beside_its_new_one_is_refused(tmp_path: Path) -> None:
    told = r"agent\.style is now agent\.format, and both are given; leave agent\.style out"
    both = {"agent": {"format": "shop", "style": "compact"}}
    for data, overrides in (
        (both, []),
        ({}, ["agent.format=shop", "agent.style=compact"]),
        ({}, [f"agent={both['agent']}"]),
    ):
        with pytest.raises(ConfigError, match=told):
            config(tmp_path, data, *overrides)
    with pytest.raises(ConfigError, match=told):
        parse_config(both)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"a": {"old": 1, "other": 2}}, {"a": {"new": 1, "other": 2}}),
        ({"a": {"deep": 1}}, {"b": {"sub": {"deep": 1}}}),
        ({"a": {"deep": 1}, "b": {"sub": {"x": 2}}}, {"b": {"sub": {"x": 2, "deep": 1}}}),
        ({"whole": {"x": 1}}, {"block": {"x": 1}}),
        ({"a": {"pair": 1}}, {"a": {"first": 1, "second": 2}}),
        ({"a": {"words": ["was", "it"]}}, {"a": {"words": ["is", "it"]}}),
        ({"a": 3}, {"a": 3}),
        ({"a": None}, {"a": None}),
    ],
)
def test_what_a_rule_can_do(given: dict[str, Any], found: dict[str, Any]) -> None:
    before = yaml.safe_dump(given)
    assert renamed(given, RULES) == found
    assert yaml.safe_dump(given) == before, "what is given stays as it is"


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        (("a.old", 1), [("a.new", 1)]),
        (("a.deep", 1), [("b.sub.deep", 1)]),
        (("whole.x", 1), [("block.x", 1)]),
        (("a.pair", 1), [("a.first", 1), ("a.second", 2)]),
        (("a.words", ["was"]), [("a.words", ["is"])]),
        (("a", {"old": 1, "deep": 2}), [("a", {"new": 1}), ("b.sub.deep", 2)]),
        (("a", {"x": 1}), [("a", {"x": 1})]),
    ],
)
def test_what_a_rule_can_do_on_the_command_line(setting: tuple[str, Any], found: list[tuple[str, Any]]) -> None:
    assert renamed_settings([setting], RULES) == found


def test_only_values_that_changed_are_hinted_at(capsys: pytest.CaptureFixture[str]) -> None:
    renamed({"a": {"words": ["is"]}}, RULES)
    assert capsys.readouterr().err == ""
    renamed({"a": {"words": ["was"]}}, RULES)
    assert capsys.readouterr().err == "a.words: ['was'] is now ['is']; the old value works until 0.3\n"


def test_a_value_where_a_block_should_be() -> None:
    with pytest.raises(ConfigError, match=r"cannot set 'b\.sub\.deep': 'sub' is a value, not a block"):
        renamed({"a": {"deep": 1}, "b": {"sub": 7}}, RULES)

"""YAML of configs: numbers are numbers, keys stand once, nothing is infinite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlsd.harness.cli.options import env_arguments
from rlsd.harness.config import ConfigError, load_config, parse_config
from rlsd.harness.config.yaml_text import read_yaml, write_yaml
from rlsd.harness.runs.rundir import RunDir, RunError, load_run_config

NUMBERS = {"1e-2": 0.01, "1E5": 100000.0, "+2e3": 2000.0, "-.5e1": -5.0, "1.e2": 100.0, "1.5e+3": 1500.0, "0e0": 0.0}
TEXTS = ["e5", "1e", "1e-", "v1e5", "1e5x", "1e5 m", "1.2.3e4", ""]


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_a_number_with_an_exponent_is_a_number_everywhere(text: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"model: {{path: m}}\nenv: {{kwargs: {{x: {text}, deep: {{y: [{text}]}}, quoted: '{text}'}}}}\n")
    config = load_config(path, [f"env.kwargs.set={text}", f"env.eval_kwargs={{z: {text}}}"])
    assert config.env.kwargs == {"x": value, "deep": {"y": [value]}, "quoted": text, "set": value}
    assert all(type(config.env.kwargs[name]) is float for name in ("x", "set"))
    assert config.env.eval_kwargs == {"z": value}
    assert env_arguments([f"x={text}"]) == {"x": value}


@pytest.mark.parametrize("text", [*NUMBERS, *TEXTS, "1e-2 ", "null", "true", "0x1", "2024-01-01", ".inf", "a: b"])
def test_a_text_is_the_same_text_after_a_run_kept_it(text: str, tmp_path: Path) -> None:
    assert read_yaml(write_yaml({"x": text}), "it") == {"x": text}
    config = parse_config({"model": {"path": "m"}, "env": {"kwargs": {"x": text}}})
    run = RunDir(tmp_path / "run")
    run.open(config)
    run.close()
    assert load_run_config(run.path) == config


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_stay_texts(text: str) -> None:
    assert read_yaml(f"x: {text or repr('')}", "it") == {"x": text}


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("model: {path: m}\nseed: 1\nseed: 2\n", 3, "seed", 2),
        ("model:\n  path: m\n  path: m\n", 3, "path", 2),
        ("model: {path: m}\nlearner:\n  lr: {peak: 1, 'peak': 2}\n", 3, "peak", 3),
        ("model: {path: m}\nenv: {kwargs: {list: [{a: 1, b: 2, a: 1}]}}\n", 2, "a", 2),
        ("model: {path: m}\nlearner: {epochs: 1}\n\nlearner: {lr: 1}\n", 4, "learner", 2),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_place(
    text: str, line: int, key: str, first: int, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert str(refused.value) == f"{path}, line {line}: the key {key!r} is there already (line {first}); keep one"
    plain = tmp_path / "plain.yaml"
    plain.write_text("model: {path: m}\n")
    with pytest.raises(ConfigError, match=f"line {line}: the key '{key}'"):
        load_config(plain, blocks=[path])
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=f"line {line}: the key '{key}'"):
        load_run_config(tmp_path)
    with pytest.raises(ConfigError, match="the key 'a' is there already"):
        load_config(plain, ["env.kwargs={a: 1, a: 2}"])


def test_anchors_and_merges_are_no_repetition() -> None:
    """Own keys go before merged ones, also where what is merged has merged something itself."""
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\nd: {<<: [*b, *a, {z: 5, y: 6}]}\n"
    assert read_yaml(text, "it") == {
        **{"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}},
        **{"c": {"x": 3, "y": 4}, "d": {"x": 3, "y": 2, "z": 5}},
    }
    with pytest.raises(ConfigError, match="expected a mapping to merge"):
        read_yaml("a: &a 3\nb: {<<: *a}\n", "it")


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "[" * 5000 + "]" * 5000])
def test_text_without_an_end_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="refers to itself, or nests too deeply"):
        read_yaml(text, "it")


NUMERIC = ["learner.lr", "learner.grad_clip", "learner.timeout_s", "sampler.temperature", "eval.temperature"]
NUMERIC += ["algorithm.loss.kl_coef", "algorithm.loss.tis_cap", "algorithm.teacher.tau", "algorithm.credit.lam"]
NUMERIC += ["env.kwargs.x", "env.eval_kwargs.x.y", "learner.betas", "seed", "rollout.step_timeout_s"]


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", ".NaN", "1e999"])
def test_no_setting_takes_what_is_no_finite_number(name: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {path: m}\n")
    value = f"[0.9, {value}]" if name == "learner.betas" else value
    with pytest.raises(ConfigError, match=f"config {name}.*no finite number"):
        load_config(path, [f"{name}={value}"])


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "Infinity"])
def test_texts_that_mean_no_finite_number_are_refused_for_numbers_and_stay_texts_elsewhere(value: str) -> None:
    def parsed(name: str) -> Any:
        block, key = name.split(".")
        return parse_config({"model": {"path": "m"}, block: {key: value}})

    for name in ("learner.lr", "learner.grad_clip", "sampler.temperature"):
        with pytest.raises(ConfigError, match="finite number"):
            parsed(name)
    assert env_arguments([f"name={value}"]) == {"name": value}
    with pytest.raises(ConfigError, match="--arg x: inf is no finite number"):
        env_arguments(["x=.inf"])

"""Presets, overrides and what the error for a wrong setting says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import rlsd.algorithms as algorithms
from rlsd.algorithms import (
    CONTEXTS,
    METHODS,
    PRESETS,
    AdvantageConfig,
    AlgorithmConfig,
    AlgorithmError,
    LossConfig,
    Schedule,
    assign,
    constant,
    linear,
    needs_divergence,
    needs_reference,
    needs_teacher,
    resolve,
)
from rlsd.algorithms.testing import toy_batch

REPOSITORY = Path(__file__).parents[2]


def test_the_vetted_setting_of_rlsd() -> None:
    config = resolve("rlsd")
    assert config.contexts == ("plan",)
    assert config.teacher.weights == "live"
    assert (config.advantage.method, config.advantage.std) == ("grpo", True)
    assert (config.credit.rule, config.credit.signal, config.credit.level) == ("hindsight", "gap", "turn_token")
    assert (config.credit.squash, config.credit.clip, config.credit.combine) == ("exp", 0.2, "multiply")
    assert config.credit.lam == linear(0.5, 0.0, 50)
    assert (config.credit.applies_to, config.credit.reduce, config.credit.normalize) == ("both", "mean", "none")
    assert (config.loss.policy, config.loss.clip_low, config.loss.clip_high) == ("ppo", 0.2, 0.2)
    assert (config.loss.aggregation, config.loss.kl_coef) == ("trajectory", 0.0)
    assert config.loss.distill.kind == "none"


@pytest.mark.parametrize(
    ("name", "source", "level", "weights", "contexts"),
    [
        ("rlsd_token", "2604.03128", "token", "sync", ("answer", "demonstration")),
        ("serl", "2605.19447", "token", "sync", ("feedback",)),
        ("rlrt", "2605.10781", "token", "live", ("successful_sibling",)),
        ("agent_opsd", "2608.05987", "turn", "live", ("plan",)),
        ("opsd", "2601.18734", "turn_token", "initial", ("demonstration",)),
    ],
)
def test_pinned_defaults(name: str, source: str, level: str, weights: str, contexts: tuple[str, ...]) -> None:
    config = resolve(name)
    assert source in METHODS[name].source
    assert (config.credit.level, config.teacher.weights, config.contexts) == (level, weights, contexts)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_names_itself_its_source_and_a_test_that_exists(name: str) -> None:
    method = METHODS[name]
    assert method.config is PRESETS[name]
    assert method.config.name == name
    assert method.summary
    assert method.source
    assert (REPOSITORY / method.test).is_file()


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_survives_a_round_trip_and_gives_credit(name: str) -> None:
    config = resolve(name)
    assert resolve(config) is config
    assert resolve(config.model_dump(mode="json")) == config
    batch = toy_batch([[[0.1, 0.2], [0.0]], [[-0.1]]], returns=[1, 0])
    got = assign(batch, config, step=0)
    assert got.advantage.shape == (4,)
    assert got.turn_credit.shape == (3,)


def test_overrides_are_merged_at_any_depth() -> None:
    credit = {"level": "token", "lam": {"decay_iterations": 100}}
    config = resolve({"name": "rlsd", "credit": credit, "contexts": ["answer"]})
    assert config.credit.level == "token"
    assert config.credit.lam == linear(0.5, 0.0, 100)
    assert config.credit.clip == 0.2
    assert config.contexts == ("answer",)
    assert resolve({"name": "rlsd", "credit": {"lam": 0.3}}).credit.lam == constant(0.3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rlds", r"unknown algorithm 'rlds'\. Did you mean 'rlsd'\? Known: .* in all"),
        ({"name": "grop"}, r"unknown algorithm 'grop'\. Did you mean 'grpo'\?"),
        ({"name": 3}, r"unknown algorithm 3\. Known:"),
        ({"credit": {}}, r"a mapping needs 'name', the preset to override, given credit\. Known: "),
        (None, r"expected a name or a mapping, given None"),
        ({"name": "rlsd", "credits": {}}, r"algorithm\.credits: unknown key 'credits'\. Did you mean 'credit'\?"),
        (
            {"name": "rlsd", "credit": {"lamda": 0.1}},
            r"algorithm\.credit\.lamda: unknown key 'lamda'\. Did you mean 'lam'\?",
        ),
        (
            {"name": "rlsd", "credit": {"lam": {"decay_iteration": 1}}},
            r"algorithm\.credit\.lam\.decay_iteration: unknown key .*\. Did you mean 'decay_iterations'\?",
        ),
        (
            {"name": "rlsd", "credit": {"level": "tokn"}},
            r"algorithm\.credit\.level: unknown value 'tokn'\. Did you mean 'token'\? Known: .*turn_token",
        ),
        ({"name": "rlsd", "credit": {"clip": 3, "squash": "linear"}}, r"expected clip ≤ 1 or a floor, given 3\.0"),
        ({"name": "rlsd", "credit": {"signal": "progress"}}, r"'progress' is one number a turn: expected level turn"),
        ({"name": "rlsd", "credit": {"scale": ["z:turns"]}}, r"unknown scaling 'z:turns'\. Did you mean 'z:turn'"),
        ({"name": "rlsd", "credit": {"gates": ["agrees"]}}, r"unknown gate 'agrees'\. Did you mean 'agree'"),
        ({"name": "rlsd", "credit": {"rule": "hindsigth"}}, r"unknown rule 'hindsigth'\. Did you mean 'hindsight'"),
        ({"name": "rlsd", "contexts": ["plam"]}, r"unknown context 'plam'\. Did you mean 'plan'\?"),
        ({"name": "rlsd", "contexts": []}, r"hindsight needs a text: .*\['none'\] is the control"),
        (
            {"name": "rlsd", "contexts": ["none", "plan"]},
            r"'none' cannot be combined with other contexts, given none, plan",
        ),
        ({"name": "rlsd", "contexts": ["plan", "plan"]}, r"each context once, given plan, plan"),
        (
            {"name": "rlsd", "credit": {"normalize": "turn"}},
            r"normalize 'turn' cancels the weights of level 'turn_token' in each turn; use level 'token'",
        ),
        (
            {"name": "sdar", "loss": {"distill": {"element_clip": 0.1}}},
            r"algorithm\.loss\.distill: element_clip: expected a kind among .*, given 'gate'",
        ),
        (
            {"name": "sdar", "loss": {"distill": {"divergence_clip": 0.1}}},
            r"algorithm\.loss\.distill: divergence_clip: expected a kind among .*, given 'gate'",
        ),
    ],
)
def test_a_wrong_setting_is_told_what_is_right(given: Any, message: str) -> None:
    with pytest.raises(AlgorithmError, match=message):
        resolve(given)


def test_every_problem_is_listed() -> None:
    with pytest.raises(AlgorithmError) as caught:
        resolve({"name": "rlsd", "credit": {"lamda": 1, "clip": 0}})
    assert len(str(caught.value).splitlines()) == 2


def test_own_contexts_are_named_by_module() -> None:
    assert resolve({"name": "rlsd", "contexts": ["mine.hints:Diary"]}).contexts == ("mine.hints:Diary",)
    assert all(set(config.contexts) <= set(CONTEXTS) for config in PRESETS.values())


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        resolve("rlsd").name = "other"  # type: ignore[misc]


def test_passes_are_made_only_when_read() -> None:
    rlsd, opsd = resolve("rlsd"), resolve("opsd")
    assert [needs_teacher(rlsd, step) for step in (0, 49, 50)] == [True, True, False]
    assert not needs_teacher(resolve("grpo"), 0)
    assert not needs_teacher(resolve("sft"), 0)
    assert needs_teacher(opsd, 10**6)
    assert needs_divergence(opsd, 0)
    assert not needs_divergence(rlsd, 0)
    assert needs_teacher(resolve("sdar"), 0)
    assert not needs_divergence(resolve("sdar"), 0)
    off = resolve({"name": "opsd", "loss": {"distill": {"coef": 0}}})
    assert not needs_teacher(off, 0)
    assert not needs_divergence(off, 0)
    assert not needs_reference(rlsd)
    assert needs_reference(resolve({"name": "rlsd", "loss": {"kl_coef": 0.01}}))


def walk(model: type[BaseModel], path: str = "algorithm") -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name, field in model.model_fields.items():
        found.append((f"{path}.{name}", field.description))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += walk(field.annotation, f"{path}.{name}")
    return found


def test_every_field_says_what_it_is() -> None:
    assert [path for path, description in walk(AlgorithmConfig) if not description] == []


def test_public_names() -> None:
    assert sorted(algorithms.__all__) == sorted(set(algorithms.__all__))
    assert all(hasattr(algorithms, name) for name in algorithms.__all__)


@pytest.mark.parametrize(
    "settings, names",
    [
        (AdvantageConfig(), {"gamma": 0.95, "step_weight": 1.0, "history": 2, "alpha": 1.0, "invalid_penalty": 0.0}),
        (
            LossConfig(),
            {"policy_coef": 1.0, "clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.0, "constant_tokens": 1024},
        ),
        (LossConfig(), {"constant_tokens": 1024, "dual_clip": None, "tis_cap": None, "kl_clamp": 10.0}),
        (AdvantageConfig(), {"level_weights": "code", "episode_level": False, "whiten": "tokens", "std": True}),
        (Schedule(), {"start": 0.0, "end": 0.0, "warmup_iterations": 0, "hold_iterations": 0, "decay_iterations": 0}),
    ],
)
def test_defaults(settings: BaseModel, names: dict[str, Any]) -> None:
    assert {name: getattr(settings, name) for name in names} == names


@pytest.mark.parametrize(
    "block, name, accepted, refused",
    [
        (AdvantageConfig, "gamma", [0.0, 1.0], [-0.01, 1.01]),
        (AdvantageConfig, "step_weight", [0.0], [-0.01]),
        (AdvantageConfig, "history", [0], [-1]),
        (AdvantageConfig, "alpha", [0.0], [-0.01]),
        (AdvantageConfig, "invalid_penalty", [0.0], [-0.01]),
        (LossConfig, "policy_coef", [0.0], [-0.01]),
        (LossConfig, "clip_low", [0.01], [0.0]),
        (LossConfig, "clip_high", [0.01], [0.0]),
        (LossConfig, "dual_clip", [1.01], [1.0]),
        (LossConfig, "tis_cap", [0.01], [0.0]),
        (LossConfig, "kl_coef", [0.0], [-0.01]),
        (LossConfig, "kl_clamp", [0.01], [0.0]),
        (LossConfig, "constant_tokens", [1], [0]),
        (Schedule, "start", [0.0], [-0.01]),
        (Schedule, "end", [0.0], [-0.01]),
        (Schedule, "warmup_iterations", [0], [-1]),
        (Schedule, "hold_iterations", [0], [-1]),
        (Schedule, "decay_iterations", [0], [-1]),
    ],
)
def test_bounds(block: type[BaseModel], name: str, accepted: list[float], refused: list[float]) -> None:
    for value in accepted:
        assert getattr(block.model_validate({name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            block.model_validate({name: value})

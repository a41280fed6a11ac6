"""Named algorithms: each a tested `AlgorithmConfig` with its source, what differs from it, and the test that covers it;
`resolve` turns a name, or a name with overrides, into a config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from rlsd.algorithms.advantage import AdvantageConfig
from rlsd.algorithms.config import AlgorithmConfig, TeacherConfig
from rlsd.algorithms.distill import DistillConfig
from rlsd.algorithms.errors import AlgorithmError, closest
from rlsd.algorithms.loss import LossConfig
from rlsd.algorithms.rlsd import CreditConfig
from rlsd.algorithms.schedule import constant, linear

NO_CREDIT = CreditConfig(rule="none")
RLSD_LAMBDA = linear(0.5, 0.0, 50)
DAPO_CLIP = LossConfig(clip_low=0.2, clip_high=0.28)
SYNC_10 = TeacherConfig(weights="sync", every=10)

CREDIT_TEST = "tests/golden/test_credit_golden.py"
ADVANTAGE_TEST = "tests/golden/test_advantage_golden.py"
DIVERGENCE_TEST = "tests/golden/test_divergence_golden.py"
LOSS_TEST = "tests/algorithms/test_loss.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row of `rlsd methods`."""

    summary: str
    """One line."""
    source: str
    """Paper, by arXiv id."""
    differs: str
    """Differences from the source, and why; empty if there are none."""
    test: str
    """Test file, from the repository root."""
    config: AlgorithmConfig


def _opsd(name: str, distill: DistillConfig) -> AlgorithmConfig:
    return AlgorithmConfig(
        name=name,
        advantage=AdvantageConfig(method="none"),
        contexts=("demonstration",),
        teacher=TeacherConfig(weights="initial"),
        credit=NO_CREDIT,
        loss=LossConfig(policy_coef=0.0, aggregation="token", distill=distill),
    )


def _outcome(name: str, advantage: AdvantageConfig, loss: LossConfig | None = None) -> AlgorithmConfig:
    return AlgorithmConfig(name=name, advantage=advantage, credit=NO_CREDIT, loss=loss or LossConfig())


METHODS: dict[str, Method] = {
    "sft": Method(
        summary="imitate demonstrations; half of the rows carry hindsight, so the model learns to read it",
        source="-",
        differs="both views are trained; token mean over the batch",
        test=LOSS_TEST,
        config=AlgorithmConfig(
            name="sft",
            advantage=AdvantageConfig(method="none"),
            credit=NO_CREDIT,
            loss=LossConfig(policy="sft", aggregation="token"),
        ),
    ),
    "grpo": Method(
        summary="outcome against the siblings' mean, in standard deviations, the same for every token",
        source="arXiv 2402.03300",
        differs="trajectory mean; no reference KL",
        test=ADVANTAGE_TEST,
        config=_outcome("grpo", AdvantageConfig()),
    ),
    "opsd": Method(
        summary="match the whole next-token distribution of the teacher view; no outcome",
        source="arXiv 2601.18734",
        differs="",
        test=DIVERGENCE_TEST,
        config=_opsd("opsd", DistillConfig(kind="forward_kl", element_clip=0.05)),
    ),
    "rlsd": Method(
        summary="the outcome sets the direction; hindsight sizes each turn, then each token inside it",
        source="arXiv 2604.03128",
        differs="for agents: turn_token level, plan from here as hindsight, live teacher, clip .2/.2",
        test=CREDIT_TEST,
        config=AlgorithmConfig(
            name="rlsd",
            contexts=("plan",),
            credit=CreditConfig(level="turn_token", lam=RLSD_LAMBDA, clip=0.2),
        ),
    ),
    "rlsd_token": Method(
        summary="RLSD as in the paper: one weight a token, teacher copied every 10 iterations",
        source="arXiv 2604.03128",
        differs="student log-probs are those before the update; trajectory mean",
        test=CREDIT_TEST,
        config=AlgorithmConfig(
            name="rlsd_token",
            contexts=("answer", "demonstration"),
            teacher=SYNC_10,
            credit=CreditConfig(level="token", lam=RLSD_LAMBDA, clip=0.2),
            loss=DAPO_CLIP,
        ),
    ),
    "dr_grpo": Method(
        summary="GRPO without the two length and difficulty biases: no deviation, constant divisor",
        source="arXiv 2503.20783",
        differs="",
        test=ADVANTAGE_TEST,
        config=_outcome("dr_grpo", AdvantageConfig(method="dr_grpo"), LossConfig(aggregation="constant")),
    ),
    "rloo": Method(
        summary="outcome against the mean of the other siblings",
        source="arXiv 2402.14740",
        differs="PPO clip instead of plain REINFORCE, for updates after the first",
        test=ADVANTAGE_TEST,
        config=_outcome("rloo", AdvantageConfig(method="rloo")),
    ),
    "reinforce_pp": Method(
        summary="outcome whitened over the whole batch, no groups",
        source="arXiv 2501.03262",
        differs="KL is not part of the reward",
        test=ADVANTAGE_TEST,
        config=_outcome("reinforce_pp", AdvantageConfig(method="reinforce_pp")),
    ),
    "gigpo": Method(
        summary="GRPO plus a step advantage among turns that stood before the same observation",
        source="arXiv 2505.10978",
        differs="episode statistics over trajectories, turn mean; no reference KL",
        test=ADVANTAGE_TEST,
        config=_outcome("gigpo", AdvantageConfig(method="gigpo"), LossConfig(aggregation="turn")),
    ),
    "hgpo": Method(
        summary="step advantages from states that match with their history too, deeper matches weigh more",
        source="arXiv 2602.22817",
        differs="turn mean; no reference KL",
        test=ADVANTAGE_TEST,
        config=_outcome("hgpo", AdvantageConfig(method="hgpo"), LossConfig(aggregation="turn")),
    ),
    "serl": Method(
        summary="RLSD on action tokens only, hindsight from the step's feedback",
        source="arXiv 2605.19447",
        differs="student log-probs are those before the update; trajectory mean",
        test=CREDIT_TEST,
        config=AlgorithmConfig(
            name="serl",
            contexts=("feedback",),
            teacher=SYNC_10,
            credit=CreditConfig(level="token", tokens="action", lam=RLSD_LAMBDA, clip=0.2),
        ),
    ),
    "sdar": Method(
        summary="GRPO plus a gated push towards tokens the teacher view likes",
        source="arXiv 2605.15155",
        differs="plan from here instead of a skill bank; no reference KL",
        test=LOSS_TEST,
        config=AlgorithmConfig(
            name="sdar",
            contexts=("plan",),
            credit=NO_CREDIT,
            loss=LossConfig(distill=DistillConfig(kind="gate", coef=constant(0.01), gate_slope=5.0)),
        ),
    ),
    "agent_opsd": Method(
        summary="turns weighted by how far they moved a running belief in success",
        source="arXiv 2608.05987",
        differs="plan from here instead of a skill bank; no reference KL, no entropy bonus",
        test=CREDIT_TEST,
        config=AlgorithmConfig(
            name="agent_opsd",
            contexts=("plan",),
            credit=CreditConfig(
                signal="belief", level="turn", scale=("z:trajectory",), squash="linear", slope=0.2, lam=constant(0.5)
            ),
            loss=LossConfig(clip_low=0.2, clip_high=0.24, dual_clip=3.0),
        ),
    ),
    "rlrt": Method(
        summary="successes only, the ratio upside down: reward what the sibling's solution did not suggest",
        source="arXiv 2605.10781",
        differs="constant .5 for λ, whose value the source leaves open",
        test=CREDIT_TEST,
        config=AlgorithmConfig(
            name="rlrt",
            contexts=("successful_sibling",),
            credit=CreditConfig(
                level="token", lam=constant(0.5), clip=0.5, direction="against_outcome", applies_to="success"
            ),
            loss=DAPO_CLIP,
        ),
    ),
    "opsd_reverse": Method(
        summary="OPSD with the mode-seeking divergence",
        source="arXiv 2601.18734",
        differs="",
        test=DIVERGENCE_TEST,
        config=_opsd("opsd_reverse", DistillConfig(kind="reverse_kl", element_clip=0.05)),
    ),
    "opsd_jsd": Method(
        summary="OPSD with the symmetric divergence",
        source="arXiv 2601.18734",
        differs="",
        test=DIVERGENCE_TEST,
        config=_opsd("opsd_jsd", DistillConfig(kind="jsd", beta=0.5, element_clip=0.05)),
    ),
}

PRESETS: dict[str, AlgorithmConfig] = {name: method.config for name, method in METHODS.items()}


def resolve(algorithm: str | Mapping[str, Any] | AlgorithmConfig) -> AlgorithmConfig:
    """Return the config of a name, of a mapping of overrides, or of a config.

    `"rlsd"` is the preset; `{"name": "rlsd", "credit": {"level": "token"}}` the preset with that one field
    changed, nested keys merged. A config is returned unchanged, and its `model_dump()` resolves to itself.

    Raises:
        AlgorithmError: an unknown name, key or value; names the closest one.
    """
    if isinstance(algorithm, AlgorithmConfig):
        return algorithm
    if isinstance(algorithm, str):
        return _preset(algorithm)
    if not isinstance(algorithm, Mapping):
        raise AlgorithmError(f"algorithm: expected a name or a mapping, given {algorithm!r}{closest('', PRESETS)}")
    if "name" not in algorithm:
        raise AlgorithmError(
            "algorithm: a mapping needs 'name', the preset to override, "
            f"given {', '.join(map(str, algorithm)) or 'nothing'}{closest('', PRESETS)}"
        )
    merged = _merge(_preset(algorithm["name"]).model_dump(), algorithm)
    try:
        return AlgorithmConfig.model_validate(merged)
    except ValidationError as error:
        raise AlgorithmError("\n".join(_explain(problem) for problem in error.errors())) from None


def _preset(name: object) -> AlgorithmConfig:
    if not isinstance(name, str) or name not in PRESETS:
        raise AlgorithmError(f"unknown algorithm {name!r}{closest(str(name), PRESETS)}")
    return PRESETS[name]


def _merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        current = merged.get(key)
        both = isinstance(current, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(current, value) if both else value  # pyright: ignore[reportArgumentType]
    return merged


def _explain(problem: Any) -> str:
    """Return one line for one of pydantic's error dictionaries."""
    path = [str(part) for part in problem["loc"]]
    where = ".".join(["algorithm", *path])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {path[-1]!r}{closest(path[-1], _fields(path[:-1]))}"
    if problem["type"] == "literal_error":
        expected = problem["ctx"]["expected"]
        names = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
        return f"{where}: unknown value {problem['input']!r}{closest(str(problem['input']), names)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if isinstance(problem["input"], Mapping) else f", given {problem['input']!r}"
    return f"{where}: {message}" if message.endswith(".") else f"{where}: {message}{value}."


def _fields(path: Iterable[str]) -> list[str]:
    """Return the field names of the model that `path` leads to."""
    model: type[BaseModel] = AlgorithmConfig
    for part in path:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)

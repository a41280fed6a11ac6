"""Every setting a method chooses, with the place that decides it; where its source has another value, `differs` says
so."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from rlsd.algorithms import METHODS, AlgorithmConfig, Schedule, constant, linear
from tests.algorithms.pins_credit import PINS as CREDIT_PINS
from tests.algorithms.pins_credit import VERL, Pin
from tests.algorithms.pins_distill import PINS as DISTILL_PINS

OUTCOME_ONLY = {"credit.rule": Pin("none", "the method has no hindsight")}
TRAJECTORY = "trajectory mean"
SELF_TEACHER = Pin("live", "the learner's own weights")
RLSD_LAMBDA = Pin(linear(0.5, 0.0, 50), "RLSD §3: λ from .5 to 0 in 50 iterations")
SYNC_10 = {
    "teacher.weights": Pin("sync", "RLSD: hard copies"),
    "teacher.every": Pin(10, "RLSD: every 10 iterations; SERL's script: teacher_sync_interval 10"),
}
OPSD = OUTCOME_ONLY | {
    "advantage.method": Pin("none", "no outcome in the loss"),
    "contexts": Pin(("demonstration",), "the reference solution"),
    "teacher.weights": Pin("initial", "fixed_teacher of the scripts"),
    "loss.policy_coef": Pin(0.0, "distillation alone"),
    "loss.aggregation": Pin("token", "sum over tokens ÷ their number"),
    "loss.distill.element_clip": Pin(0.05, "later default of the code", "element clip .05"),
}
AS_GIGPO = OUTCOME_ONLY | {
    "advantage.invalid_penalty": Pin(0.0, "ours", "no penalty for invalid actions"),
    "loss.kl_coef": Pin(0.0, "ours", "no reference KL"),
    "loss.aggregation": Pin("turn", "ours", "turn mean"),
    "loss.dual_clip": Pin(3.0, VERL),
}
PINS: dict[str, dict[str, Pin]] = {
    "sft": OUTCOME_ONLY
    | {
        "advantage.method": Pin("none", "imitation needs no outcome"),
        "loss.policy": Pin("sft", "cross entropy"),
        "loss.aggregation": Pin("token", "cross entropy over the batch", "token mean"),
    },
    "grpo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("grpo", "DeepSeekMath §4.1"),
        "loss.aggregation": Pin("trajectory", "DeepSeekMath Eq. 3: 1/G Σ 1/|o|"),
        "loss.kl_coef": Pin(0.0, "ours", "no reference KL"),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3"),
    },
    "dapo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("grpo", "DAPO Eq. 9: against the group's mean, in its deviations"),
        "loss.clip_low": Pin(0.2, "DAPO §4.1: ε_low .2"),
        "loss.clip_high": Pin(0.28, "DAPO §4.1: ε_high .28"),
        "loss.aggregation": Pin("token", "DAPO §3.3: token-level loss"),
        "loss.kl_coef": Pin(0.0, "DAPO §2.3: no KL"),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3"),
    },
    "opsd": OPSD | {"loss.distill.kind": Pin("forward_kl", "later default of the code: β = 0", "forward KL")},
    "opsd_reverse": OPSD | {"loss.distill.kind": Pin("reverse_kl", "β = 1 of the code")},
    "opsd_jsd": OPSD
    | {
        "loss.distill.kind": Pin("jsd", "scripts of the first release"),
        "loss.distill.beta": Pin(0.5, "scripts of the first release: beta 0.5"),
    },
    "rlsd": {
        "contexts": Pin(("plan",), "ours", "plan from here"),
        "teacher.weights": Pin("live", "ours, as the ports to agents", "live teacher"),
        "credit.level": Pin("turn_token", "ours", "turn_token level"),
        "credit.lam": RLSD_LAMBDA,
        "credit.clip": Pin(0.2, "RLSD §3: ε .2"),
        "loss.clip_high": Pin(0.2, "ours", "clip .2/.2"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3"),
    },
    "rlsd_token": SYNC_10
    | {
        "contexts": Pin(("answer", "demonstration"), "trajectory where there is one, else the answer"),
        "credit.level": Pin("token", "RLSD §3"),
        "credit.lam": RLSD_LAMBDA,
        "credit.clip": Pin(0.2, "RLSD §3: ε .2"),
        "loss.clip_high": Pin(0.28, "rlsd_train.sh: clip_ratio_high=0.28"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3"),
    },
    "rlsd_released": {
        "contexts": Pin(("answer",), "rlsd_train.sh: data.trajectory_key=answer"),
        "teacher.weights": Pin("sync", "rlsd_train.sh: freeze_teacher_model and an interval"),
        "teacher.every": Pin(20, "rlsd_train.sh: rlsd_teacher_sync_interval=20"),
        "credit.level": Pin("token", "dp_opsd_actor.py"),
        "credit.lam": Pin(linear(0.5, 0.0, 60), "rlsd_train.sh: rlsd_lambda 0.5, rlsd_lambda_decay_steps=60"),
        "credit.clip": Pin(0.2, "rlsd_train.sh: rlsd_reweight_clip_range"),
        "loss.clip_high": Pin(0.28, "rlsd_train.sh: clip_ratio_high=0.28"),
        "loss.dual_clip": Pin(3.0, "EasyR1's actor config: clip_ratio_dual 3"),
        "loss.aggregation": Pin("token", "EasyR1's actor config: loss_avg_mode token"),
    },
    "dr_grpo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("dr_grpo", "Dr.GRPO"),
        "loss.aggregation": Pin("constant", "Dr.GRPO: a constant divisor"),
        "loss.constant_tokens": Pin(1024, "ours", "divisor 1024"),
        "loss.dual_clip": Pin(None, "Dr.GRPO's PPO loss has none", "no dual clip"),
    },
    "rloo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("rloo", "RLOO"),
        "loss.policy": Pin("ppo", "ours", "PPO clip"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(None, "RLOO and TRL have none", "no dual clip"),
    },
    "reinforce_pp": OUTCOME_ONLY
    | {
        "advantage.method": Pin("reinforce_pp", "REINFORCE++"),
        "advantage.whiten": Pin("tokens", "verl: masked_whiten over tokens"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3"),
    },
    "gigpo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("gigpo", "GiGPO Eq. 8"),
        "advantage.std": Pin(True, "ALFWorld script: mean_std_norm", "drops the deviation"),
        "advantage.gamma": Pin(0.95, "scripts: algorithm.gamma=0.95"),
        "advantage.step_weight": Pin(1.0, "step_advantage_w 1.0"),
        "advantage.invalid_penalty": Pin(0.0, "ours", "no penalty for invalid actions"),
        "loss.kl_coef": Pin(0.0, "ours", "KL"),
        "loss.aggregation": Pin("turn", "ours", "turn mean"),
        "loss.dual_clip": Pin(3.0, VERL),
    },
    "hgpo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("hgpo", "core_hgpo.py"),
        "advantage.std": Pin(True, "ALFWorld script: mean_std_norm", "drops the deviation"),
        "advantage.gamma": Pin(0.95, "scripts: algorithm.gamma=0.95"),
        "advantage.history": Pin(2, "scripts: K = 2"),
        "advantage.alpha": Pin(1.0, "scripts: length_weight_alpha=1.0"),
        "advantage.level_weights": Pin("code", "core_hgpo.py: L = k + 1, k from 1", "(k + 2)^α"),
        "advantage.episode_level": Pin(False, "scripts: base_group=False"),
        "advantage.invalid_penalty": Pin(0.0, "ours", "no penalty for invalid actions"),
        "loss.kl_coef": Pin(0.0, "ours", "no reference KL"),
        "loss.aggregation": Pin("turn", "ours", "turn mean"),
        "loss.dual_clip": Pin(3.0, VERL),
    },
    "gigpo_similar": AS_GIGPO
    | {
        "advantage.method": Pin("gigpo", "GiGPO Eq. 8"),
        "advantage.similarity": Pin(0.9, "run_search.sh: similarity_thresh=0.9; paper .9", "similarity .9"),
        "advantage.invalid_penalty": Pin(0.0, "ours", "no penalty for invalid actions (theirs .01"),
        "loss.kl_coef": Pin(0.0, "ours", "no reference KL (theirs .001)"),
    },
    "g2po": AS_GIGPO
    | {
        "advantage.method": Pin("g2po", "core_g2po.py"),
        "advantage.std": Pin(True, "scripts: mode mean_std_norm"),
        "advantage.gamma": Pin(0.95, "core_g2po.py: 0.95 ** (len − k)"),
        "advantage.step_weight": Pin(1.0, "scripts: step_advantage_w=1.0"),
    },
    "gagpo": OUTCOME_ONLY
    | {
        "advantage.method": Pin("gagpo", "GAGPO"),
        "advantage.gamma": Pin(0.95, "ours", "γ .95 and λ .95 are ours"),
        "advantage.lam": Pin(0.95, "ours", "γ .95 and λ .95 are ours"),
        "loss.policy": Pin("gspo", "GAGPO: action-level importance ratio", "GSPO's with a turn as its sequence"),
        "loss.clip_high": Pin(0.2, "ours", "clip .2/.2"),
        "loss.aggregation": Pin("turn", "ours", "turn mean"),
    },
    "graph_hca": OUTCOME_ONLY
    | {
        "advantage.method": Pin("graph_hca", "GraphHCA"),
        "advantage.gamma": Pin(0.95, "GraphHCA: .95"),
        "advantage.floor": Pin(0.01, "GraphHCA: max(Φ, .01)"),
        "advantage.step_weight": Pin(1.0, "ours", "with weight 1"),
        "loss.aggregation": Pin("turn", "ours", "turn mean"),
        "loss.dual_clip": Pin(None, "not known", "no dual clip"),
    },
    "beacon": AS_GIGPO
    | {
        "advantage.method": Pin("beacon", "core_migpo.py"),
        "advantage.std": Pin(False, "scripts: migpo.mode=mean_norm"),
        "advantage.gamma": Pin(0.9, "ALFWorld script: migpo.gamma=0.9", "γ .9 and weight 10 of their ALFWorld"),
        "advantage.step_weight": Pin(10.0, "ALFWorld script: migpo.step_advantage_w=10.0", "γ .9 and weight 10"),
        "advantage.milestone_reward": Pin(1.0, "ours", "pays 1 as a win does, theirs 10 for both"),
    },
    "proxmo": AS_GIGPO
    | {
        "advantage.method": Pin("proxmo", "core_proxmo.py, soft_grouping"),
        "advantage.std": Pin(False, "core_proxmo.py: soft_grouping removes the deviation"),
        "advantage.gamma": Pin(0.95, "scripts: algorithm.gamma=0.95"),
        "advantage.temperature": Pin(0.1, "core_proxmo.py: temperature 0.1"),
        "advantage.modulation": Pin(0.05, "scripts: psc_target_range=0.05", "range .05"),
        "advantage.modulation_power": Pin(4.0, "scripts: psc_alpha=4.0", "α 4 of their scripts"),
    },
    "ppo": AS_GIGPO
    | {
        "advantage.method": Pin("gae", "PPO with a critic"),
        "advantage.gamma": Pin(0.95, "ours", "γ .95 and λ .95 are ours"),
        "advantage.lam": Pin(0.95, "ours", "γ .95 and λ .95 are ours"),
        "advantage.critic.width": Pin(0, "ours", "a linear head on detached hidden states"),
        "advantage.invalid_penalty": Pin(0.0, "PPO: none"),
        "loss.clip_high": Pin(0.2, "PPO: ε .2"),
        "loss.dual_clip": Pin(3.0, VERL, "dual clip 3 as in verl"),
    },
    "coars": {
        "advantage.method": Pin("reinforce", "CoARS: REINFORCE"),
        "advantage.gamma": Pin(1.0, "ours", "undiscounted rewards are ours"),
        "contexts": Pin(("successful_sibling",), "ours", "a sibling's win as hindsight"),
        "credit.level": Pin("token", "CoARS"),
        "credit.combine": Pin("add", "CoARS: R + .1 · clip(Δ, ±1)"),
        "credit.direction": Pin("teacher", "CoARS: the gap as it is"),
        "credit.squash": Pin("linear", "CoARS: the gap as it is"),
        "credit.clip": Pin(1.0, "CoARS: clip(Δ, ±1)"),
        "credit.lam": Pin(constant(0.1), "CoARS: .1"),
        "loss.policy": Pin("reinforce", "CoARS: REINFORCE"),
        "loss.aggregation": Pin("turn", "CoARS: mean per turn"),
    },
    "serl": SYNC_10
    | {
        "contexts": Pin(("feedback",), "SERL: the step's immediate feedback"),
        "credit.level": Pin("token", "core_algos.py"),
        "credit.tokens": Pin("action", "core_algos.py: action mask"),
        "credit.lam": Pin(linear(0.5, 0.0, 50), "scripts: mixing_lambda 0.5, lambda_decay_steps 50"),
        "credit.clip": Pin(0.2, "scripts: weight_clip 0.2"),
        "loss.clip_high": Pin(0.2, "ppo_trainer.yaml: clip_ratio_high 0.2"),
        "loss.kl_coef": Pin(0.0, "scripts: use_kl_loss=False"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL),
    },
    "sdar": OUTCOME_ONLY
    | {
        "contexts": Pin(("plan",), "ours", "plan from here"),
        "teacher.weights": SELF_TEACHER,
        "loss.distill.kind": Pin("gate", "sdar_utils.py"),
        "loss.distill.coef": Pin(constant(0.01), "scripts: sdar_coef=0.01", "coefficient .01 of their scripts"),
        "loss.distill.gate_slope": Pin(5.0, "scripts: gate_beta=5.0"),
        "loss.kl_coef": Pin(0.0, "ours", "no reference KL (theirs .01)"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL),
    },
    "agent_opsd": {
        "contexts": Pin(("plan",), "ours", "plan from here"),
        "teacher.weights": SELF_TEACHER,
        "credit.signal": Pin("belief", "opsd_utils.py: belief_mult, signed"),
        "credit.level": Pin("turn", "opsd_utils.py: one weight a turn"),
        "credit.scale": Pin(("z:trajectory",), "opsd_utils.py: standardised over the trajectory's turns"),
        "credit.squash": Pin("linear", "opsd_utils.py: 1 + band · sign · z"),
        "credit.slope": Pin(0.2, "opsd_utils.py: mult_band 0.2"),
        "credit.lam": Pin(constant(0.5), "scripts: mult_lambda=0.5"),
        "credit.clip": Pin(0.2, "opsd_utils.py: mult_band 0.2"),
        "credit.gamma": Pin(0.95, "AgentOPSD, paper", "γ .95"),
        "loss.clip_high": Pin(0.24, "AgentOPSD, paper", "clip .2/.24 of the paper"),
        "loss.kl_coef": Pin(0.0, "ours", "no reference KL (theirs .01)"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(3.0, VERL),
    },
    "rlrt": {
        "contexts": Pin(("successful_sibling",), "RLRT"),
        "teacher.weights": SELF_TEACHER,
        "credit.level": Pin("token", "RLRT"),
        "credit.lam": Pin(constant(0.5), "RLRT: λ .5"),
        "credit.clip": Pin(0.5, "RLRT: ε 1.0 base, .5 instruct, .2 thinking", "ε .5 is for instruct models"),
        "credit.direction": Pin("against_outcome", "RLRT: the ratio upside down"),
        "credit.applies_to": Pin("success", "RLRT: R = 1 only"),
        "loss.clip_high": Pin(0.28, "RLRT: clip .2/.28"),
        "loss.aggregation": Pin("trajectory", "ours", TRAJECTORY),
        "loss.dual_clip": Pin(None, "not known", "no dual clip"),
    },
}
PINS |= CREDIT_PINS
PINS |= {name: {setting: Pin(*row) for setting, row in rows.items()} for name, rows in DISTILL_PINS.items()}
ROWS = [(name, setting) for name, pins in PINS.items() for setting in pins]


def at(config: AlgorithmConfig, setting: str) -> Any:
    value: Any = config
    for part in setting.split("."):
        value = getattr(value, part)
    return value


def chosen(config: BaseModel, default: BaseModel, path: str = "") -> list[str]:
    """Settings that are not their block's default."""
    found = []
    for name in type(config).model_fields:
        mine, theirs = getattr(config, name), getattr(default, name)
        if isinstance(mine, BaseModel) and not isinstance(mine, Schedule):
            found += chosen(mine, type(mine)(), f"{path}{name}.")
        elif mine != theirs:
            found.append(f"{path}{name}")
    return found


@pytest.mark.parametrize(("name", "setting"), ROWS)
def test_a_default_is_what_its_source_says(name: str, setting: str) -> None:
    pin, method = PINS[name][setting], METHODS[name]
    assert at(method.config, setting) == pin.value, pin.source
    assert pin.source
    assert pin.differs in method.differs
    assert pin.source != "ours" or pin.differs, "what is ours is said in `differs`"


@pytest.mark.parametrize("name", METHODS)
def test_no_choice_of_a_method_is_without_a_source(name: str) -> None:
    config = METHODS[name].config
    unpinned = set(chosen(config, AlgorithmConfig())) - set(PINS[name]) - {"name"}
    assert unpinned == set()


def test_every_method_is_in_the_table() -> None:
    assert set(PINS) == set(METHODS)

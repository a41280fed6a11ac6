"""The complete config of a run, and the combinations that it refuses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from rlsd.algorithms import AlgorithmConfig, reads_logps, resolve
from rlsd.harness.config.agent import AgentConfig
from rlsd.harness.config.blocks import (
    Block,
    EnvConfig,
    EvalConfig,
    HindsightConfig,
    ModelConfig,
    RolloutConfig,
    SamplerConfig,
    SftConfig,
)
from rlsd.harness.config.learner import LearnerConfig


class RunConfig(Block):
    """Everything a run depends on. `rlsd train FILE --set learner.lr=1e-5` changes one value."""

    seed: int = 0
    """All random numbers derive from it, by name."""
    iterations: int = Field(default=100, ge=1)
    """Iterations of a run; a finished run continues if it is raised."""
    max_episodes: int | None = Field(default=None, ge=1)
    """Training episodes of the run, those of `rollout.refill` included; it ends before it would exceed them."""
    algorithm: Annotated[AlgorithmConfig, BeforeValidator(lambda value: resolve(value))] = Field(
        default_factory=lambda: resolve("rlsd")
    )
    """A method's name (`rlsd methods`), or a mapping with `name` and the settings that differ."""
    env: EnvConfig = EnvConfig()
    """The environment."""
    model: ModelConfig
    """The trained model."""
    agent: AgentConfig = AgentConfig()
    """How the model is prompted and its responses are parsed."""
    sampler: SamplerConfig = SamplerConfig()
    """What samples tokens."""
    rollout: RolloutConfig = RolloutConfig()
    """Number and limits of episodes."""
    hindsight: HindsightConfig = HindsightConfig()
    """Length and source of hindsight."""
    sft: SftConfig = SftConfig()
    """Supervised episodes (`algorithm: sft`)."""
    learner: LearnerConfig = LearnerConfig()
    """Optimizer, memory and processes."""
    eval: EvalConfig = EvalConfig()
    """Evaluation during training."""
    reward: str | None = None
    """`module:function` that gives an episode's return from its trajectory."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Iterations between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of newest checkpoints that are kept."""
    save_rollouts_every: int = Field(default=10, ge=0)
    """Iterations between saved trajectories (JSON lines, gzip); the last iteration's are saved too. 0: never."""
    save_token_credit: bool = True
    """With saved trajectories also what each of their tokens earned: log-probs of both views, weight, advantage; 32
    bytes a token."""
    tensorboard: bool = True
    """Write TensorBoard event files beside `metrics.jsonl`."""
    tracker: str | None = None
    """Also send every number to wandb, mlflow, trackio or swanlab (extras of these names), or to a tracker of your own:
    `module:Class`."""
    tracker_options: dict[str, Any] = Field(default={})
    """Arguments for the tracker's start, as in `{project: mine}`; keys of servers belong into environment variables."""
    threads: int | None = Field(default=None, ge=1)
    """Torch's CPU threads; results are repeatable for one number of threads."""

    def on_policy(self, step: int) -> bool:
        """Whether iteration `step` takes one optimizer step on all tokens and nothing else reads the log-probs from
        before it: its own are the old ones then, and the learner scores `sampler.verify_episodes` only."""
        once = self.learner.epochs * self.learner.minibatches == 1 and not self.sampler.reuse_logps
        return once and not (self.algorithm.advantage.reads_values or reads_logps(self.algorithm, step))

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        same = self.env.valid_split == self.env.train_split and self.env.eval_kwargs in (None, self.env.kwargs)
        if same and (self.eval.every or self.eval.at_start) and not self.eval.on_training_tasks:
            raise ValueError(
                f"env.valid_split is {self.env.valid_split!r}, which is trained on: success there says nothing about "
                "new tasks; give another split, or set eval.on_training_tasks: true"
            )
        if self.sampler.top_p < 1:
            raise ValueError(
                f"sampler.top_p is {self.sampler.top_p}: training log-probs are those of the untruncated "
                "distribution; set it to 1 for training"
            )
        if self.sampler.backend == "vllm" and not self.sampler.urls:
            raise ValueError(
                "sampler.backend is vllm: name the servers, e.g. --set 'sampler.urls=[http://127.0.0.1:8000]'"
            )
        if self.model.attention == "flex_attention" and self.learner.device != "cuda":
            raise ValueError(
                "model.attention is flex_attention, which has no backward pass on a CPU: use sdpa, or set "
                "learner.device=cuda"
            )
        if self.sampler.backend == "hf" and self.model.attention not in ("sdpa", "eager"):
            raise ValueError(
                f"model.attention is {self.model.attention}, whose kernels take no mask of single columns, and the "
                "sampler in this process needs one: use sdpa, or sample with sampler.backend=vllm"
            )
        if self.model.lora is not None and self.model.lora.quantize and (reason := _not_in_4_bits(self)):
            raise ValueError(f"model.lora.quantize is {self.model.lora.quantize}, {reason}")
        if self.sampler.sleep != "none" and (reason := _sleepless(self)):
            raise ValueError(f"sampler.sleep is {self.sampler.sleep}, {reason}")
        if self.sampler.weights == "lora" and self.model.lora is None:
            raise ValueError("sampler.weights is lora but model.lora is not set: nothing but an adapter can be sent so")
        if self.sampler.weights not in ("lora", "auto") and self.model.lora is not None:
            raise ValueError(
                f"sampler.weights is {self.sampler.weights} but model.lora is set: an adapter travels as lora (or auto)"
            )
        if self.rollout.async_steps and self.algorithm.loss.tis_cap is None:
            raise ValueError(
                "rollout.async_steps samples from older weights than are trained, which needs the importance "
                "correction: --set algorithm.loss.tis_cap=2"
            )
        if self.rollout.group_size == 1 and self.algorithm.needs_siblings:
            raise ValueError(
                f"rollout.group_size is 1, and {self.algorithm.name} compares an episode with others of its group "
                f"(algorithm.advantage.method: {self.algorithm.advantage.method}): give groups of 2 or more, or a "
                "method that needs none, as reinforce_pp or ppo"
            )
        if self.max_episodes is not None and self.max_episodes < self.rollout.episodes:
            raise ValueError(
                f"max_episodes is {self.max_episodes}, less than one iteration: tasks_per_iteration × group_size = "
                f"{self.rollout.episodes}"
            )
        for name, default in (("refill", "none"), ("task_sampler", "uniform")):
            if self.algorithm.imitates and getattr(self.rollout, name) != default:
                raise ValueError(f"rollout.{name} chooses among sampled groups, and {self.algorithm.name} samples none")
        for name in ("epochs", "minibatches"):
            if self.algorithm.imitates and (given := getattr(self.learner, name)) > 1:
                raise ValueError(
                    f"learner.{name} is {given}, and {self.algorithm.name} takes one step on each iteration's "
                    "episodes: set rollout.tasks_per_iteration (its batch) and iterations instead"
                )
        if self.algorithm.imitates and self.max_episodes is not None:
            raise ValueError(f"max_episodes counts sampled episodes, and {self.algorithm.name} samples none")
        if self.sampler.score_teacher and (reason := _unservable(self)):
            raise ValueError(f"sampler.score_teacher asks the servers for the teacher view, {reason}")
        return self


def _sleepless(config: RunConfig) -> str | None:
    """Why servers cannot sleep while the learner learns, and what to do; None: they can."""
    if config.sampler.backend != "vllm":
        return "which vLLM servers do, and this process samples itself: leave it out"
    if config.rollout.async_steps:
        return f"and rollout.async_steps {config.rollout.async_steps} samples while the learner learns: set it to 0"
    if config.sampler.sleep == "discard" and config.model.lora is not None:
        return "and an adapter needs the base weights that are discarded: take offload"
    return None


def _not_in_4_bits(config: RunConfig) -> str | None:
    """Why the frozen weights cannot be in 4 bits, and what to do; None: they can."""
    if config.model.path is None:
        return "which rounds weights that exist, and model.tiny is made from scratch: give model.path"
    if config.learner.parallel == "fsdp2":
        return "whose packed weights learner.parallel: fsdp2 cannot shard: take ddp"
    if config.sampler.backend == "vllm":
        return "and servers would sample from weights that are not rounded: set sampler.backend: hf"
    if config.sampler.dtype != "model":
        return f"which a copy in sampler.dtype {config.sampler.dtype} would undo: leave sampler.dtype at model"
    return None


def _unservable(config: RunConfig) -> str | None:
    """Why servers cannot score the teacher of this run; None if they can."""
    if config.sampler.backend != "vllm":
        return f"but sampler.backend is {config.sampler.backend}: in this process the learner scores it as cheaply"
    teacher = config.algorithm.teacher.weights
    if teacher != "live":
        return f"but they hold the learner's weights and algorithm.teacher.weights is {teacher}: only live will do"
    if config.rollout.async_steps:
        return "but with rollout.async_steps actions are of an older policy version than the one they hold by then"
    if config.sampler.temperature != 1:
        return f"which they score at temperature 1, but sampler.temperature is {config.sampler.temperature:g}"
    distill = config.algorithm.loss.distill
    if distill.full_vocabulary:
        return "but algorithm.loss.distill compares whole vocabularies, and they give single log-probs"
    if distill.token_weight == "calm_teacher" or "calm_teacher" in config.algorithm.credit.gates:
        return "but calm_teacher reads the teacher's entropies, and they give single log-probs"
    credit = config.algorithm.credit
    for name in (*credit.gates, credit.signal):
        if name in ("entropy_side", "spikes"):
            return f"but {name} reads the student's entropies, which the learner then computes for a few episodes only"
    if config.algorithm.against:
        return "but algorithm.against compares it with views that the learner scores: both must come from one place"
    return None

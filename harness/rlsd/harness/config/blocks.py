"""The blocks of a run's config: nested frozen models that refuse unknown keys; each field is documented below it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlsd.envs.errors import RlsdError


class ConfigError(RlsdError):
    """A config that cannot be run; the message says what to change."""


class Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class EnvConfig(Block):
    id: str = "rlsd/ALFWorld-v0"
    """A registered id, or `module:Class`."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments of the environment, except the split; `${NAME}` in a text is the environment variable NAME,
    which keeps a secret out of files."""
    train_split: str = "train"
    """Split whose tasks are trained on."""
    valid_split: str = "valid"
    """Split on which the best checkpoint is chosen; never the reported one."""
    test_split: str = "test"
    """Split reported by `rlsd eval RUN --split test`; never used in training."""
    workers: int = Field(default=0, ge=0)
    """Processes that the environments run in; 0: this one. Episodes do not depend on it."""
    eval_kwargs: dict[str, Any] | None = None
    """Keyword arguments for the valid and test splits, if they differ from training's."""


class TinyConfig(Block):
    """A Llama made from scratch, with a tokenizer trained on the environment's own text."""

    layers: int = Field(default=3, ge=1)
    """Decoder layers."""
    dim: int = Field(default=128, ge=16)
    """Width of the hidden states; a multiple of `heads`."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    vocab: int = Field(default=1024, ge=300)
    """Tokens of the tokenizer."""
    context: int = Field(default=1024, ge=64)
    """Longest sequence in tokens."""
    text_episodes: int = Field(default=200, ge=1)
    """Expert episodes whose text the tokenizer is trained on."""


class LoraConfig(Block):
    rank: int = Field(default=16, ge=1)
    """Rank of the update matrices."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / rank."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the layers that get an adapter. An embedding that is tied to the other one is refused."""
    quantize: Literal["nf4"] | None = None
    """`nf4`: the frozen weights of linear layers take 4 bits (QLoRA; extra `qlora`), products run in `model.dtype`.
    Everything is of the rounded weights, exports too."""


class ModelConfig(Block):
    path: str | None = None
    """A transformers folder, a hub name, or a run directory (its best checkpoint's export)."""
    tiny: TinyConfig | None = None
    """A model made from scratch, instead of `path`."""
    lora: LoraConfig | None = None
    """Train a LoRA adapter instead of all weights (extra `lora`)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision the weights are loaded in."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "sdpa"
    """`flash_attention_2` and `flash_attention_3` (CUDA only, each with its own package) take no mask: hindsight is
    scored in variable-length calls, and `learner.packing` is free. `flex_attention` (CUDA only) reads just the blocks
    of a row that see each other: long rows stay whole, also where hindsight is trained on. All three need
    `sampler.backend: vllm`, because the sampler in this process needs masks."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.path is None) == (self.tiny is None):
            raise ValueError("give either model.path (a folder or name) or model.tiny (made from scratch)")
        if self.tiny is not None and self.attention != "sdpa":
            raise ValueError(
                f"model.attention is {self.attention}, but model.tiny runs with sdpa: leave it, or give path"
            )
        return self


class SamplerConfig(Block):
    backend: Literal["hf", "vllm"] = "hf"
    """`hf`: transformers in this process; `vllm`: vLLM servers over HTTP."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature in training; evaluation has its own (`eval.temperature`)."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Below 1 the sampled distribution is truncated: refused for training."""
    dtype: Literal["model", "bfloat16", "float16"] = "model"
    """`hf`: sample from a copy of the weights in this precision (renewed after each update), for GPUs that are slow in
    the weights' own."""
    dispatch: Literal["all", "eager"] = "all"
    """`all` waits until every live episode waits (repeatable on CPU); `eager` serves as requests come."""
    urls: list[str] = []
    """vLLM servers, as in http://127.0.0.1:8000; episodes go to the least loaded."""
    weights: Literal["auto", "folder", "lora", "nccl", "gloo"] = "auto"
    """How new weights reach the servers: a transformers folder they read, a LoRA adapter, or broadcasts from GPU to GPU
    (`nccl`) or over TCP (`gloo`). `auto`: lora with model.lora, else folder."""
    weights_folder: str | None = None
    """Where weights are written for the servers, which must see it under the same path; default: a temporary one."""
    weights_address: str | None = None
    """`nccl`, `gloo`: this machine's address as the servers see it; default: the one it reaches them from."""
    sleep: Literal["none", "offload", "discard"] = "none"
    """Servers on the learner's own GPU (`rlsd serve policy --sleep`): after each rollout they drop keys and values and
    move their weights to CPU memory (`offload`) or drop them too (`discard`), until the next weights come."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the servers' API key."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for one answer of a server."""
    retries: int = Field(default=4, ge=0)
    """How often a failed request to a server is sent again."""
    reconnect_s: float = Field(default=600.0, ge=0)
    """Longest wait in seconds for a server that went away; it gets the present weights again when it is back."""
    interrupt: bool = True
    """With `rollout.async_steps` 2 or more, new weights end the responses that servers have under way; their tokens are
    kept, and the rest is sampled with the new weights. False: updates wait for the longest response, and every response
    is of one policy version."""
    reuse_logps: bool = False
    """Use the sampler's log-probs as the old ones if no hindsight is read (GRPO-style methods): no scoring pass except
    that of `verify_episodes`. Methods that compare both views score with the learner anyway. With one optimizer step an
    iteration the old ones are the update's own, and this is not needed."""
    score_teacher: bool = False
    """The servers score the teacher view too: both sides of the comparison then come from them, and the learner scores
    `verify_episodes` only. Needs `vllm`, a live teacher, temperature 1 and no `rollout.async_steps`."""
    verify_episodes: int = Field(default=4, ge=1)
    """Smallest number of episodes per iteration whose log-probs are compared with the learner's."""
    logprob_gap_warn: float = Field(default=0.05, gt=0)
    """Mean difference in nats per token between sampler and learner that gives a warning; with `rollout.async_steps` it
    includes the change of as many updates."""
    logprob_gap_stop: float = Field(default=0.2, gt=0)
    """Mean difference in nats per token that stops the run."""

    @model_validator(mode="after")
    def _addresses(self) -> SamplerConfig:
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            raise ValueError("sampler.api_key_env is no variable's name; put the key into a variable and name it here")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"sampler.urls: {url!r} is no address, expected one as in http://127.0.0.1:8000")
            if self.urls.count(url) > 1:
                raise ValueError(f"sampler.urls names {url} more than once; each server stands there once")
        return self


class RolloutConfig(Block):
    tasks_per_iteration: int = Field(default=16, ge=1)
    """Tasks per iteration."""
    group_size: int = Field(default=8, ge=1)
    """Episodes per task: G."""
    max_concurrent: int = Field(default=128, ge=1)
    """Largest number of episodes in flight at once."""
    max_turns: int | None = Field(default=None, ge=1)
    """Turns after which an episode is cut off; default: the environment's own limit."""
    step_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds one call of an environment may take before its episode counts as failed."""
    retries: int = Field(default=1, ge=0)
    """How often a failed episode is played again."""
    async_steps: int = Field(default=0, ge=0, le=8)
    """Largest age of a token that is trained on, in iterations. 1: roll out the next iteration during the update.
    2 or more: so many iterations are in flight, and their episodes take new weights when they come; the run does not
    repeat bit for bit. Needs algorithm.loss.tis_cap; an in-process sampler keeps a copy of the weights. A resumed run
    plays again what was in flight."""
    refill: Literal["none", "mixed"] = "none"
    """`mixed`: groups whose episodes all have the same sum of the environment's rewards are replaced by groups of extra
    tasks that do not (DAPO's dynamic sampling); not ahead of time with `async_steps`."""
    refill_cap: float = Field(default=3.0, gt=0)
    """Largest number of extra tasks per iteration, as a multiple of `tasks_per_iteration` (at least one task). Places
    still open then keep their group without contrast."""
    task_sampler: Literal["uniform", "by_level", "near_half"] = "uniform"
    """`uniform`: permutations of the split; `by_level`: equal shares of the tasks' difficulty levels; `near_half`:
    tasks that are won about half of the time are likelier."""
    level_every: int | None = Field(default=None, ge=1)
    """`by_level`: iterations after which the next harder level opens; null: all levels from the start."""

    @property
    def episodes(self) -> int:
        """Episodes of an iteration without extra tasks."""
        return self.tasks_per_iteration * self.group_size

    @property
    def extra_tasks(self) -> int:
        """Largest number of extra tasks of an iteration."""
        return max(1, int(self.refill_cap * self.tasks_per_iteration)) if self.refill == "mixed" else 0

    @model_validator(mode="after")
    def _levels_are_used(self) -> RolloutConfig:
        if self.level_every is not None and self.task_sampler != "by_level":
            raise ValueError(f"rollout.level_every needs rollout.task_sampler: by_level, got {self.task_sampler!r}")
        return self


class HindsightConfig(Block):
    """Length and source of hindsight; the algorithm chooses the contexts."""

    max_tokens: int = Field(default=256, ge=1)
    """Largest number of hindsight tokens in one turn's view; longer hindsight is shortened by whole items."""
    max_items: int | None = Field(default=None, ge=1)
    """Largest number of items of each section, such as commands of a plan; default: all that fit."""
    source: Literal["own", "other_task"] = "own"
    """`other_task`: the control experiment."""


class SftConfig(Block):
    """Where supervised episodes come from (`algorithm: sft`)."""

    expert: Literal["explorer", "oracle"] = "explorer"
    """Who plays: `explorer` acts on observations alone, `oracle` sees the whole state."""
    noise: float = Field(default=0.0, ge=0, lt=1)
    """Share of turns played at random or misplayed (never imitated), so that unusual states and refusals occur too."""
    trajectories: str | None = None
    """Your own episodes instead: a JSON-lines file with `goal` and `turns` of `observation`, `action`."""
    contexts: list[str] = ["plan"]
    """Hindsight contexts of the teacher view; empty: train the student view only."""
    hinted_share: float = Field(default=0.5, ge=0, le=1)
    """Weight of the teacher view in the loss."""
    hinted_target: Literal["plan", "own"] = "plan"
    """What the teacher view imitates: the plan's next action, or the episode's own action."""
    workers: int = Field(default=0, ge=0)
    """Processes that play and encode episodes ahead; the result does not depend on their number."""
    only_success: bool = True
    """Leave out episodes that the expert lost."""


class EvalConfig(Block):
    every: int = Field(default=10, ge=0)
    """Iterations between evaluations on the validation panel (the fixed tasks of `env.valid_split`); 0: only
    at the start (`at_start`)."""
    at_start: bool = True
    """Evaluate once before the first iteration."""
    episodes: int | None = Field(default=None, ge=1)
    """Evaluate only this many first tasks of the panel; default: all."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0: greedy."""
    seed: int = 0
    """Seed of sampling in evaluations."""
    on_training_tasks: bool = False
    """Allow `env.valid_split` to be the split that is trained on."""

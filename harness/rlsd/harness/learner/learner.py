"""The learner: owns the weights and takes optimizer steps. It knows no algorithm; the `Scorer` computes log-probs.

Hidden states are gathered at sampled tokens before the output embedding, so no [T, V] tensor exists: none for
observation tokens, and for sampled ones only a chunk at a time. Each process brings its own rows; losses and gradients
are summed over all processes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from rlsd.agents.hf.abilities import attention_of
from rlsd.agents.hf.models import Policy
from rlsd.agents.hf.out_of_memory import out_of_memory
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.distributed import Ranks, held, lost_peer, open_ranks, whole
from rlsd.harness.learner import optimizer_state, parallel, tensor_parallel
from rlsd.harness.learner.finite import first_broken
from rlsd.harness.learner.step import LossError, LossFn, OutOfMemory, TokenSlice, UpdateStats, WeightError, halved
from rlsd.harness.scoring.sequences import BLANK, Row
from rlsd.harness.scoring.siblings import Cost, most_pairs, with_siblings
from rlsd.harness.scoring.token_model import LOW, TokenModel, apart, in_step, joined, micro_batches, packed, places


class Learner:
    """Optimizer steps for one policy.

    Args:
        policy: the model to train. With FSDP2 a sharded copy is trained, and `publish` writes its weights back;
            the shards go to the processes' devices, the policy's own weights stay where they are.
        settings: optimizer, precision, micro-batch size, wrapper.
        temperature: the sampler's; log-probs are of logits / temperature.
        ranks: the run's processes; None: join them here.
        masks: whether a mask may separate the views in one row, or siblings (`scoring.fit`); None: what the config
            says, which knows nothing of ALiBi or recurrent layers.

    Raises:
        ConfigError: the wrapper or device is not available.
        RanksError: another number of processes than expected, or another wrapper than `learner.parallel`.
    """

    def __init__(
        self,
        policy: Policy,
        settings: LearnerConfig,
        *,
        temperature: float,
        ranks: Ranks | None = None,
        masks: bool | None = None,
    ) -> None:
        self.settings = settings
        self.temperature = temperature
        self._masks = masks
        self.ranks = ranks or open_ranks(settings.device, processes=settings.processes, timeout_s=settings.timeout_s)
        if settings.device == "cuda" and self.ranks.device.type != "cuda":
            raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; set learner.device=cpu")
        if "flex" in attention_of(policy.model):
            parallel.check_flex(self.device)
        self.policy = policy
        self.parallel = parallel.wrapper_of(settings, self.ranks)
        self.mesh = tensor_parallel.mesh_of(settings, self.ranks)
        self.data = tensor_parallel.data_ranks(self.ranks, self.mesh)
        """The processes among which rows are divided: all, or those with the same part of the layers."""
        if settings.liger:
            parallel.with_liger(policy.model)
        self.model = copy.deepcopy(policy.model) if self.parallel == "fsdp2" else policy.model
        """The model whose parameters are trained."""
        self._recomputed = parallel.recompute(self.model) if settings.gradient_checkpointing else []
        self.tokens = self._token_model(self.model)
        """The same model as forward passes call it."""
        self.wrapped = parallel.wrap(self.tokens, self.parallel, settings, self.ranks, self.mesh)
        shares = settings.prefix_sharing and self.tokens.masks
        self._cost = Cost.of(self.model, blocks=self.tokens.blocks) if shares else None
        weights = [p for p in self.model.parameters() if p.requires_grad]
        groups = [{"params": group} for group in tensor_parallel.alike(weights)]
        dense = all(held(p)[0].is_contiguous() for p in weights)  # which fused kernels of CPUs assume
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings.lr.peak, betas=settings.betas, weight_decay=settings.weight_decay, fused=dense
        )
        self.updates = 0
        """Optimizer steps taken."""
        self.forwarded = 0
        """Tokens of this process fed forward and backward since construction, without padding."""

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    def replica(self, model: Any = None) -> TokenModel:
        """A frozen copy of the policy for a teacher or reference, spread over processes as the policy is; or `model`,
        another causal LM, frozen and spread in the same way."""
        kept = copy.deepcopy(self.policy.model) if model is None else model
        tokens = self._token_model(kept.eval().requires_grad_(False))
        if self.parallel == "fsdp2":
            parallel.shard(tokens, self.settings, self.ranks, self.mesh)
        return tokens

    def _token_model(self, model: Any) -> TokenModel:
        """The model as forward passes call it."""
        low = LOW if self.settings.precision == "bfloat16" and self.parallel != "fsdp2" else None
        masks = parallel.takes_masks(model) if self._masks is None else self._masks
        return TokenModel(model, temperature=self.temperature, autocast=low, masks=masks)

    # ------------------------------------------------------------------ update

    def update(self, rows: Sequence[Row], loss_fn: LossFn) -> UpdateStats:
        """One optimizer step on the summed loss of all micro-batches of all processes.

        A micro-batch that does not fit into memory is split once, and the step's gradient is recomputed.

        Raises:
            LossError: a non-finite loss or gradient; the weights are unchanged.
            WeightError: the step made a weight non-finite, on any process; every process raises it.
            MemoryFull: the halves do not fit either.
        """
        limit, longest = self.settings.micro_batch_tokens, self.tokens.longest_packed
        largest = None if longest is None else self.tokens.largest_mask
        rows = given = apart(self.tokens, rows)
        if self._cost is not None:
            most = None
            if largest is not None and attention_of(self.model) == "eager":
                most = largest = min(largest, most_pairs(rows, limit))
            rows = with_siblings(rows, limit, self._cost, most=most)
        if self.settings.packing:
            columns = limit if longest is None else min(limit, longest)
            rows = [*joined([r for r in rows if not r.branches], columns), *_branched(rows)]
        batches = micro_batches(rows, limit, masks=self.tokens.masks, largest_mask=largest, at_once=True)
        splits = 0
        while True:
            try:
                total = self._gradient(batches, loss_fn)
                break
            except OutOfMemory as failed:
                batches = halved(batches, failed, splits, self.settings, self.parallel, given)
                splits += 1
            self.optimizer.zero_grad(set_to_none=True)
            self.free_cache()
        with lost_peer():
            norm = float(tensor_parallel.clip(list(self.model.parameters()), self.settings.grad_clip, self.ranks))
        tokens = sum(p.count for r in rows for p in r.places)
        padded = sum(max(len(r.ids) for r in b) * len(b) for b in batches)
        loss, tokens, padded, splits = self._totals(total, tokens, padded, splits)
        if not (math.isfinite(norm) and math.isfinite(loss)):
            self.optimizer.zero_grad(set_to_none=True)
            raise LossError(
                f"update {self.updates + 1}: loss {loss}, gradient norm {norm}; no step was taken and the last "
                "checkpoint is sound. Lower learner.lr or learner.grad_clip, or look at the rewards"
            )
        lr = self.settings.lr.at(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.updates += 1
        self._check_weights()
        return UpdateStats(loss=loss, grad_norm=norm, lr=lr, tokens=tokens, padded_tokens=padded, splits=splits)

    def _gradient(self, batches: Sequence[list[Row]], loss_fn: LossFn) -> float:
        """Put the gradient of the loss summed over all processes into `.grad`; returns this process's loss."""
        self.wrapped.eval()  # dropout would make sampled and trained log-probs differ
        for layer in self._recomputed:
            layer.training = True
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        ddp = self.wrapped if isinstance(self.wrapped, DistributedDataParallel) else None
        for i, batch in enumerate(in_step(self.tokens, list(batches), self.data)):
            with ddp.no_sync() if ddp else nullcontext():
                try:
                    total += self._backward(batch, loss_fn)
                except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                    if not out_of_memory(error):
                        raise
                    raise OutOfMemory(i, str(error)) from error
        if ddp:  # one exchange of all gradients, however many micro-batches each process had
            self._backward([BLANK], loss_fn)
        self.wrapped.eval()
        return total

    def _backward(self, batch: Sequence[Row], loss_fn: LossFn) -> float:
        with lost_peer():
            logp, hidden, entropy = self.wrapped(packed, batch)
            if batch[0] is BLANK:
                (0.0 * (logp.sum() + hidden.sum())).backward()
                return 0.0
            flat = places(batch)[2]
            self.forwarded += sum(len(r.ids) for r in batch)
            loss = loss_fn(TokenSlice(flat=flat, logp=logp, entropy=entropy, hidden=hidden, head=self.tokens.head))
            value = float(loss.detach())
            if not math.isfinite(value):
                self.optimizer.zero_grad(set_to_none=True)
                worst = flat[~logp.detach().isfinite().cpu()][:1].tolist()
                raise LossError(
                    f"update {self.updates + 1}: the loss is {value}"
                    + (f" (token {worst[0]} has no finite log-prob)" if worst else "")
                    + "; no step was taken and the last checkpoint is sound. Lower learner.lr, or look at the rewards"
                )
            (loss * self.data.world).backward()  # DDP and FSDP2 average over processes
        return value

    def _check_weights(self) -> None:
        broken = first_broken(self.weights().items())
        if not self.ranks.any(broken is not None):
            return
        found = [(rank, name) for rank, name in enumerate(self.ranks.gather(broken)) if name]
        where = f" on process {found[0][0]}" if self.ranks.world > 1 else ""
        raise WeightError(
            f"update {self.updates} made a weight infinite or NaN{where}: {found[0][1]}. Lower learner.lr, or load the "
            "model in a wider model.dtype"
        )

    def _totals(self, loss: float, tokens: int, padded: int, splits: int) -> tuple[float, int, int, int]:
        """Sums over processes."""
        if self.data.world == 1:
            return loss, tokens, padded, splits
        sums = self.data.sum(torch.tensor([loss, tokens, padded, splits], dtype=torch.float64)).tolist()
        return sums[0], int(sums[1]), int(sums[2]), int(sums[3])

    # ------------------------------------------------------------------ state

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the trained weights into the plain policy, which samplers and exports read; every process must call."""
        if self.parallel != "fsdp2":
            return
        plain_weights = dict(self.policy.model.named_parameters())
        for name, p in self.model.named_parameters():
            if p.requires_grad:
                value = whole(p)
                if not plain_weights[name].is_meta:
                    plain_weights[name].copy_(value)

    def free_cache(self) -> None:
        """Give the GPU memory back that no tensor uses, for a server on the same card."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def release(self) -> None:
        """Free this process's plain policy, which must not be read afterwards. Only with FSDP2, and only after all
        replicas are made."""
        assert self.parallel == "fsdp2", "the plain policy is what is trained"
        self.policy.model.to("meta")

    def weights(self) -> dict[str, Tensor]:
        """Trained weights by name for a checkpoint (only the adapter's with LoRA); sharded ones stay sharded."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def optimizer_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Moments as tensors, and step counts, by weight name."""
        return optimizer_state.moments(self.model, self.optimizer)

    def load(self, weights: Any, moments: Any, counts: dict[str, float]) -> None:
        """Restore the results of `weights` and `optimizer_state`, saved on any number of processes.

        Args:
            weights: whole tensors by name (any mapping; each is read once).
            moments: likewise, by `name/moment`.

        Raises:
            KeyError: a weight is missing.
            RuntimeError: a weight has another shape.
        """
        optimizer_state.put_back(self.model, self.optimizer, weights, moments, counts)
        self.publish()


def _branched(rows: Sequence[Row]) -> list[Row]:
    return [r for r in rows if r.branches]

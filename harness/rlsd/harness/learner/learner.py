"""The learner: owns the weights, gives log-probs of rows, takes optimizer steps. Knows no algorithm.

Hidden states are gathered at sampled tokens before the output embedding, so no [T, V] tensor exists: not for
observation tokens, and for sampled ones only a chunk at a time. With several processes each one brings its own rows;
losses and gradients add up over all.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from rlsd.agents.hf.models import Policy
from rlsd.agents.hf.out_of_memory import out_of_memory
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.distributed import Ranks, lost_peer, open_ranks
from rlsd.harness.learner import optimizer_state, parallel
from rlsd.harness.learner.step import LossError, LossFn, OutOfMemory, TokenSlice, UpdateStats, halved
from rlsd.harness.scoring.scorer import log_probs
from rlsd.harness.scoring.sequences import BLANK, Row
from rlsd.harness.scoring.token_model import Head, TokenModel, joined, packed, places, plain, probed


class Learner:
    """Log-probs and updates for one policy.

    Args:
        policy: the model to train. With FSDP2 a sharded copy is trained, and `publish` writes its weights back;
            the shards go to the processes' devices, the policy's own weights stay where they are.
        settings: optimizer, precision, micro-batch size, wrapper.
        temperature: the sampler's; log-probs are of logits / temperature.
        ranks: the run's processes; joined here if not given.

    Raises:
        ConfigError: the wrapper or device cannot be had.
        RanksError: fewer processes than expected, or another wrapper than asked for.
    """

    def __init__(
        self, policy: Policy, settings: LearnerConfig, *, temperature: float, ranks: Ranks | None = None
    ) -> None:
        self.settings = settings
        self.temperature = temperature
        self.ranks = ranks or open_ranks(settings.device, processes=settings.processes, timeout_s=settings.timeout_s)
        if settings.device == "cuda" and self.ranks.device.type != "cuda":
            raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; set learner.device=cpu")
        self.policy = policy
        self.wrapper = parallel.wrapper_of(settings, self.ranks)
        if settings.liger:
            parallel.with_liger(policy.model)
        self.model = copy.deepcopy(policy.model) if self.wrapper == "fsdp2" else policy.model
        """Whose parameters are trained."""
        self._recomputed = parallel.recompute(self.model) if settings.gradient_checkpointing else []
        self.masks = parallel.takes_masks(self.model)
        self._sharded: dict[int, TokenModel] = {}
        self.tokens = self._token_model(self.model)
        self.wrapped = parallel.wrap(self.tokens, self.wrapper, settings, self.ranks)
        self._sharded[id(self.model)] = self.tokens
        weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            weights, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, eps=1e-8
        )
        self.updates = 0
        """Optimizer steps taken."""
        self.forwarded: Counter[str] = Counter()
        """Tokens fed to a model since construction, by kind, padding apart; of this process."""

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    def micro_batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows of like length together, at most `micro_tokens` padded columns each; a longer row goes alone."""
        batch: list[Row] = []
        for row in sorted(rows, key=lambda r: (-r.trunk, -len(r.ids))):
            if row.branches and not self.masks:  # pieces end to end: kernels without masks tell them by position
                yield [row]
                continue
            width = max(len(r.ids) for r in [*batch, row])
            if batch and width * (len(batch) + 1) > self.settings.micro_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def replica(self) -> Any:
        """A frozen copy of the policy for a teacher or reference, spread over processes as the policy is."""
        twin = copy.deepcopy(self.policy.model).eval().requires_grad_(False)
        if self.wrapper == "fsdp2":
            tokens = self._token_model(twin)
            parallel.shard(tokens, self.settings, self.ranks)
            self._sharded[id(twin)] = tokens
        return twin

    # ------------------------------------------------------------------ log-probs

    @torch.no_grad()
    def logprobs(
        self,
        rows: Sequence[Row],
        total: int,
        *,
        model: Any = None,
        keep_hidden: bool = False,
        kinds: tuple[str, str] = ("student", "teacher"),
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probs of all sampled tokens of `rows`, in eval mode.

        Args:
            kinds: what trunks and branches are counted as in `forwarded`.

        Returns:
            (M,) float32 on CPU, NaN for tokens no row holds; with `keep_hidden` also the (M, D) hidden states.

        Raises:
            MemoryFull: a row that does not fit into memory, or with FSDP2 a micro-batch.
        """
        tokens = self.tokens if model is None else self._token_model(model)
        return log_probs(self, tokens, rows, total, keep_hidden=keep_hidden, kinds=kinds)

    @torch.no_grad()
    def probe(self, ids: Sequence[int]) -> list[float]:
        """Nats of ids[1:] under the weights as they are now, at temperature 1; every process must call."""
        self.tokens.eval()
        with lost_peer():
            found = self.tokens(probed, ids).tolist()
        if isinstance(self.tokens, FSDPModule):
            self.tokens.reshard()
        return found

    def frozen_head(self, model: Any) -> Head:
        """Output embedding of a teacher as it is now, usable outside its forward pass; no gradient flows into it."""
        tokens = self._token_model(model)
        if not isinstance(tokens, FSDPModule):
            return tokens.head
        embedding = model.get_output_embeddings()
        weight = parallel.whole(embedding.weight).detach()
        bias = None if embedding.bias is None else parallel.whole(embedding.bias).detach()
        return lambda hidden: torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias)

    def _token_model(self, model: Any) -> TokenModel:
        """The model as this learner calls it."""
        if id(model) in self._sharded:
            return self._sharded[id(model)]
        low = parallel.LOW if self.settings.precision == "bfloat16" and self.wrapper != "fsdp2" else None
        return TokenModel(model, temperature=self.temperature, autocast=low, masks=self.masks)

    def in_step(self, batches: list[list[Row]]) -> list[list[Row]]:
        """As many micro-batches as the process with the most, where a forward pass needs all processes."""
        if self.wrapper != "fsdp2":
            return batches
        return batches + [[BLANK]] * (self.ranks.most(len(batches)) - len(batches))

    # ------------------------------------------------------------------ update

    def update(self, rows: Sequence[Row], loss_fn: LossFn) -> UpdateStats:
        """One optimizer step on the summed loss of all micro-batches of all processes.

        A micro-batch that does not fit into memory is split and the step's gradient computed anew, once.

        Raises:
            LossError: loss or gradient is NaN or infinite; the weights are as they were.
            MemoryFull: the halves do not fit either.
        """
        rows = rows if self.masks else plain(rows)
        if self.settings.packing:
            rows = [*joined([r for r in rows if not r.branches], self.settings.micro_tokens), *_branched(rows)]
        batches, splits = list(self.micro_batches(rows)), 0
        while True:
            try:
                total = self._gradient(batches, loss_fn)
                break
            except OutOfMemory as failed:
                batches, splits = halved(batches, failed, splits, self.settings, self.wrapper), splits + 1
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        with lost_peer():
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip)
            norm = float(parallel.whole(norm))
        tokens = sum(p.count for r in rows for p in r.places)
        padded = sum(max(len(r.ids) for r in b) * len(b) for b in batches)
        loss, tokens, padded, splits = self._totals(total, tokens, padded, splits)
        if not (math.isfinite(norm) and math.isfinite(loss)):
            self.optimizer.zero_grad(set_to_none=True)
            raise LossError(
                f"update {self.updates + 1}: loss {loss}, gradient norm {norm}; no step was taken and the last "
                "checkpoint is sound. Lower learner.lr or learner.grad_clip, or look at the rewards"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr_at(self.updates)
        self.optimizer.step()
        self.updates += 1
        return UpdateStats(loss=loss, grad_norm=norm, tokens=tokens, padded_tokens=padded, splits=splits)

    def _gradient(self, batches: Sequence[list[Row]], loss_fn: LossFn) -> float:
        """Gradient of the summed loss in `.grad`, of all processes; this process's loss."""
        self.wrapped.eval()  # dropout would make sampled and trained log-probs differ
        for layer in self._recomputed:
            layer.training = True
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        ddp = self.wrapped if isinstance(self.wrapped, DistributedDataParallel) else None
        for i, batch in enumerate(self.in_step(list(batches))):
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
            logp, hidden = self.wrapped(packed, batch)
            if batch[0] is BLANK:
                (0.0 * (logp.sum() + hidden.sum())).backward()
                return 0.0
            flat = places(batch)[2]
            self.forwarded["update"] += sum(len(r.ids) for r in batch)
            loss = loss_fn(TokenSlice(flat=flat, logp=logp, hidden=hidden, head=self.tokens.head))
            value = float(loss.detach())
            if not math.isfinite(value):
                self.optimizer.zero_grad(set_to_none=True)
                worst = flat[~logp.detach().isfinite().cpu()][:1].tolist()
                raise LossError(
                    f"update {self.updates + 1}: the loss is {value}"
                    + (f" (token {worst[0]} has no finite log-prob)" if worst else "")
                    + "; no step was taken and the last checkpoint is sound. Lower learner.lr, or look at the rewards"
                )
            (loss * self.ranks.world).backward()  # DDP and FSDP2 average over processes
        return value

    def _totals(self, loss: float, tokens: int, padded: int, splits: int) -> tuple[float, int, int, int]:
        """Sums over processes."""
        if self.ranks.world == 1:
            return loss, tokens, padded, splits
        found = self.ranks.sum(torch.tensor([loss, tokens, padded, splits], dtype=torch.float64)).tolist()
        return found[0], int(found[1]), int(found[2]), int(found[3])

    # ------------------------------------------------------------------ state

    @torch.no_grad()
    def publish(self) -> None:
        """Bring the plain policy (which samplers and exports read) up to date; every process must call."""
        if self.wrapper != "fsdp2":
            return
        plain_weights = dict(self.policy.model.named_parameters())
        for name, p in self.model.named_parameters():
            if p.requires_grad:
                value = parallel.whole(p)
                if not plain_weights[name].is_meta:
                    plain_weights[name].copy_(value)

    def release(self) -> None:
        """Give up this process's plain policy, which nothing may read from now on: only with FSDP2, and not before all
        replicas are made."""
        assert self.wrapper == "fsdp2", "the plain policy is what is trained"
        self.policy.model.to("meta")

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: trained weights by name (an adapter's alone with LoRA); sharded ones as they are."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def optimizer_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Moments as tensors, and step counts, by weight name."""
        return optimizer_state.moments(self.model, self.optimizer)

    def load(self, weights: Any, moments: Any, counts: dict[str, float]) -> None:
        """Restore what `weights` and `optimizer_state` gave, on this or another number of processes.

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

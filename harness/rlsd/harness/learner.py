"""The learner: owns the weights, gives log-probs of rows, takes optimizer steps. Knows no algorithm.

Hidden states are gathered at sampled tokens before the output embedding, so no [T, V] tensor exists: not for
observation tokens, and for sampled ones only a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rlsd.agents.models import Policy, split_head
from rlsd.algorithms.logprobs import chunked_logprobs
from rlsd.harness.config import ConfigError, LearnerConfig
from rlsd.harness.rows import Row

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSlice:
    """What a loss sees of one micro-batch: m of the batch's M tokens."""

    flat: Tensor
    """(m,) int64: numbers of the tokens in the flat batch."""
    logp: Tensor
    """(m,) float32, with gradient: log-prob of the sampled token."""
    hidden: Tensor
    """(m, D), with gradient: hidden state that predicts the token."""
    head: Head
    """Output embedding: (m, D) → (m, V)."""


LossFn = Callable[[TokenSlice], Tensor]
"""Scalar loss of a slice; already divided by the global normaliser, so that slices add up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    loss: float
    grad_norm: float
    tokens: int
    """Tokens with a gradient."""
    padded_tokens: int
    """Columns computed, padding included."""


class Learner:
    """Log-probs and updates for one policy.

    Args:
        policy: the model to train; moved to `settings.device`.
        settings: optimizer, precision, micro-batch size.
        temperature: the sampler's; log-probs are of logits / temperature.
    """

    def __init__(self, policy: Policy, settings: LearnerConfig, *, temperature: float) -> None:
        self.settings = settings
        self.temperature = temperature
        self.accelerator = Accelerator(cpu=settings.device == "cpu")
        if self.accelerator.num_processes != 1:
            raise ConfigError(
                f"started with {self.accelerator.num_processes} processes; this version trains in one. "
                "Start `rlsd train` without torchrun or accelerate launch."
            )
        if settings.device == "cuda" and self.accelerator.device.type != "cuda":
            raise ConfigError("learner.device is 'cuda' but torch sees no CUDA device; set learner.device=cpu")
        self.policy = policy
        weights = [p for p in policy.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            weights, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, eps=1e-8
        )
        self.model, self.optimizer = self.accelerator.prepare(policy.model, optimizer)
        self.updates = 0
        """Optimizer steps taken."""

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def micro_batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows of like length together, at most `micro_tokens` padded columns each; a longer row goes alone."""
        batch: list[Row] = []
        for row in sorted(rows, key=lambda r: -len(r.ids)):
            width = len(batch[0].ids) if batch else len(row.ids)
            if batch and width * (len(batch) + 1) > self.settings.micro_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    @torch.no_grad()
    def logprobs(
        self, rows: Sequence[Row], total: int, *, model: Any = None, keep_hidden: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probs of all sampled tokens of `rows`, in eval mode.

        Returns:
            (M,) float32 on CPU, NaN for tokens no row holds; with `keep_hidden` also the (M, D) hidden states.
        """
        model = self.model if model is None else model
        out = torch.full((total,), float("nan"))
        kept: Tensor | None = None
        model.eval()
        for batch in self.micro_batches(rows):
            flat, hidden, targets = self._sampled(model, batch)
            _, head = split_head(model)
            logp, _ = chunked_logprobs(hidden, head, targets, temperature=self.temperature)
            out[flat] = logp.float().cpu()
            if keep_hidden:
                if kept is None:
                    kept = hidden.new_zeros(total, hidden.shape[-1])
                kept[flat.to(hidden.device)] = hidden
        return out, kept

    def update(self, rows: Sequence[Row], loss_fn: LossFn) -> UpdateStats:
        """One optimizer step on the summed loss of all micro-batches."""
        model = self.model
        model.eval()  # dropout would make sampled and trained log-probs differ
        self.optimizer.zero_grad(set_to_none=True)
        total, tokens, padded = 0.0, 0, 0
        for batch in self.micro_batches(rows):
            flat, hidden, targets = self._sampled(model, batch)
            _, head = split_head(model)
            logp, _ = chunked_logprobs(hidden, head, targets, temperature=self.temperature)
            loss = loss_fn(TokenSlice(flat=flat, logp=logp, hidden=hidden, head=head))
            self.accelerator.backward(loss)
            total += float(loss.detach())
            tokens += len(flat)
            padded += len(batch[0].ids) * len(batch)
        norm = self.accelerator.clip_grad_norm_(model.parameters(), self.settings.grad_clip)
        assert norm is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr_at(self.updates)
        self.optimizer.step()
        self.updates += 1
        return UpdateStats(loss=total, grad_norm=float(norm), tokens=tokens, padded_tokens=padded)

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: trained weights by name (an adapter's alone with LoRA)."""
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def optimizer_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Moments as tensors, and step counts, by weight name."""
        tensors: dict[str, Tensor] = {}
        counts: dict[str, float] = {}
        for name, p in self.model.named_parameters():
            held = self.optimizer.state.get(p, {})
            for key, value in held.items():
                if key == "step":
                    counts[name] = float(value)
                else:
                    tensors[f"{name}/{key}"] = value
        return tensors, counts

    def load(self, weights: dict[str, Tensor], moments: dict[str, Tensor], counts: dict[str, float]) -> None:
        """Restore what `weights` and `optimizer_state` gave.

        Raises:
            KeyError: a weight is missing.
            RuntimeError: a weight has another shape.
        """
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                if p.requires_grad:
                    p.copy_(weights[name])
        for name, p in self.model.named_parameters():
            if name not in counts:
                continue
            held: dict[str, Any] = {"step": torch.tensor(counts[name])}
            prefix = f"{name}/"
            held |= {k.removeprefix(prefix): v.to(p.device) for k, v in moments.items() if k.startswith(prefix)}
            self.optimizer.state[p] = held

    def _sampled(self, model: Any, batch: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """(m,) flat numbers on CPU, (m, D) predicting hidden states, (m,) target ids."""
        ids, positions, mask = collate(batch)
        device = next(model.parameters()).device
        backbone, _ = split_head(model)
        hidden = backbone(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=None if mask is None else mask.to(device),
            use_cache=False,
        ).last_hidden_state
        row_of, column, flat = places(batch)
        picked = hidden[row_of.to(device), (column - 1).to(device)]
        return flat, picked, ids[row_of, column].to(device)


def collate(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pad rows on the right.

    Returns:
        (B, T) ids, (B, T) positions, and (B, 1, T, T) bool of what each column may see; None where plain causal
        attention is right (padding stands behind everything, so no real token can see it).
    """
    width = max(len(r.ids) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.arange(width).repeat(len(rows), 1)
    for b, row in enumerate(rows):
        ids[b, : len(row.ids)] = torch.tensor(row.ids)
        if row.branches:
            positions[b, : len(row.ids)] = torch.tensor(row.positions())
    if not any(r.branches for r in rows):
        return ids, positions, None
    owner = torch.zeros(len(rows), width, dtype=torch.long)
    fork = torch.zeros(len(rows), width, dtype=torch.long)
    for b, row in enumerate(rows):
        for i, branch in enumerate(row.branches, start=1):
            owner[b, branch.start : branch.stop] = i
            fork[b, branch.start : branch.stop] = branch.fork
    columns = torch.arange(width)
    same = (owner[:, :, None] == owner[:, None, :]) & (columns[None, :, None] >= columns[None, None, :])
    trunk = (owner[:, None, :] == 0) & (columns[None, None, :] < fork[:, :, None])
    return ids, positions, (same | trunk)[:, None]


def places(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """(m,) row, (m,) column and (m,) flat number of every sampled token of `rows`."""
    row_of: list[int] = []
    column: list[int] = []
    flat: list[int] = []
    for b, row in enumerate(rows):
        for place in row.places:
            row_of += [b] * place.count
            column += range(place.column, place.column + place.count)
            flat += range(place.flat, place.flat + place.count)
    return torch.tensor(row_of), torch.tensor(column), torch.tensor(flat)

"""Gradients without an optimizer step: the policy gradient of several credits over the same tokens.

    g_c = Σ_t c_t ∇ log π(y_t),    e = Σ_t u_t ∇ H(π(· | s_t))

A micro-batch goes forward once and back once for each credit c. g is exact, in float32, and linear in c. A model whose
gradients do not fit into memory side by side is sketched instead: CountSketch (Charikar, Chen, Farach-Colton 2002) adds
every coordinate with a random sign to one of D, which is linear too and keeps inner products up to a standard error of
about 1/√D of the two norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlsd.agents.seeding import derive
from rlsd.algorithms.logprobs import chunked_logprobs
from rlsd.harness.learner.learner import Learner
from rlsd.harness.scoring.sequences import Row
from rlsd.harness.scoring.token_model import apart, micro_batches, packed, places


class Sketch:
    """Maps a gradient, given as one tensor per weight, to D numbers; the same seed gives the same map.

    Args:
        dims: D; 0 keeps every coordinate (exact).
    """

    def __init__(self, dims: int, *, seed: int = 0) -> None:
        self.dims = dims
        self.seed = seed

    def __call__(self, gradient: Sequence[Tensor]) -> Tensor:
        """(D,) float32 on the CPU, or (P,) if exact."""
        flat = [g.detach().float().flatten() for g in gradient]
        if not self.dims:
            return torch.cat(flat).cpu()
        out = torch.zeros(self.dims)
        for number, part in enumerate(flat):
            draw = torch.Generator().manual_seed(derive(self.seed, "sketch", number))
            place = torch.randint(self.dims, part.shape, generator=draw)
            sign = torch.randint(2, part.shape, generator=draw) * 2 - 1
            out.index_add_(0, place, part.cpu() * sign)
        return out


class Gradients:
    """Policy and entropy gradients of the weights that `learner` trains, in eval mode, on one process.

    Args:
        learner: its weights stay as they are.
        sketch: what is kept of each gradient.
    """

    def __init__(self, learner: Learner, sketch: Sketch) -> None:
        self.learner = learner
        self.sketch = sketch
        self.weights = [p for p in learner.model.parameters() if p.requires_grad]

    @property
    def size(self) -> int:
        """P, the number of trained weights."""
        return sum(p.numel() for p in self.weights)

    def policy(self, rows: Sequence[Row], credits: Tensor) -> Tensor:
        """(C, D) gradients of the log-probs of `rows`, weighted by the (C, M) `credits` of the flat batch's tokens."""
        return self._sums(rows, credits, None)

    def policy_and_entropy(self, rows: Sequence[Row], credits: Tensor, weight: Tensor) -> Tensor:
        """The same, and in the last of C + 1 rows the gradient of the entropies weighted by the (M,) `weight`."""
        return self._sums(rows, credits, weight)

    def sketch_error(self, rows: Sequence[Row], credits: Tensor) -> float:
        """Largest difference between a sketched and an exact cosine of the first credit's gradient with another's, over
        the first micro-batch; 0 where gradients are exact."""
        if not self.sketch.dims or len(credits) < 2:
            return 0.0
        exact, first, worst = Sketch(0), None, 0.0
        logp, _, flat = self._forward(self._batches(rows, credits)[0])
        for credit in credits:
            found = self._back(logp, credit[flat])
            pair = exact(found), self.sketch(found)
            first = first or pair
            worst = max(worst, abs(_cosine(first[0], pair[0]) - _cosine(first[1], pair[1])))
        return worst

    def _sums(self, rows: Sequence[Row], credits: Tensor, weight: Tensor | None) -> Tensor:
        out = torch.zeros(len(credits) + (weight is not None), self.sketch.dims or self.size)
        for batch in self._batches(rows, credits):
            logp, entropy, flat = self._forward(batch, entropy=weight is not None)
            for number, credit in enumerate(credits[:, flat]):
                if bool(credit.any()):
                    out[number] += self.sketch(self._back(logp, credit))
            if weight is not None and entropy is not None:
                out[-1] += self.sketch(self._back(entropy, weight[flat]))
        return out

    def _batches(self, rows: Sequence[Row], credits: Tensor) -> list[list[Row]]:
        """Micro-batches of rows that the same credits leave out (mostly groups without contrast): whole backward
        passes fall away."""
        tokens = self.learner.tokens
        alike: dict[tuple[bool, ...], list[Row]] = {}
        for row in apart(tokens, rows):
            counts = tuple((credits[:, places([row])[2]] != 0).any(1).tolist())
            alike.setdefault(counts, []).append(row)
        limit, largest = self.learner.settings.micro_batch_tokens, None if tokens.blocks else tokens.largest_mask
        return [
            batch
            for some in alike.values()
            for batch in micro_batches(some, limit, masks=tokens.masks, largest_mask=largest)
        ]

    def _forward(self, batch: Sequence[Row], *, entropy: bool = False) -> tuple[Tensor, Tensor | None, Tensor]:
        """(m,) log-probs and entropies with their graph, and the tokens' numbers in the flat batch."""
        tokens = self.learner.tokens
        tokens.eval()
        logp, hidden, _ = tokens(packed, batch)
        spread = None
        if entropy:
            nothing = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
            spread = chunked_logprobs(hidden, tokens.head, nothing, temperature=tokens.temperature, entropy=True)[1]
        return logp, spread, places(batch)[2]

    def _back(self, values: Tensor, credit: Tensor) -> list[Tensor]:
        given = credit.to(values.device, values.dtype)
        found = torch.autograd.grad(values, self.weights, given, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(self.weights, found)]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0, eps=1e-30))

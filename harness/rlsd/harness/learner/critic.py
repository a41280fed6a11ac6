"""The value of a turn: a small head on the policy's own hidden states, trained on Monte-Carlo returns.

    V_k  = f(norm(h_k)), h_k the hidden state at the last prompt token of turn k, detached; norm has no parameters
    f    linear, or with `width` linear, tanh, linear; its last layer starts at 0, so V = 0 at first
    loss = mean over the turns of all processes of (V_k − G_k)², G_k the discounted rewards from turn k on

The head is float32, has its own Adam and takes `steps` steps on the whole iteration. The policy gets no gradient from
it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlsd.agents.seeding import derive
from rlsd.algorithms import CriticConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.learner import optimizer_state


class Critic:
    """Values of states and their training.

    Args:
        size: D, of the hidden states.
        settings: layers and optimizer.
        seed: of the run.
        ranks: the run's processes, which hold equal heads; all must call `fit` together.
    """

    def __init__(self, size: int, settings: CriticConfig, *, seed: int, ranks: Ranks) -> None:
        self.settings = settings
        self.ranks = ranks
        self.size = size
        width = settings.width
        layers: list[nn.Module] = [nn.utils.skip_init(nn.Linear, width or size, 1)]
        if width:
            layers = [nn.utils.skip_init(nn.Linear, size, width), nn.Tanh(), *layers]
        self.head = nn.Sequential(*layers)
        with torch.no_grad():
            for p in self.head.parameters():
                p.zero_()
            if width:
                drawn = torch.Generator().manual_seed(derive(seed, "critic"))
                next(self.head.parameters()).copy_(torch.randn(width, size, generator=drawn) / size**0.5)
        self.head.to(ranks.device)
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.lr)

    @torch.no_grad()
    def values(self, hidden: Tensor) -> Tensor:
        """Return V (k,) float32 on the CPU of hidden states (k, D)."""
        return self._values(hidden).cpu()

    def fit(self, hidden: Tensor, returns: Tensor) -> float:
        """Train on this process's turns: hidden states (k, D) and returns (k,); return the loss before the first step.

        The loss is the mean over the turns of all processes, NaN if there are none.
        """
        count = self.ranks.sum(torch.tensor([len(returns)], dtype=torch.float64))
        if not count:
            return float("nan")
        hidden, targets = self._normal(hidden), returns.float().to(self.ranks.device)
        first = float("nan")
        for step in range(self.settings.steps):
            self.optimizer.zero_grad(set_to_none=False)
            loss = ((self.head(hidden).squeeze(1) - targets) ** 2).sum() / float(count)
            loss.backward()
            for p in self.head.parameters():
                if p.grad is not None:
                    p.grad = self.ranks.sum(p.grad)
            self.optimizer.step()
            if step == 0:
                first = float(self.ranks.sum(loss.detach().double()))
        return first

    def state(self) -> dict[str, Tensor]:
        """Weights, moments and step counts for a checkpoint."""
        moments, counts = optimizer_state.moments(self.head, self.optimizer)
        weights = {f"weight/{name}": p.detach() for name, p in self.head.named_parameters()}
        steps = {f"step/{name}": torch.tensor(n, dtype=torch.float64) for name, n in counts.items()}
        return weights | {f"moment/{name}": value for name, value in moments.items()} | steps

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`.

        Raises:
            KeyError: a weight is missing.
            RuntimeError: a weight has another shape.
        """
        kinds: dict[str, dict[str, Tensor]] = {"weight": {}, "moment": {}, "step": {}}
        for key in state:
            kind, _, name = key.partition("/")
            kinds[kind][name] = state[key]
        counts = {name: float(n) for name, n in kinds["step"].items()}
        optimizer_state.put_back(self.head, self.optimizer, kinds["weight"], kinds["moment"], counts)

    def _values(self, hidden: Tensor) -> Tensor:
        return self.head(self._normal(hidden)).squeeze(1)

    def _normal(self, hidden: Tensor) -> Tensor:
        return nn.functional.layer_norm(hidden.detach().float().to(self.ranks.device), (self.size,))

"""The learner's weights, to be sent to servers and to compute log-probs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor

from rlsd.agents.hf.models import Policy


class WeightSource(Protocol):
    """Source of the current weights: a policy in this process, or a sharded one that is gathered first."""

    def write(self, folder: Path, *, adapter: bool) -> None:
        """Write the current weights as a transformers folder (with `adapter`: a PEFT adapter folder)."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All current weights, by their names in a transformers folder; not copies."""
        ...

    def logps(self, ids: Sequence[int]) -> list[float]:
        """Log-probs in nats of ids[1:] under the current weights, at temperature 1."""
        ...


class Peers(Protocol):
    """The learner's processes: the main one sends weights, the others wait for it."""

    @property
    def main(self) -> bool: ...

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, the main one's first, on every process."""
        ...


class Alone:
    """A single process."""

    main = True

    def gather(self, value: Any) -> list[Any]:
        return [value]


class PolicyWeights:
    """The weights of a policy in this process."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def write(self, folder: Path, *, adapter: bool) -> None:
        if adapter:
            self.policy.model.save_pretrained(folder)
        else:
            write_full(self.policy.model, folder)

    def tensors(self) -> dict[str, Tensor]:
        """Includes the output embedding even if tied to the input's: vLLM's CPU build keeps a packed copy of it, and
        reloads it only by name."""
        return {name: tensor.detach() for name, tensor in self.policy.model.state_dict().items()}

    @torch.inference_mode()
    def logps(self, ids: Sequence[int]) -> list[float]:
        model = self.policy.model
        model.eval()
        tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)
        logp = torch.log_softmax(model(input_ids=tokens).logits[0, :-1].float(), dim=-1)
        return logp.gather(-1, tokens[0, 1:, None]).squeeze(-1).tolist()


def write_full(model: Any, folder: Path) -> None:
    """Every weight under its own name, as in `PolicyWeights.tensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        weights[name] = tensor.detach().clone() if shared else tensor.detach().contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)

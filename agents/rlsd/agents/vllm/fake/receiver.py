"""Weight transfer of the fake server: handles the requests of vLLM's worker, over gloo."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlsd.agents.vllm.fake.state import FakeState, Refused
from rlsd.agents.vllm.plugin import BACKENDS
from rlsd.agents.vllm.process_group import GlooGroup

TIMEOUT_S = 60.0


class Receiver:
    """One worker's side of a group."""

    def __init__(self, fake: FakeState) -> None:
        self._fake = fake
        self._group: GlooGroup | None = None
        self._fresh: dict[str, Tensor] | None = None
        """Weights of the current update."""
        self.meetings = 0
        """Number of groups formed."""

    def meet(self, meeting: dict[str, Any]) -> dict[str, str]:
        if self._fake.wrong.transfer != BACKENDS["gloo"]:
            raise Refused("Weight transfer not configured. Please set weight_transfer_config to enable it.")
        self.close()
        host, port, world = meeting["master_address"], meeting["master_port"], meeting["world_size"]
        self._group = GlooGroup(host, port, rank=meeting["rank_offset"], world=world, timeout_s=TIMEOUT_S)
        self.meetings += 1
        return {"message": "Weight transfer initialized"}

    def start(self) -> dict[str, str]:
        if self._fresh is not None:
            raise Refused("start_weight_update called while a weight update is already active")
        self._fresh = {}
        return {"message": "Weight update started"}

    def receive(self, update: dict[str, Any]) -> dict[str, str]:
        if self._fresh is None:
            raise Refused("start_weight_update must be called before update_weights")
        try:
            if self._group is None:
                raise Refused("weight transfer not initialized")
            for name, dtype, shape in zip(update["names"], update["dtype_names"], update["shapes"], strict=True):
                if self._fresh and self._fake.wrong.broken_transfers > 0:
                    self._fake.wrong.broken_transfers -= 1
                    raise RuntimeError("connection lost")
                self._fresh[name] = torch.empty(shape, dtype=getattr(torch, dtype))
                self._group.broadcast(self._fresh[name])
        except RuntimeError as error:  # the learner disconnected
            self._fresh = self._group = None
            raise Refused(str(error)) from error
        except Refused:
            self._fresh = None
            raise
        return {"message": "Weights updated"}

    def finish(self) -> dict[str, str]:
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            raise Refused("finish_weight_update called without a matching start_weight_update")
        if fresh:
            self._fake.load_weights(fresh)
        return {"message": "Weight update finished"}

    def shut_down(self) -> dict[str, str]:
        if self._fresh is not None:
            raise Refused("Cannot release a trainer connection during a weight update")
        self.close()
        return {"message": "Weight transfer shut down"}

    def close(self) -> None:
        self._group = None

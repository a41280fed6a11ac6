"""The server side of `rlsd_gloo`, imported only by vLLM's workers. vLLM's NCCL engine with another process group: the
same messages and layer-by-layer reload, so that CPU builds also repack their packed weights."""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

from typing import Any

import torch
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

from rlsd.agents.vllm.gloo import GlooGroup

TIMEOUT_S = 600.0


class GlooTransferEngine(NCCLWeightTransferEngine):
    """Receives weights from a learner's gloo group."""

    group: GlooGroup | None = None

    def init_transfer_engine(self, init_info: Any) -> None:
        parallel = self.parallel_config
        worker = parallel.data_parallel_index * parallel.world_size + parallel.rank
        self.group = None  # an earlier learner may have left one
        self.group = GlooGroup(
            init_info.master_address,
            init_info.master_port,
            rank=init_info.rank_offset + worker,
            world=init_info.world_size,
            timeout_s=TIMEOUT_S,
        )

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Any) -> None:
        if self.group is None:
            raise RuntimeError("no learner has connected: call /init_weight_transfer_engine first")
        try:
            for name, dtype, shape in zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True):
                tensor = torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
                self.group.broadcast(tensor)
                self.model.load_weights([(name, tensor.to(self.device))])
        except BaseException:
            self.group = None  # so that the learner fails too
            raise

    def shutdown(self) -> None:
        self.group = None

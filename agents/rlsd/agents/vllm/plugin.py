"""A vLLM plug-in (entry point `vllm.general_plugins`): servers that receive weights over TCP, on any device.

It is loaded if rlsd is installed in vLLM's environment (`pip install --no-deps rlsd` is enough) and does nothing until
a server is started with `--weight-transfer-config '{"backend": "rlsd_gloo"}'` (`rlsd serve policy --transfer gloo`).
This module needs neither vLLM nor torch; only `GlooTransferEngine`, which vLLM's workers ask for by name, does.
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

import functools
from typing import Any

BACKENDS = {"nccl": "nccl", "gloo": "rlsd_gloo"}
"""vLLM's names of its tensor transfer back-ends; the second is this plug-in's."""
TIMEOUT_S = 600.0
"""Maximum wait of a worker for the learner, in seconds."""


def register() -> None:
    """Register the back-end with vLLM; does nothing for a vLLM without weight transfer."""
    try:
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory
    except ImportError:
        return
    ours = BACKENDS["gloo"]
    if ours not in WeightTransferEngineFactory._registry:  # vLLM may load plug-ins more than once per process
        WeightTransferEngineFactory.register_engine(ours, __name__, "GlooTransferEngine")


def __getattr__(name: str) -> Any:
    """`GlooTransferEngine`, defined when it is asked for: its base class is vLLM's."""
    if name != "GlooTransferEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _engine()


@functools.cache
def _engine() -> type[Any]:
    import torch
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

    from rlsd.agents.vllm.process_group import GlooGroup

    class GlooTransferEngine(NCCLWeightTransferEngine):
        """Receives weights from a learner's gloo group. It is vLLM's NCCL engine with another process group: the same
        messages and layer-by-layer reload, so that CPU builds also repack their packed weights."""

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
            infos = zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True)
            try:
                for name, dtype, shape in infos:
                    tensor = torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
                    self.group.broadcast(tensor)
                    self.model.load_weights([(name, tensor.to(self.device))])
            except BaseException:
                self.group = None  # so that the learner fails too
                raise

        def shutdown(self) -> None:
            self.group = None

    return GlooTransferEngine

"""A vLLM plug-in (entry point `vllm.general_plugins`): servers that can be sent weights over TCP, on any device.

It is loaded where rlsd is installed beside vLLM (`pip install --no-deps rlsd` is enough) and does nothing until a
server is started with `--weight-transfer-config '{"backend": "rlsd_gloo"}'` (`rlsd serve policy --transfer gloo`).
"""

from __future__ import annotations

BACKENDS = {"nccl": "nccl", "gloo": "rlsd_gloo"}
"""vLLM's names for the ways in which a server receives weights as tensors; the second is this plug-in's."""


def register() -> None:
    """Offer the back-end to vLLM; a vLLM without weight transfer is left as it is."""
    try:
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    ours = BACKENDS["gloo"]
    if ours not in WeightTransferEngineFactory._registry:  # vLLM loads plug-ins once in each process, at least
        WeightTransferEngineFactory.register_engine(ours, "rlsd.agents.vllm.engine", "GlooTransferEngine")

"""A vLLM plug-in (entry point `vllm.general_plugins`): servers that receive weights over TCP, on any device.

It is loaded if rlsd is installed in vLLM's environment (`pip install --no-deps rlsd` is enough) and does nothing until
a server is started with `--weight-transfer-config '{"backend": "rlsd_gloo"}'` (`rlsd serve policy --transfer gloo`).
"""

from __future__ import annotations

BACKENDS = {"nccl": "nccl", "gloo": "rlsd_gloo"}
"""vLLM's names of its tensor transfer back-ends; the second is this plug-in's."""


def register() -> None:
    """Register the back-end with vLLM; does nothing for a vLLM without weight transfer."""
    try:
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    ours = BACKENDS["gloo"]
    if ours not in WeightTransferEngineFactory._registry:  # vLLM may load plug-ins more than once per process
        WeightTransferEngineFactory.register_engine(ours, "rlsd.agents.vllm.engine", "GlooTransferEngine")

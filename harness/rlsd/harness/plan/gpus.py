"""GPUs by name: memory, bandwidth and peak rates from the vendors' data sheets (dense, without sparsity)."""

from __future__ import annotations

from dataclasses import dataclass

from rlsd.envs.errors import closest
from rlsd.harness.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device."""

    memory_gb: float
    """10⁹ bytes."""
    bandwidth_tb: float
    """Of its memory, 10¹² bytes a second."""
    bfloat16_tflops: float
    float32_tflops: float
    """Without TF32, which rlsd does not use."""
    link_gb: float
    """To another GPU or the host, one way, 10⁹ bytes a second."""


def _gpu(memory: float, bandwidth: float, low: float, full: float, link: float) -> Gpu:
    return Gpu(memory_gb=memory, bandwidth_tb=bandwidth, bfloat16_tflops=low, float32_tflops=full, link_gb=link)


GPUS = {
    "B200": _gpu(180, 8.0, 2_250, 75, 900),
    "H200": _gpu(141, 4.8, 989, 67, 450),
    "H100": _gpu(80, 3.35, 989, 67, 450),
    "A100-80": _gpu(80, 2.04, 312, 19.5, 300),
    "A100-40": _gpu(40, 1.56, 312, 19.5, 300),
    "L40S": _gpu(48, 0.864, 362, 91.6, 32),
    "L4": _gpu(24, 0.3, 121, 30.3, 32),
    "A10": _gpu(24, 0.6, 125, 31.2, 32),
    "4090": _gpu(24, 1.01, 165, 82.6, 32),
    "3090": _gpu(24, 0.936, 71, 35.6, 32),
}


def find_gpu(name: str) -> Gpu:
    """
    Raises:
        ConfigError: unknown; names the closest.
    """
    for known, gpu in GPUS.items():
        if known.lower() == name.lower():
            return gpu
    raise ConfigError(f"no data of a GPU called {name!r}{closest(name, GPUS)}")

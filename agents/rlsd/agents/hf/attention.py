"""Why a model does not load with an attention implementation, in one line with what to do about it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

FLASH = {
    "flash_attention_2": ("flash-attn", "pip install flash-attn --no-build-isolation"),
    "flash_attention_3": (
        "flash-attn-3",
        "git clone https://github.com/Dao-AILab/flash-attention && pip install --no-build-isolation "
        "./flash-attention/hopper",
    ),
}
"""Implementation → its package, and how to install it. The third version is on no package index."""


def refusal(error: Exception, attention: str) -> str:
    """The reason in `error`, which loading a model with `attention` raised."""
    text = " ".join(str(error).split())
    if "does not support an attention implementation" in text:
        return f"{text.split()[0]} does not run with {attention} attention; set model.attention=eager"
    if attention in FLASH and isinstance(error, ImportError) and not _installed(FLASH[attention][0]):
        package, how = FLASH[attention]
        return f"{attention} needs the package {package}, and a CUDA GPU: {how}; or set model.attention=sdpa"
    return f"{type(error).__name__}: {text[:300]}"


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True

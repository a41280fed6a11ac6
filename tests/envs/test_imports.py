"""`rlsd.envs` stands alone: no module of it, however deep, pulls in torch or another layer."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import rlsd.envs
at_once = set(sys.modules)
for module in pkgutil.walk_packages(rlsd.envs.__path__, "rlsd.envs."):
    importlib.import_module(module.name)
heavy = {"torch", "transformers", "accelerate", "rlsd.agents", "rlsd.algorithms", "rlsd.harness"}
print(sorted(heavy & at_once), sorted(heavy & set(sys.modules)))
"""


def test_no_module_of_envs_imports_torch_or_another_layer() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] []"

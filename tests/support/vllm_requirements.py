"""Prints what a downloaded vLLM wheel needs beside torch and its build tools; the argument is the wheel's folder."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "cmake"}
"""torch is installed beforehand, in a version of our choice; the others are not used by the tests."""


def requirements(wheel: Path) -> list[str]:
    """Requirements of a wheel without extras, in its order."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("Requires-Dist:")]
    needed = [r for r in found if "extra ==" not in r]
    return [r for r in needed if re.split(r"[^A-Za-z0-9._-]", r)[0].lower() not in LEFT_OUT]


if __name__ == "__main__":
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    print("\n".join(requirements(wheel)))

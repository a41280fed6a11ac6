"""The script for the first minutes on a GPU: whatever becomes of a stage, the others go on and say so."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_first.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_first", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


def bench(script: ModuleType, out: Path, *, seconds: float = 60.0):
    made = script.Bench(out=out, model=script.TINY, dry=True, ends=time.monotonic() + seconds)
    made.log = io.StringIO()
    return made


def test_a_stage_that_fails_or_lacks_something_is_data(script: ModuleType, tmp_path: Path) -> None:
    def fails(_bench: object, _limit: float) -> dict[str, object]:
        raise RuntimeError("no kernel\nimage")

    def lacks(_bench: object, _limit: float) -> dict[str, object]:
        raise script.Missing("vLLM is not installed")

    stages = {"parity": fails, "transfer": lacks, "facts": script.facts}
    made = bench(script, tmp_path)
    states = {name: script.play(made, name, stage) for name, stage in stages.items()}
    assert [(s["state"], s.get("why")) for s in states.values()] == [
        ("failed", "RuntimeError: no kernel image"),
        ("left out", "vLLM is not installed"),
        ("done", None),
    ]
    assert json.loads((tmp_path / "parity.json").read_text())["state"] == "failed"
    assert json.loads((tmp_path / "facts.json").read_text())["figures"]["torch"]


def test_a_stage_without_time_is_left_out(script: ModuleType, tmp_path: Path) -> None:
    assert script.play(bench(script, tmp_path, seconds=0.5), "facts", script.facts)["why"] == "no time was left"


def test_a_command_that_hangs_or_does_not_stop_is_ended(script: ModuleType, tmp_path: Path) -> None:
    made, failed = bench(script, tmp_path), sys.modules[script.Bench.__module__].Failed
    made.grace_s = 1.0
    with pytest.raises(failed, match="was not done within 1 s"):
        made.run(["-c", "import time; time.sleep(60)"], limit=1.0)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    began = time.monotonic()
    assert made.run(["-c", deaf], limit=3.0, stops=True) == "up\n"
    assert time.monotonic() - began < 30
    with pytest.raises(failed, match="exit code 3: it broke"):
        made.run(["-c", "print('it broke'); raise SystemExit(3)"], limit=30.0)


def test_on_a_machine_without_a_gpu_facts_fail_and_say_so(script: ModuleType, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    made = bench(script, tmp_path)
    made.dry = False
    assert script.play(made, "facts", script.facts)["why"] == "Failed: torch sees no CUDA device"
    assert script.play(made, "transfer", script.transfer)["why"] == "vLLM is not installed"


def test_weights_are_left_behind(script: ModuleType, tmp_path: Path) -> None:
    for part in ("grpo/best/model.safetensors", "grpo/metrics.jsonl", "start/model.safetensors"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_text("{}")
    script.tidy(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == ["grpo/metrics.jsonl"]


def test_without_a_model_one_line_says_where_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--model", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no model folder; `rlsd fetch smollm2` makes models/smollm2" in done.stderr


def test_parity_compares_every_way_of_computing_log_probs(script: ModuleType, tmp_path: Path) -> None:
    found = script.play(bench(script, tmp_path, seconds=1200.0), "parity", script.parity)
    assert found["state"] == "done", found
    figures = found["figures"]
    assert {"sampler", "packed", "shared", "pieces", "plain"} <= set(figures["ways"])
    assert max(figures["ways"].values()) < figures["tolerance"]["float32"]
    assert 0 < figures["bfloat16_mean"] < figures["tolerance"]["bfloat16"]


@pytest.mark.slow
def test_every_stage_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--out", str(tmp_path), "--dry-run", "--minutes", "15"]
    done = subprocess.run(
        [*command, *(f"--only={s}" for s in ("facts", "parity", "speed", "transfer"))], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert {s["state"] for s in json.loads(done.stdout.splitlines()[-1]).values()} == {"done"}

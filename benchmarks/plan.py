"""Planned memory beside measured: the peak of a process that samples, scores and updates at the sizes of a plan.

Each config runs in a process of its own with random weights: the prompts of all episodes and their last
tokens through the sampler, one micro-batch of scoring, two updates. Measured is the growth of resident memory, with an
allocator that gives freed blocks back; on a GPU what torch's allocator counts. The last line is one JSON object.

    python benchmarks/plan.py [--only quickstart] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
SMOLLM2 = ["model.path=SmolLM2-135M", "agent.context=512", "agent.max_new_tokens=16"]
SMALL = [*SMOLLM2, "rollout.group_size=4", "rollout.tasks_per_iteration=2", "rollout.max_concurrent=8"]
CONFIGS: dict[str, tuple[str, list[str]]] = {
    "quickstart": ("configs/quickstart.yaml", []),
    "warm start": ("configs/alfworld/warm_tiny.yaml", []),
    "SmolLM2": ("configs/alfworld/rlsd_smollm2.yaml", [*SMALL, "learner.micro_batch_tokens=1024"]),
    "SmolLM2, LoRA, recomputed": (
        "configs/alfworld/rlsd_smollm2.yaml",
        [*SMALL, "learner.micro_batch_tokens=2048", "learner.gradient_checkpointing=true", "model.lora={}"],
    ),
    "SmolLM2, LoRA over 4 bits": (
        "configs/alfworld/rlsd_smollm2.yaml",
        [*SMALL, "learner.micro_batch_tokens=1024", "model.lora={quantize: nf4}"],
    ),
}
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}


def status(key: str) -> int:
    """Bytes that /proc/self/status gives for a key."""
    line = next(li for li in Path("/proc/self/status").read_text().splitlines() if li.startswith(key))
    return int(line.split()[1]) * 1024


def used(device: str) -> int:
    """Bytes in use."""
    return torch.cuda.memory_allocated() if device == "cuda" else status("VmRSS")


def growth(work: Callable[[], Any], device: str) -> int:
    """Peak of the memory in use during `work`, above what is there before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = used(device)
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = used(device)
    work()
    return status("VmHWM") - before


def loaded(config: Any) -> Any:
    """The model of a run, with random weights: of a plan's shapes, or packed into 4 bits as a run loads it."""
    import transformers
    from transformers import AutoModelForCausalLM

    from rlsd.agents.hf.policy import Policy
    from rlsd.agents.hf.quantized import exact_on_cpu, nf4
    from rlsd.harness.iteration.policies import with_lora
    from rlsd.harness.plan.shapes import shaped

    lora = config.model.lora
    if lora is None or lora.quantize is None:
        return shaped(config).to(config.learner.device)
    whole = config.model_copy(update={"model": config.model.model_copy(update={"lora": None})})
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        shaped(whole).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=nf4(torch.float32),
            device_map={"": config.learner.device},
            dtype=torch.float32,
            trust_remote_code=False,
        )
    exact_on_cpu(model)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # else pages of the file count, as they are touched
    policy = Policy(model=model, tokenizer=None, eos_ids=frozenset(), context=0)
    return with_lora(policy, lora, seed=config.seed).model.eval()


def measure(name: str, device: str) -> None:
    """Print planned and measured bytes of one config."""
    from rlsd.agents.hf.generator import CachedEpisode, Generator
    from rlsd.agents.hf.policy import Policy
    from rlsd.agents.types import EpisodeKey, SampleRequest
    from rlsd.algorithms import needs_teacher
    from rlsd.harness.config import load_config
    from rlsd.harness.distributed import Ranks
    from rlsd.harness.learner.learner import Learner
    from rlsd.harness.plan.planned import plan
    from rlsd.harness.scoring.scorer import Scorer

    file, overrides = CONFIGS[name]
    config = load_config(ROOT / file, [*overrides, f"learner.device={device}"])
    torch.set_num_threads(1)
    made = plan(config)
    episode, imitates = made.episode, config.algorithm.imitates
    start = used(device)
    model = loaded(config)
    lasting = {"weights": used(device) - start}
    learner = Learner(
        Policy(model=model, tokenizer=None, eos_ids=frozenset(), context=episode.row),
        config.learner,
        temperature=1.0,
        ranks=Ranks(device=torch.device(device)),
    )
    scorer = Scorer(learner.tokens, config.learner, learner.ranks)
    both = [episode.both()] * made.scoring.rows
    trained = [episode.both() if imitates else episode.student()] * made.update.rows
    total = max(p.flat + p.count for p in both[0].places)
    stages: dict[str, int] = {}
    if not imitates:
        generator = Generator(model, eos_ids=frozenset(), temperature=1.0, seed=0)
        episodes = [CachedEpisode(slot=b) for b in range(made.sampling.step.rows)]

        def sample() -> None:
            for turn, prompt in enumerate((episode.row - episode.response, episode.row - 1)):
                requests = [
                    SampleRequest(
                        key=EpisodeKey("plan", 0, 0, b), turn=turn, prompt_ids=(0,) * prompt, max_new_tokens=1
                    )
                    for b in range(len(episodes))
                ]
                generator.generate(list(zip(requests, episodes)), slots=len(episodes), version=0)

        before = used(device)
        peak = growth(sample, device)
        lasting["sampler's keys and values"] = used(device) - before
        stages["rollout"] = peak - lasting["sampler's keys and values"]
    if needs_teacher(config.algorithm, 0):
        stages["scoring"] = growth(lambda: scorer.logprobs(both, total), device)
    learner.update(trained[:1], lambda part: part.logp.sum())  # makes the moments
    lasting["moments"] = made.memory.lasting["moments"]
    learner.optimizer.zero_grad(set_to_none=True)
    stages["update"] = growth(lambda: learner.update([*trained, *trained], lambda part: part.logp.sum()), device)
    planned = {k: v for k, v in made.memory.stages.items() if k in stages}
    print(
        json.dumps(
            {
                "planned": {**made.memory.lasting, **planned, "peak": made.memory.peak},
                "measured": {**lasting, **stages, "peak": sum(lasting.values()) + max(stages.values())},
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(CONFIGS), action="append")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--measure", choices=list(CONFIGS), help="this one, in this process")
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.device)
        return
    report = {}
    for name in arguments.only or CONFIGS:
        command = [sys.executable, "-W", "ignore", __file__, "--measure", name, "--device", arguments.device]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ALLOCATOR)
        found = json.loads(done.stdout.splitlines()[-1])
        planned, measured = found["planned"], found["measured"]
        print(name)
        for key, value in measured.items():
            print(f"  {key}: planned {planned[key] / 2**20:,.1f} MiB, measured {value / 2**20:,.1f}")
        report[name] = {**found, "planned_over_measured": round(planned["peak"] / measured["peak"], 4)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()

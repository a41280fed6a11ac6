"""What each process of a sharded learner holds when servers sample; run by torchrun, tells it as one line of JSON.

python -m torch.distributed.run --nproc_per_node 2 -m tests.support.sharded_and_served CONFIG
"""

from __future__ import annotations

import json
import sys
from typing import Any

from torch.distributed.tensor import DTensor

from rlsd.agents.vllm.checks import PROBE
from rlsd.agents.vllm.source import PolicyWeights
from rlsd.harness.config import load_config
from rlsd.harness.distributed import open_ranks
from rlsd.harness.iteration.parts import build
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration
from tests.support.plain_worlds import odd_tokens


def main() -> None:
    config = load_config(sys.argv[1])
    ranks = open_ranks("cpu", processes=2, timeout_s=300)
    parts = build(config, ranks=ranks)
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    iteration.run(0)
    iteration.close()
    ids = parts.policy.tokenizer.encode(PROBE, add_special_tokens=False)
    held: dict[str, Any] = {
        "plain": sorted({p.device.type for p in parts.policy.model.parameters()}),
        "sharded": all(isinstance(p, DTensor) for p in parts.learner.model.parameters()),
        "probe": parts.scorer.probe(ids),
        "plain_probe": PolicyWeights(parts.policy).logps(ids) if ranks.main else None,
        "updates": parts.learner.updates,
    }
    parts.sampler.close()
    found = ranks.gather(held)
    if ranks.main:
        print(json.dumps(found))
    ranks.close()


if __name__ == "__main__":
    main()

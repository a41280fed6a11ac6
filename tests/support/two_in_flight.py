"""Several iterations in flight in two learner processes whose responses are interrupted; run by torchrun, tells as one
line of JSON what each process saw.

python -m torch.distributed.run --nproc_per_node 2 -m tests.support.two_in_flight CONFIG
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import torch

from rlsd.agents.types import Action, version_spans
from rlsd.agents.vllm.checks import PROBE
from rlsd.harness.config import load_config
from rlsd.harness.distributed import open_ranks
from rlsd.harness.iteration.parts import Parts, build
from rlsd.harness.runs.progress import Progress
from rlsd.harness.train import Iteration
from tests.support.plain_worlds import odd_tokens


def main() -> None:
    config = load_config(sys.argv[1])
    ranks = open_ranks("cpu", processes=2, timeout_s=300)
    parts = build(config, ranks=ranks)
    iteration = Iteration(parts, reward=odd_tokens, progress=Progress(quiet=True))
    ids = parts.policy.tokenizer.encode(PROBE, add_special_tokens=False)
    weights: dict[int, dict[str, torch.Tensor]] = {}
    actions: list[Action] = []
    held: dict[str, list[Any]] = {name: [] for name in ("probes", "losses", "staleness", "wasted", "versions")}
    for step in range(config.iterations or 0):
        held["versions"].append(parts.learner.updates)
        weights[parts.learner.updates] = {k: v.clone() for k, v in parts.policy.model.state_dict().items()}
        outcome = iteration.run(step)
        actions += [turn.action for t in outcome.trajectories for turn in t.turns]
        held["probes"].append(parts.scorer.probe(ids))
        held["losses"].append(outcome.metrics["loss"])
        held["staleness"].append(outcome.metrics["staleness"]["max"])
        held["wasted"].append(outcome.metrics["wasted_tokens"])
    iteration.close()
    parts.sampler.close()
    whole = all(p.device.type == "cpu" for p in parts.policy.model.parameters())
    found = ranks.gather(
        {
            **held,
            "spans": [version_spans(action) for action in actions],
            "largest_gap": max(_gap(parts, weights, action) for action in actions) if whole else None,
            "digest": _digest(actions),
        }
    )
    if ranks.main:
        print(json.dumps(found))
    ranks.close()


@torch.inference_mode()
def _gap(parts: Parts, weights: dict[int, dict[str, torch.Tensor]], action: Action) -> float:
    """Largest difference in nats from the log-probs that the weights of each token's version give it."""
    assert action.prompt is not None
    ids = torch.tensor([[*action.prompt.ids, *action.token_ids]])
    start, gaps = len(action.prompt.ids), [0.0]
    done = 0
    for version, count in version_spans(action):
        parts.policy.model.load_state_dict(weights[version])
        logp = torch.log_softmax(parts.policy.model.eval()(input_ids=ids).logits[0, start - 1 : -1].float(), -1)
        theirs = logp.gather(-1, ids[0, start:, None]).squeeze(-1)[done : done + count]
        gaps.append(float((theirs - torch.tensor(action.logps[done : done + count])).abs().max()))
        done += count
    return max(gaps)


def _digest(actions: list[Action]) -> str:
    return hashlib.sha256(repr([a.token_ids for a in actions]).encode()).hexdigest()


if __name__ == "__main__":
    main()

"""Two processes train together; in the second one a weight is NaN after the first step."""

from __future__ import annotations

import torch

from rlsd.harness.config import LearnerConfig
from rlsd.harness.distributed import open_ranks
from rlsd.harness.learner.learner import Learner
from rlsd.harness.learner.step import TokenSlice, WeightError
from rlsd.harness.scoring.sequences import student_rows
from tests.support.worlds import Played


def loss(part: TokenSlice) -> torch.Tensor:
    return -part.logp.mean()


def main() -> None:
    settings = LearnerConfig.model_validate({"lr": 1e-3})
    ranks = open_ranks("cpu", processes=2, timeout_s=60)
    played = Played("compact", tasks=1)
    learner = Learner(played.policy, settings, temperature=1.0, ranks=ranks)
    weight = dict(learner.model.named_parameters())["model.layers.0.mlp.up_proj.weight"]
    if ranks.rank == 1:
        learner.optimizer.register_step_post_hook(lambda *_: weight.data[0, 0].fill_(float("nan")))
    try:
        learner.update(student_rows(played.trajectories), loss)
    except WeightError as error:
        print(f"process {ranks.rank}: {error}", flush=True)
    ranks.wait()
    ranks.close()


if __name__ == "__main__":
    main()

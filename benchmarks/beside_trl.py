"""Whole iterations of GRPO and RLSD beside TRL's GRPOTrainer: same weights, prompts, episodes, updates an iteration.

TRL plays with its own generation, one batch a turn as in its tool loop, through `rollout_func`. It is made to draw the
tokens that rlsd drew, so both train on the same episodes, and is given the tokenized observations for nothing. It runs
in float32 without reference model and gradient checkpoints; what else there is to set is its default.

Every iteration starts from the same weights; rlsd and TRL alternate. `rollout_s` is generation and environment,
`score_s` log-probs before the update (for RLSD the teacher's, too), `update_s` the updates. Processor seconds of one
thread, since other programs may run. Every round is a line on stderr; the last line of stdout is one JSON object:
medians, and ratios to TRL with the lowest and highest ratio of a round. A round of the quickstart's 128 episodes takes
some 90 processor seconds, and the first one does not count; after `--minutes` no further one begins.

SmolLM2 is untrained here: all its episodes end alike, rlsd would skip them all, and TRL none. So its episodes get
unequal returns on all sides (`--all-count`), and every token is trained on.

    make bench-trl                               # in an environment of its own, with the extra `trl`
    python benchmarks/beside_trl.py [--rounds 3] [--minutes 10] [--set rollout.tasks_per_iteration=4] …
    python benchmarks/beside_trl.py --smollm2 models/smollm2 …

The file is not called trl.py, since that would hide the package.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from iteration import ROOT, Side, by_number, games
from torch import Tensor
from transformers import AutoModelForCausalLM, LogitsProcessorList

from rlsd.agents.hf.models import load_tokenizer
from rlsd.envs.alfworld.hindsight import forget_states
from rlsd.harness.config import load_config
from rlsd.harness.config.run import RunConfig
from rlsd.harness.rollout.environments import env_maker
from rlsd.harness.rollout.trajectory import Trajectory

STAGES = ("rollout_s", "score_s", "update_s")
SIDES = ("grpo", "rlsd")
SMOLLM2 = ["agent.memory=full", "agent.max_new_tokens=16", "sampler.verify_episodes=1"]
"""One row an episode, as TRL has them; short responses, since the untrained model writes up to any limit; the sampler
is verified on one episode of four, where TRL verifies none."""


class TimeOver(Exception):
    """No further round begins."""


class Forced:
    """A logits processor that leaves one token to draw: the recorded response's next one, then the end token."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.responses: Sequence[Sequence[int]] = ()
        self.start = 0
        """Columns of the prompt."""

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        place = ids.shape[1] - self.start
        chosen = [r[place] if place < len(r) else self.end for r in self.responses]
        return torch.full_like(logits, -torch.inf).scatter_(1, torch.tensor(chosen)[:, None], 0.0)


class Rounds:
    """What TRL's trainer calls: every generation batch is one round, before which rlsd's sides play theirs."""

    def __init__(self, config: RunConfig, sides: dict[str, Side], end: float) -> None:
        self.config, self.sides, self.end = config, sides, end
        self.reward = sides["grpo"].reward
        self.ours: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        self.theirs: list[dict[str, float]] = []
        self.episodes: Sequence[Trajectory] = ()
        self.forced = Forced(load_tokenizer(str(config.model.path)).eos_token_id)
        self.start: dict[str, Tensor] = {}
        self._begun = 0.0

    def ends(self) -> None:
        """The present round's update is over."""
        if self.theirs:
            taken = time.process_time() - self._begun
            self.theirs[-1]["update_s"] = taken - self.theirs[-1]["rollout_s"] - self.theirs[-1]["score_s"]
            rows = {**{name: runs[-1] for name, runs in self.ours.items()}, "trl": self.theirs[-1]}
            stages = (f"{name} " + " + ".join(f"{row[s]:.2f}" for s in STAGES) for name, row in rows.items())
            print(f"round {len(self.theirs) - 1}:", "   ".join(stages), file=sys.stderr, flush=True)

    def play(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`."""
        self.ends()
        step = len(self.theirs)
        if step > 1 and time.monotonic() > self.end:
            raise TimeOver
        for name in self.sides if step % 2 else reversed(self.sides):
            stages = self.sides[name].run(step).stages
            rest = stages.pop("rest_s")
            self.ours[name].append({**stages, "update_s": stages["update_s"] + rest})
        self.episodes = self.sides["grpo"].episodes
        if not self.start:
            self.start = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        trainer.model.load_state_dict(self.start)
        forget_states()
        self.theirs.append({})
        self._begun = time.process_time()
        rows = self._lock_step(trainer)
        self.theirs[-1]["rollout_s"] = time.process_time() - self._begun
        if len(prompts) != len(self.episodes):
            raise SystemExit(f"TRL asks for {len(prompts)} episodes, rlsd played {len(self.episodes)}: some failed")
        return rows

    def scored(self) -> None:
        """TRL's scoring is over, updates begin."""
        self.theirs[-1]["score_s"] = time.process_time() - self._begun - self.theirs[-1]["rollout_s"]

    def _lock_step(self, trainer: Any) -> dict[str, Any]:
        """All episodes turn by turn, as TRL's tool loop plays: one batch of those still open, whole prompts each."""
        make = env_maker(self.config.env, "train")
        envs = [make() for _ in self.episodes]
        for env, episode in zip(envs, self.episodes):
            env.reset(seed=episode.task.seed, options={"task": episode.task.task_id})
        for turn in range(max(len(e.turns) for e in self.episodes)):
            active = [i for i, e in enumerate(self.episodes) if turn < len(e.turns)]
            actions = [self.episodes[i].turns[turn].action for i in active]
            prompts = [list(a.prompt.ids) for a in actions if a.prompt is not None]
            self.forced.responses, self.forced.start = [a.token_ids for a in actions], max(map(len, prompts))
            answers, _ = trainer._generate_single_turn(prompts, None, {}, trainer.num_generations)
            for i, action, answer in zip(active, actions, answers):
                if tuple(answer)[: len(action.token_ids)] != action.token_ids:
                    raise SystemExit(f"TRL drew {answer}, rlsd {action.token_ids}")
                seen = envs[i].step(action.text)[0]
                if seen != self.episodes[i].turns[turn].next_observation:
                    raise SystemExit(f"{self.episodes[i].task.task_id} went another way at turn {turn}")
        for env in envs:
            env.close()
        rows = [_row(e) for e in self.episodes]
        return {
            "prompt_ids": [r[0] for r in rows],
            "completion_ids": [r[1] for r in rows],
            "env_mask": [r[2] for r in rows],
            "logprobs": None,
            "total": [e.episode_return if self.reward is None else self.reward(e) for e in self.episodes],
        }


def _row(episode: Trajectory) -> tuple[list[int], list[int], list[int]]:
    """First prompt, everything after it, and 1 where the policy wrote; the conversation only grows."""
    first = episode.turns[0].action.prompt
    assert first is not None
    ids, mask = list(first.ids), [0] * len(first.ids)
    for turn in episode.turns:
        action = turn.action
        assert action.prompt is not None
        assert list(action.prompt.ids[: len(ids)]) == ids, "needs agent.memory: full"
        ids, mask = [*action.prompt.ids], mask + [0] * (len(action.prompt.ids) - len(ids))
        ids, mask = ids + list(action.token_ids), mask + [1] * len(action.token_ids)
    return ids[: len(first.ids)], ids[len(first.ids) :], mask[len(first.ids) :]


def measured(config: RunConfig, sides: dict[str, Side], rounds: int, minutes: float) -> Rounds:
    """`rounds` rounds after an uncounted one, or as many as begin within `minutes`, at least one."""
    tasks, per = config.rollout.tasks_per_iteration, config.rollout.group_size
    plays = Rounds(config, sides, time.monotonic() + 60 * minutes)
    trl: Any = importlib.import_module("trl")
    dataset: Any = importlib.import_module("datasets").Dataset
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(config.model.path), dtype=torch.float32, trust_remote_code=False
    )
    plain = model.generate
    model.generate = lambda **inputs: plain(**inputs, logits_processor=LogitsProcessorList([plays.forced]))
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.GRPOTrainer(
            model=model,
            reward_funcs=lambda total, **_: total,
            args=trl.GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=tasks * per // config.learner.minibatches,
                steps_per_generation=config.learner.minibatches,
                gradient_accumulation_steps=1,
                num_generations=per,
                max_steps=(rounds + 1) * config.learner.minibatches,
                max_completion_length=config.agent.max_new_tokens,
                learning_rate=config.learner.lr.peak,
                temperature=1.0,
                shuffle_dataset=False,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_steps=10**6,
            ),
            train_dataset=dataset.from_dict({"prompt": [str(i) for i in range((rounds + 1) * tasks)]}),
            processing_class=load_tokenizer(str(config.model.path)),
            rollout_func=plays.play,
        )
        inner = trainer._generate_and_score_completions

        def scoring(inputs: Any) -> Any:
            out = inner(inputs)
            plays.scored()
            return out

        trainer._generate_and_score_completions = scoring
        try:
            trainer.train()
            plays.ends()
        except TimeOver:
            print("the time is over", file=sys.stderr)
    return plays


def report(plays: Rounds) -> dict[str, Any]:
    """Medians in seconds, and ratios of rlsd's sides to TRL; the first round does not count."""
    theirs, out = plays.theirs[1:], {}
    out["trl_s"] = {stage: round(statistics.median(t[stage] for t in theirs), 2) for stage in STAGES}
    for name, all_runs in plays.ours.items():
        runs = all_runs[1:]
        out[f"{name}_s"] = {stage: round(statistics.median(r[stage] for r in runs), 2) for stage in STAGES}
        for stage in (*STAGES, "iteration"):
            mine, other = ([_of(r, stage) for r in some] for some in (runs, theirs))
            pairs = [a / b if b else float("nan") for a, b in zip(mine, other, strict=True)]
            middle = statistics.median(mine) / statistics.median(other) if statistics.median(other) else float("nan")
            out[f"{name}_over_trl_{stage.removesuffix('_s')}"] = [round(x, 3) for x in (middle, min(pairs), max(pairs))]
    both = zip(plays.ours["rlsd"][1:], plays.ours["grpo"][1:], strict=True)
    pairs = [_of(a, "iteration") / _of(b, "iteration") for a, b in both]
    out["rlsd_over_grpo_iteration"] = [round(x, 3) for x in (statistics.median(pairs), min(pairs), max(pairs))]
    return out


def _of(run: dict[str, float], stage: str) -> float:
    return sum(run.values()) if stage == "iteration" else run[stage]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--smollm2", metavar="FOLDER", help="SmolLM2-135M, as `rlsd fetch smollm2` makes it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--all-count", action="store_true", help="unequal returns, as with --smollm2")
    parser.add_argument("--generated", action="store_true", help="generated games even if the published ones are here")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    arguments = parser.parse_args()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    base = ROOT / "configs" / "alfworld" / "rlsd_smollm2.yaml" if arguments.smollm2 else arguments.config
    world = [] if arguments.generated else games(base)
    model = [f"model.path={ROOT / 'checkpoints' / 'warm_tiny'}"] if base.stem == "quickstart" else []
    model = [f"model.path={Path(arguments.smollm2).resolve()}", *SMOLLM2] if arguments.smollm2 else model
    overrides = ["threads=1", *world, *model, *arguments.overrides]
    reward = by_number if arguments.smollm2 or arguments.all_count else None
    sides = {name: Side(load_config(base, [*overrides, f"algorithm.name={name}"]), reward) for name in SIDES}
    config = sides["grpo"].config
    plays = measured(config, sides, arguments.rounds, arguments.minutes)
    for side in sides.values():
        side.iteration.close()
    setup = {
        "games": "published" if world else "generated",
        "clock": "processor seconds, one thread",
        "model": Path(config.model.path or "").name,
        "episodes": config.rollout.episodes,
        "updates": config.learner.minibatches,
        "rounds": len(plays.theirs) - 1,
        "sampled_tokens": sum(len(t.action.token_ids) for e in plays.episodes for t in e.turns),
        "versions": {name: version(name) for name in ("trl", "transformers", "torch")},
    }
    print(json.dumps({**report(plays), **setup}))


if __name__ == "__main__":
    main()

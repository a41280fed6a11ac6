"""RLSD without the trainer: the loop in plain sight, on the key-and-door world, with a tiny model on one CPU core.

python examples/plain_loop.py
"""

from dataclasses import replace

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import tiny_policy, train_tokenizer
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.memory import FullHistory
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.scripted import ExpertAgent
from rlsd.algorithms import LossInputs, assign, resolve, token_loss, token_weights
from rlsd.envs import make
from rlsd.harness.config import LearnerConfig
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.learner.learner import Learner
from rlsd.harness.rollout.rollout import Rollout, RolloutSettings
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import student_rows, teacher_rows
from rlsd.harness.scoring.tables import epochs, flatten, token_batch, token_count, with_teacher
from rlsd.harness.sft import demonstrated, sft_batch


def make_env():
    return make("rlsd/Keys-v0", rooms=3, max_steps=8)


def main(warm_steps=60, steps=10, seed=0):
    """Success of the sampled episodes at each RL step."""
    algorithm, tasks = resolve("rlsd"), list(make_env().tasks())
    settings = RolloutSettings(seed=seed)
    expert = Rollout(make_env, ExpertAgent("explorer", noise=0.3), settings)

    # a model from scratch, with a tokenizer trained on what the world and its expert say
    shown = flatten(expert.groups(tasks, 1, stream="text", iteration=0))
    texts = [f"{t.observation} {t.action.text} plan:\n" for episode in shown for t in episode.turns]
    policy = tiny_policy(train_tokenizer(texts, vocab_size=400), layers=2, dim=64, heads=2, context=512, seed=seed)
    chat = ChatFormat(policy.tokenizer, sorted(policy.eos_ids))
    sampler = HFSampler(policy.model, eos_ids=policy.eos_ids, seed=seed, context=512)
    agent = PolicyAgent(chat=chat, memory=FullHistory(format=FORMATS["compact"]), sampler=sampler, max_new_tokens=6)
    learner = Learner(policy, LearnerConfig(lr=3e-3), temperature=1.0)
    scorer = Scorer(learner.tokens, learner.settings, learner.ranks)
    hinter = Hinter(HintSettings(contexts=("plan",), max_tokens=48), chat, context=512, max_new_tokens=6)

    # warm start: both views imitate, the student view the explorer, the teacher's view the plan it reads
    for step in range(warm_steps):
        groups = expert.groups(epochs(tasks, 8, step, seed=seed, name="warm"), 1, stream="warm", iteration=step)
        groups = [demonstrated(group, agent, context=512) for group in groups]
        made = sft_batch(flatten(groups), hinter.build(groups), agent, share=0.4, target="plan")
        learner.update(made.rows, lambda part, w=made.weights: (-part.logp * w[part.flat]).sum())

    rollout, wins = Rollout(make_env, agent, settings), []
    for step in range(steps):
        groups = rollout.groups(epochs(tasks, 6, step, seed=seed, name="rl"), 8, stream="train", iteration=step)
        episodes, hints = flatten(groups), hinter.build(groups)
        rows, total = student_rows(episodes), token_count(episodes)
        student = scorer.logprobs(rows, total).logp  # (M,) the student view
        teacher = scorer.logprobs(teacher_rows(episodes, hints.insertions), total).logp  # (M,) with hindsight
        batch = with_teacher(replace(token_batch(groups), student_logp=student), teacher)
        credit = assign(batch, algorithm, step=step)  # the outcome's sign, hindsight's size
        weights = token_weights(batch, algorithm.loss.aggregation)

        def loss(part, old=student, credit=credit, turn=batch.turn, weights=weights, step=step):
            at = part.flat
            inputs = LossInputs(new_logp=part.logp, old_logp=old[at], advantage=credit.advantage[at], turn=turn[at])
            return (weights[at] * token_loss(inputs, algorithm.loss, step=step).total).sum()

        learner.update(rows, loss)
        sampler.refresh(learner.updates)
        wins.append(sum(e.success for e in episodes) / len(episodes))
        shift = credit.diagnostics["weight_shift"]
        print(f"step {step + 1}: success {wins[-1]:.2f}, mean |m - 1| {shift:.3f}, {total} tokens", flush=True)
    return wins


if __name__ == "__main__":
    main()

"""Rows: merging, packing and what they must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlsd.agents.types import Action, EpisodeKey, Prompt
from rlsd.envs.core import Task
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.rollout.trajectory import StopReason, Trajectory, Turn
from rlsd.harness.scoring.sequences import (
    Branch,
    Copy,
    Insertion,
    Place,
    Row,
    distinct,
    joint_rows,
    runs,
    student_rows,
    teacher_rows,
)
from rlsd.harness.scoring.tables import token_count
from rlsd.harness.scoring.token_model import micro_batches, packed, places
from tests.support.tokenizers import FAMILIES
from tests.support.worlds import Played

MERGING = [f for f in FAMILIES if f != "strips-thinking"]


def hinter(played: Played, *contexts: str, **settings: object) -> Hinter:
    return Hinter(
        HintSettings(contexts=contexts, max_tokens=400, **settings),  # type: ignore[arg-type]
        played.format,
        context=4096,
        max_new_tokens=8,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("memory", ["full", "last"])
def test_sampled_ids_are_trained_ids(family: str, memory: str) -> None:
    played = Played(family, memory=memory)
    rows = student_rows(played.trajectories)
    trained: dict[int, int] = {}
    for row in rows:
        for place in row.places:
            for i in range(place.count):
                trained[place.flat + i] = row.ids[place.column + i]
    sampled = [i for t in played.trajectories for turn in t.turns for i in turn.action.token_ids]
    assert [trained[i] for i in range(len(sampled))] == sampled
    assert len(trained) == token_count(played.trajectories) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_sampler_and_learner_agree_on_log_probs(family: str) -> None:
    played = Played(family)
    logp = played.scorer.logprobs(student_rows(played.trajectories), token_count(played.trajectories)).logp
    sampled = torch.tensor([x for t in played.trajectories for turn in t.turns for x in turn.action.logps])
    torch.testing.assert_close(logp, sampled, atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", MERGING)
def test_full_history_merges_into_one_row_an_episode(family: str) -> None:
    played = Played(family)
    assert all(len(runs(t)) == 1 for t in played.trajectories)


def test_template_that_strips_thinking_does_not_merge() -> None:
    played = Played("strips-thinking", response_format="think")
    assert not played.format.extends
    assert all(len(runs(t)) == len(t.turns) for t in played.trajectories)


def test_last_turns_memory_does_not_merge() -> None:
    played = Played("compact", memory="last")
    assert all(len(runs(t)) == len(t.turns) for t in played.trajectories)


@pytest.mark.parametrize("family", MERGING)
def test_merged_and_unmerged_rows_give_equal_loss_and_gradient(family: str) -> None:
    played = Played(family)
    total = token_count(played.trajectories)
    weights = torch.linspace(-1, 1, total) / total
    found = []
    for merge in (True, False):
        played.policy.model.zero_grad()
        loss = 0.0
        for batch in micro_batches(student_rows(played.trajectories, merge=merge), 600, masks=True):
            logp = played.learner.tokens(packed, batch).logp
            part = (weights[places(batch)[2]] * logp).sum()
            part.backward()
            loss += float(part.detach())
        found.append((loss, torch.cat([p.grad.flatten() for p in played.policy.model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("contexts", [("plan",), ("demonstration",), ("demonstration", "unmet_goals"), ("locations",)])
def test_packed_teacher_rows_equal_one_row_a_turn(family: str, contexts: tuple[str, ...]) -> None:
    """The packed row with branches gives the log-probs of plain rows built by hand, one a turn."""
    played = Played(family)
    total = token_count(played.trajectories)
    insertions = hinter(played, *contexts).build(played.groups).insertions
    found = played.scorer.logprobs(teacher_rows(played.trajectories, insertions), total).logp
    flat = 0
    for n, trajectory in enumerate(played.trajectories):
        for k, turn in enumerate(trajectory.turns):
            prompt, response, hint = turn.action.prompt, turn.action.token_ids, insertions[n, k]
            assert prompt is not None
            ids = list(prompt.ids)
            ids[prompt.turn_slot : prompt.turn_slot] = hint.turn
            ids[prompt.episode_slot : prompt.episode_slot] = hint.episode
            whole = torch.tensor([[*ids, *response]])
            logits = played.policy.model(input_ids=whole).logits[0, len(ids) - 1 : -1].float()
            want = torch.log_softmax(logits, -1).gather(-1, torch.tensor(response)[:, None]).squeeze(-1)
            torch.testing.assert_close(found[flat : flat + len(response)], want.detach(), atol=2e-5, rtol=0)
            flat += len(response)


def test_only_a_sibling_that_wrote_the_same_ids_is_a_copy() -> None:
    """Same prompt and hindsight: a response of the same length but other ids is read by itself."""
    responses = [(5, 6), (5, 7), (5, 6), (5, 6, 7)]
    kept, copies = distinct(_siblings(responses), {(n, 0): Insertion(turn=(9,)) for n in range(4)})
    assert set(kept) == {(0, 0), (1, 0), (3, 0)}
    assert copies == [Copy(source=0, target=4, count=2)]


def test_another_prompt_or_hindsight_is_no_copy() -> None:
    same = _siblings([(5, 6)] * 2)
    hints = [Insertion(turn=(9,)), Insertion(turn=(8,)), Insertion(episode=(9,))]
    for other in hints[1:]:
        assert distinct(same, {(0, 0): hints[0], (1, 0): other})[1] == []
    elsewhere = [*_siblings([(5, 6)], prompt=(1, 2, 3)), *_siblings([(5, 6)], prompt=(1, 4, 3))]
    assert distinct(elsewhere, {(0, 0): hints[0], (1, 0): hints[0]})[1] == []


def test_rows_by_hand() -> None:
    """Two turns that merge: prompt 1 2 3, response 5 6, then 7 3 and response 8; slots before each 3."""
    both = [_two_turns()]
    prefix = (1, 2, 3, 5, 6, 7, 3, 8)
    own = (Place(column=3, flat=0, count=2), Place(column=7, flat=2, count=1))
    assert student_rows(both) == [Row(ids=prefix, places=own, family=4)]
    first, second = student_rows(both, merge=False)
    assert first == Row(ids=prefix[:5], places=own[:1], family=4)
    assert second == Row(ids=prefix, places=own[1:], family=4)
    assert student_rows([*both, *both], skip={0}) == [
        Row(ids=prefix, places=(Place(column=3, flat=3, count=2), Place(column=7, flat=5, count=1)), family=4)
    ]


def test_joint_rows_by_hand() -> None:
    """Each hinted turn is a branch behind the prefix: hindsight, the prompt from its slot on, response."""
    both = [_two_turns()]
    hints = {(0, 0): Insertion(turn=(9,), target_flat=3), (0, 1): Insertion(turn=(9, 9), target_flat=5)}
    (row,) = joint_rows(both, hints)
    assert row.ids == (1, 2, 3, 5, 6, 7, 3, 8, 9, 3, 5, 6, 9, 9, 3, 8)
    assert row.places[2:] == (Place(column=10, flat=3, count=2), Place(column=15, flat=5, count=1))
    assert row.branches == (Branch(start=8, stop=12, fork=2), Branch(start=12, stop=16, fork=6))
    assert row.positions() == [0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7, 8, 9]
    assert (row.prefix, row.span, row.family) == (8, 10, 4)
    (one,) = joint_rows(both, {(0, 1): hints[0, 1]})
    assert one.ids == (*row.ids[:8], *row.ids[12:])
    assert len(joint_rows(both, hints, merge=False)) == 2
    assert [r.places[0].flat for r in joint_rows([*both, *both], hints, skip={0})] == [3]
    for other in (Insertion(episode=(9,), turn=(9,)), Insertion()):
        with pytest.raises(ValueError, match="cannot share a row"):
            joint_rows(both, {(0, 0): other})


def test_teacher_rows_by_hand() -> None:
    """The prefix ends where the last branch forks off; episode hindsight is part of the prefix."""
    both, turn, episode = [_two_turns()], Insertion(turn=(9,)), Insertion(episode=(4,))
    (first,) = teacher_rows(both, {(0, 0): turn})
    assert first.ids == (1, 2, 9, 3, 5, 6)
    assert first.places == (Place(column=4, flat=0, count=2),)
    assert first.branches == (Branch(start=2, stop=6, fork=2),)
    (last,) = teacher_rows(both, {(0, 1): episode})
    assert last == Row(ids=(1, 2, 4, 3, 5, 6, 7, 3, 8), places=(Place(column=8, flat=2, count=1),), family=4)
    (mixed,) = teacher_rows(both, {(0, 0): Insertion(episode=(4,), turn=(9,)), (0, 1): episode})
    assert mixed.ids == (*last.ids, 9, 3, 5, 6)
    assert mixed.places == (*last.places, Place(column=11, flat=0, count=2))
    assert mixed.branches == (Branch(start=9, stop=13, fork=3),)
    target = Insertion(turn=(9,), target=(7, 7, 7), target_flat=10)
    (other,) = teacher_rows(both, {(0, 1): target})
    assert other.ids == (1, 2, 3, 5, 6, 7, 9, 3, 7, 7, 7)
    assert other.places == (Place(column=8, flat=10, count=3),)
    assert len(teacher_rows(both, {(0, 0): turn, (0, 1): episode})) == 2, "turns that share no episode hindsight"
    assert teacher_rows(both, {}) == []


def _two_turns() -> Trajectory:
    (one,) = _siblings([(5, 6)])
    (two,) = _siblings([(8,)], prompt=(1, 2, 3, 5, 6, 7, 3))
    last = two.turns[0]
    prompt = Prompt(ids=(1, 2, 3, 5, 6, 7, 3), episode_slot=2, turn_slot=6)
    turns = (*one.turns, replace(last, action=replace(last.action, prompt=prompt)))
    return replace(one, key=EpisodeKey("train", 0, 4, 0), turns=turns)


def _siblings(responses: list[tuple[int, ...]], *, prompt: tuple[int, ...] = (1, 2, 3)) -> list[Trajectory]:
    """Episodes of one turn, one for each response."""
    return [
        Trajectory(
            key=EpisodeKey("train", 0, 0, n),
            task=Task(env_id="e", task_id="t", split="train", task_type="k"),
            goal="g",
            turns=(
                Turn(
                    observation="seen",
                    action=Action(
                        text="do",
                        prompt=Prompt(ids=prompt, episode_slot=2, turn_slot=2),
                        token_ids=ids,
                        logps=(0.0,) * len(ids),
                    ),
                    reward=0.0,
                    next_observation="next",
                    valid=True,
                ),
            ),
            stop=StopReason.TERMINATED,
            success=False,
            score=0.0,
            episode_return=0.0,
        )
        for n, ids in enumerate(responses)
    ]


def test_no_hindsight_text_gives_zero_gap() -> None:
    """Live weights and an empty insertion: teacher and student read the same ids, so Δ = 0 and RLSD is GRPO."""
    played = Played("compact")
    total = token_count(played.trajectories)
    empty = {(n, k): Insertion() for n, t in enumerate(played.trajectories) for k in range(len(t.turns))}
    teacher = played.scorer.logprobs(teacher_rows(played.trajectories, empty), total).logp
    student = played.scorer.logprobs(student_rows(played.trajectories), total).logp
    torch.testing.assert_close(teacher, student, atol=1e-6, rtol=0)


def test_response_cut_before_its_end_token_still_lines_up() -> None:
    played = Played("bytelevel-chatml", new=2)
    assert any(t.action.token_ids[-1] not in played.policy.eos_ids for x in played.trajectories for t in x.turns)
    logp = played.scorer.logprobs(student_rows(played.trajectories), token_count(played.trajectories)).logp
    sampled = torch.tensor([x for t in played.trajectories for turn in t.turns for x in turn.action.logps])
    torch.testing.assert_close(logp, sampled, atol=2e-5, rtol=0)

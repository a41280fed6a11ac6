"""From trajectories to rows of token ids, for the student's and the teacher's view.

Consecutive turns whose prompt begins with the previous prompt + response become one row. The teacher view inserts
hindsight ids and leaves every other id unchanged. Episode hindsight is inserted once in a merged row. Turn hindsight
is a branch: its tokens (hindsight, header, response) attend to themselves and to the row up to their fork, never to
another turn's branch. So one packed row costs little more than the student's and gives the same log-probs as one row
per turn (a tested property).

    prefix  o0 a0 o1 a1 o2 a2                position 0 …
    branch      └ h1 a1                      forks at the end of o1; positions continue from there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from torch import Tensor

from rlsd.agents.types import Action, Prompt
from rlsd.harness.rollout.trajectory import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`count` sampled tokens from `column` on: tokens `flat`, `flat + 1`, … of the batch."""

    column: int
    flat: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Columns [`start`, `stop`) of a row that attend to the prefix's first `fork` columns and to themselves."""

    start: int
    stop: int
    fork: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence for the model."""

    ids: tuple[int, ...]
    places: tuple[Place, ...]
    branches: tuple[Branch, ...] = ()
    family: int = -1
    """Rows of one task share a family, because they begin alike; negative: no family."""

    @property
    def prefix(self) -> int:
        """Columns before the first branch."""
        return self.branches[0].start if self.branches else len(self.ids)

    def positions(self) -> list[int]:
        """Position of each column."""
        out = list(range(len(self.ids)))
        for branch in self.branches:
            out[branch.start : branch.stop] = range(branch.fork, branch.fork + branch.stop - branch.start)
        return out

    @property
    def span(self) -> int:
        """Largest position + 1: the context the row needs."""
        return max(self.positions()) + 1


BLANK = Row(ids=(0, 0), places=(Place(column=1, flat=0, count=1),))
"""A dummy row without effect: a process computes it while only other processes have rows left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """Hindsight of one turn as token ids, for the two slots of its prompt."""

    episode: tuple[int, ...] = ()
    turn: tuple[int, ...] = ()
    target: tuple[int, ...] | None = None
    """A response to score in the branch instead of the turn's own (warm starts); without turn hindsight it must be
    the turn's own, under another number."""
    target_flat: int = 0
    """Number of the target's first token in the flat batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Tokens with the same log-probs as other tokens: same context, same ids."""

    source: int
    target: int
    count: int


def distinct(
    trajectories: Sequence[Trajectory], insertions: Mapping[tuple[int, int], Insertion]
) -> tuple[dict[tuple[int, int], Insertion], list[Copy]]:
    """The insertions without repeats of a sibling's: equal prompts, hindsight and responses are scored once.

    Returns:
        The distinct insertions, and the copies between the batch's tokens, by flat number.
    """
    offsets = flat_offsets(trajectories)
    first: dict[tuple[object, ...], int] = {}
    kept: dict[tuple[int, int], Insertion] = {}
    copies: list[Copy] = []
    for (n, k), hint in insertions.items():
        action, flat = _action(trajectories[n], k), offsets[n][k]
        source = first.setdefault((_prompt(action), hint.episode, hint.turn, action.token_ids), flat)
        if source == flat:
            kept[n, k] = hint
        else:
            copies.append(Copy(source=source, target=flat, count=len(action.token_ids)))
    return kept, copies


def fill_in(logp: Tensor, copies: Sequence[Copy]) -> Tensor:
    """Copy (M,) log-probs to the tokens that share them; changes `logp` in place and returns it."""
    for c in copies:
        logp[c.target : c.target + c.count] = logp[c.source : c.source + c.count]
    return logp


def numbered_from(
    first: int, trajectories: Sequence[Trajectory], insertions: Mapping[tuple[int, int], Insertion]
) -> dict[tuple[int, int], Insertion]:
    """The insertions with their tokens numbered from `first` on, in the order of the flat batch."""
    offsets = flat_offsets(trajectories)
    return {(n, k): replace(i, target_flat=first + offsets[n][k]) for (n, k), i in insertions.items()}


def flat_offsets(trajectories: Sequence[Trajectory]) -> list[list[int]]:
    """Number of the first token of every turn in the flat batch, by trajectory and turn."""
    out: list[list[int]] = []
    count = 0
    for trajectory in trajectories:
        starts: list[int] = []
        for turn in trajectory.turns:
            starts.append(count)
            count += len(turn.action.token_ids)
        out.append(starts)
    return out


def student_rows(trajectories: Sequence[Trajectory], *, merge: bool = True, skip: Set[int] = frozenset()) -> list[Row]:
    """Rows of the student view: only the ids that the policy saw and sampled. `skip` names trajectories left out."""
    rows: list[Row] = []
    for n, (trajectory, offsets) in enumerate(zip(trajectories, flat_offsets(trajectories))):
        if n in skip:
            continue
        for part in runs(trajectory, merge=merge):
            ids, places = _merged([_action(trajectory, k) for k in part], [offsets[k] for k in part], ())
            rows.append(Row(ids=tuple(ids), places=places, family=trajectory.key.group))
    return rows


def teacher_rows(
    trajectories: Sequence[Trajectory],
    insertions: Mapping[tuple[int, int], Insertion],
    *,
    merge: bool = True,
) -> list[Row]:
    """Rows of the teacher view, for the turns named in `insertions` only.

    Args:
        trajectories: the batch, in the order of `flat_offsets`.
        insertions: hindsight by (trajectory, turn). Turns that merge into one row must share their episode part.
    """
    rows: list[Row] = []
    for n, (trajectory, offsets) in enumerate(zip(trajectories, flat_offsets(trajectories))):
        for part in runs(trajectory, merge=merge):
            hinted = [k for k in part if (n, k) in insertions]
            if not hinted:
                continue
            for episode in _distinct([insertions[n, k].episode for k in hinted]):
                mine = [k for k in hinted if insertions[n, k].episode == episode]
                rows.append(_teacher_row(trajectory, part, offsets, {k: insertions[n, k] for k in mine}))
    return rows


def joint_rows(
    trajectories: Sequence[Trajectory],
    insertions: Mapping[tuple[int, int], Insertion],
    *,
    merge: bool = True,
    skip: Set[int] = frozenset(),
) -> list[Row]:
    """Both views in one row: the student's as prefix, every hinted turn as a branch, so the prefix is computed once.

    For turn hindsight only: episode hindsight would be part of the prefix, which the student must not read. The
    branches' tokens are numbered from `target_flat` on, separately from the student's.
    """
    rows: list[Row] = []
    for n, (trajectory, offsets) in enumerate(zip(trajectories, flat_offsets(trajectories))):
        if n in skip:
            continue
        for part in runs(trajectory, merge=merge):
            actions = [_action(trajectory, k) for k in part]
            ids, places = _merged(actions, [offsets[k] for k in part], ())
            scored, branches = list(places), []
            for k, action in zip(part, actions):
                hint = insertions.get((n, k))
                if hint is None:
                    continue
                if hint.episode or not hint.turn:
                    raise ValueError("episode hindsight cannot share a row with the student's view")
                response = action.token_ids if hint.target is None else hint.target
                branches.append(_branch(ids, scored, hint, _prompt(action), response, hint.target_flat, shift=0))
            rows.append(
                Row(ids=tuple(ids), places=tuple(scored), branches=tuple(branches), family=trajectory.key.group)
            )
    return rows


def runs(trajectory: Trajectory, *, merge: bool = True) -> list[list[int]]:
    """Turn numbers that share a row: each prompt begins with the previous prompt + response."""
    out: list[list[int]] = []
    previous: tuple[int, ...] | None = None
    for k in range(len(trajectory.turns)):
        action = _action(trajectory, k)
        prompt = _prompt(action)
        if merge and previous is not None and prompt.ids[: len(previous)] == previous:
            out[-1].append(k)
        else:
            out.append([k])
        previous = prompt.ids + action.token_ids
    return out


def _teacher_row(
    trajectory: Trajectory, part: Sequence[int], offsets: Sequence[int], inserted: Mapping[int, Insertion]
) -> Row:
    """One packed row: turns with turn hindsight as branches, the others scored in the prefix itself."""
    last = max(inserted)
    episode = inserted[last].episode
    kept = [k for k in part if k <= last]
    actions = [_action(trajectory, k) for k in kept]
    ids, places = _merged(actions, [offsets[k] for k in kept], episode)
    scored: list[Place] = []
    for k, place in zip(kept, places):
        if k in inserted and not inserted[k].turn:
            own = inserted[k].target is None
            flat = place.flat if own else inserted[k].target_flat
            scored.append(Place(column=place.column, flat=flat, count=place.count))
    branches: list[Branch] = []
    if inserted[last].turn:
        ids = ids[: _prompt(actions[-1]).turn_slot + len(episode)]
    for k, action in zip(kept, actions):
        if k not in inserted or not inserted[k].turn:
            continue
        hint, prompt = inserted[k], _prompt(action)
        response, flat = action.token_ids, offsets[k]
        if hint.target is not None:
            response, flat = hint.target, hint.target_flat
        branches.append(_branch(ids, scored, hint, prompt, response, flat, shift=len(episode)))
    return Row(ids=tuple(ids), places=tuple(scored), branches=tuple(branches), family=trajectory.key.group)


def _branch(
    ids: list[int],
    scored: list[Place],
    hint: Insertion,
    prompt: Prompt,
    response: tuple[int, ...],
    flat: int,
    *,
    shift: int,
) -> Branch:
    """Append hindsight, rest of the prompt and response to a packed row; the fork is `shift` tokens after the slot."""
    start = len(ids)
    ids += hint.turn
    ids += prompt.ids[prompt.turn_slot :]
    scored.append(Place(column=len(ids), flat=flat, count=len(response)))
    ids += response
    return Branch(start=start, stop=len(ids), fork=prompt.turn_slot + shift)


def _merged(
    actions: Sequence[Action], offsets: Sequence[int], episode: tuple[int, ...]
) -> tuple[list[int], tuple[Place, ...]]:
    """Ids of the last prompt + response with `episode` inserted, and the place of each response."""
    last = actions[-1]
    ids = [*_prompt(last).ids, *last.token_ids]
    slot = _prompt(last).episode_slot
    ids[slot:slot] = episode
    places = tuple(
        Place(column=len(_prompt(a).ids) + len(episode), flat=flat, count=len(a.token_ids))
        for a, flat in zip(actions, offsets)
    )
    return ids, places


def _action(trajectory: Trajectory, turn: int) -> Action:
    return trajectory.turns[turn].action


def _prompt(action: Action) -> Prompt:
    if action.prompt is None:
        raise ValueError("the turn has no tokens: a scripted agent's episodes cannot be trained on as they are")
    return action.prompt


def _distinct(values: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(values))

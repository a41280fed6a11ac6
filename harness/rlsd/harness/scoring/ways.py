"""Every way in which rlsd computes log-probs, played against one plain forward pass of the model.

Three episodes of three turns: two begin alike, prompts differ in length, one's last prompt goes back to its first.
Later turns have a hindsight branch. What the sampler drew is scored as packed rows, on shared prefixes and as plain
rows; the reference is the transformers model on each sequence alone, without cache, mask or positions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlsd.agents.hf.abilities import text_config
from rlsd.agents.hf.generator import CachedEpisode, Generator
from rlsd.agents.hf.kv_cache import LARGEST_MASK
from rlsd.agents.types import EpisodeKey, SampleRequest
from rlsd.envs.errors import RlsdError
from rlsd.harness.config.learner import LearnerConfig
from rlsd.harness.distributed import Ranks
from rlsd.harness.scoring.scorer import Scorer
from rlsd.harness.scoring.sequences import Branch, Place, Row
from rlsd.harness.scoring.token_model import TokenModel, joined, packed, places, plain

TOLERANCE = 1e-4
"""Largest difference in nats, in float32, that counts as the same log-prob."""
TURNS = 3
BEGINNING = 34
"""Tokens that two episodes share: enough for a pass of their own."""
LONGEST = 75
"""Tokens of the longest sequence that is played."""
FIRST_ID = 8
"""Ids below are often special."""
WAYS = ("sampler", "packed", "shared", "pieces", "plain", "packing")
SMALL_MASK = 1024
"""Entries of a mask in the way `pieces`: too few for any of these passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one way of computing log-probs compares with the plain forward pass."""

    largest: float = 0.0
    """Largest difference in nats."""
    error: str | None = None
    """What was raised instead."""
    tolerance: float = TOLERANCE

    @property
    def exact(self) -> bool:
        return self.error is None and self.largest <= self.tolerance

    @property
    def fault(self) -> str:
        """What is wrong with it, as in "up to 1.6 nats off"."""
        return self.error or f"up to {self.largest:.2g} nats off"


Ways = dict[str, Way]
"""By name, in the order of `WAYS`: the in-process sampler with its key-value cache; rows with branches behind a mask;
the same on shared prefixes; that in pieces, as long rows are; rows of their own; and whole sequences end to end, told
apart by their positions alone."""
Answers = list[tuple[list[int], list[float]]]
"""A response for each episode, and its log-probs."""
Sample = Callable[[int, list[list[int]]], Answers]
"""Turn and prompts to answers."""


@dataclass(slots=True)
class _Episode:
    observations: list[list[int]]
    hints: list[list[int]]
    family: int
    prompts: list[list[int]]
    responses: list[list[int]]

    def next_prompt(self, turn: int) -> list[int]:
        if turn == 0:
            return self.observations[0]
        if self.family < 0 and turn == TURNS - 1:
            return self.observations[0] + self.observations[turn]
        return self.prompts[-1] + self.responses[-1] + self.observations[turn]


def play(model: Any, *, seed: int = 0) -> Ways:
    """All ways with one model, in evaluation mode and without gradient; random numbers are its own.

    Raises:
        Exception: whatever the plain forward pass raises; there is nothing to compare with then.
        ArithmeticError: the plain forward pass gives no finite log-probs.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _play(model, seed)
    finally:
        model.train(was_training)


def _play(model: Any, seed: int) -> Ways:
    rng, vocab = random.Random(seed), int(text_config(model).vocab_size)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(FIRST_ID, vocab) for _ in range(count)]

    begin, device = tokens(BEGINNING), next(model.parameters()).device
    _plain_logps(model, begin)  # raises what it raises
    starts = [begin + tokens(1), begin + tokens(9), tokens(20)]
    games = [([s, tokens(5 + 2 * b), tokens(7)], [tokens(3), tokens(6)]) for b, s in enumerate(starts)]

    def episodes(sample: Sample) -> tuple[list[_Episode], list[float]]:
        played = [_Episode(o, h, 0 if b < 2 else -1, [], []) for b, (o, h) in enumerate(games)]
        drawn = [_turn(played, turn, sample) for turn in range(TURNS)]
        return played, [x for b in range(len(games)) for of_turn in drawn for x in of_turn[b]]

    ways: Ways = {}
    try:
        played, drawn = episodes(_sampler(model))
    except Exception as error:  # an architecture the cache does not fit can raise anything
        ways["sampler"] = Way(error=one_line(error))
        played, drawn = episodes(lambda _, prompts: [(tokens(4), [0.0] * 4) for _ in prompts])
    rows, count = _rows(played)
    want = _reference(model, plain(rows), count)
    if "sampler" not in ways:
        ways["sampler"] = _compared(torch.tensor(drawn), want[: len(drawn)])
    whole = plain(rows)
    ends = joined(whole, LONGEST * len(whole))
    for name, masks, share, largest, played_rows in (
        ("packed", True, False, LARGEST_MASK, [rows, ends]),  # `learner.packing` puts sequences end to end
        ("shared", True, True, LARGEST_MASK, [rows]),
        ("pieces", True, True, SMALL_MASK, [rows]),
        ("plain", False, False, LARGEST_MASK, [whole]),
        ("packing", False, False, LARGEST_MASK, [ends]),
    ):
        tokens_of = TokenModel(model, temperature=1.0, masks=masks, largest_mask=largest)
        ways[name] = max(
            (_scored(tokens_of, device, some, want, share=share) for some in played_rows),
            key=lambda way: (not way.exact, way.largest),
        )
    return ways


def _turn(episodes: list[_Episode], turn: int, sample: Sample) -> list[list[float]]:
    prompts = [e.next_prompt(turn) for e in episodes]
    answers = sample(turn, prompts)
    for episode, prompt, (response, _) in zip(episodes, prompts, answers):
        episode.prompts.append(prompt)
        episode.responses.append(response)
    return [logps for _, logps in answers]


def _sampler(model: Any) -> Sample:
    generator = Generator(model, eos_ids=frozenset(), temperature=1.0, seed=0)
    slots: list[CachedEpisode] = []

    def sample(turn: int, prompts: list[list[int]]) -> Answers:
        slots.extend(CachedEpisode(slot=b) for b in range(len(slots), len(prompts)))
        requests = [
            SampleRequest(
                key=EpisodeKey("probe", 0, 0, b), turn=turn, prompt_ids=tuple(prompt), max_new_tokens=3 + (b + turn) % 3
            )
            for b, prompt in enumerate(prompts)
        ]
        results = generator.generate(list(zip(requests, slots)), slots=len(slots), version=0)
        return [(list(r.token_ids), list(r.logps)) for r in results]

    return sample


def _rows(episodes: Sequence[_Episode]) -> tuple[list[Row], int]:
    """Rows of both views, and the number of tokens they score: the responses first, then those of the branches."""
    rows, flat = [], 0
    hinted = sum(len(r) for e in episodes for r in e.responses)
    for e in episodes:
        parts = [list(range(TURNS))] if e.family >= 0 else [list(range(TURNS - 1)), [TURNS - 1]]
        for part in parts:
            ids = e.prompts[part[-1]] + e.responses[part[-1]]
            places: list[Place] = []
            branches: list[Branch] = []
            for k in part:
                places.append(Place(column=len(e.prompts[k]), flat=flat, count=len(e.responses[k])))
                flat += len(e.responses[k])
            for k in [k for k in part if k]:
                start, hint, response = len(ids), e.hints[k - 1], e.responses[k]
                ids = ids + hint + response
                branches.append(Branch(start=start, stop=len(ids), fork=len(e.prompts[k])))
                places.append(Place(column=start + len(hint), flat=hinted, count=len(response)))
                hinted += len(response)
            rows.append(Row(ids=tuple(ids), places=tuple(places), branches=tuple(branches), family=e.family))
    return rows, hinted


def _reference(model: Any, rows: Sequence[Row], count: int) -> Tensor:
    """(count,) log-probs of the tokens of `rows`, which have no branches: one plain forward pass for each."""
    out = torch.full((count,), torch.nan)
    for row in rows:
        logps = _plain_logps(model, row.ids)
        for p in row.places:
            out[p.flat : p.flat + p.count] = logps[p.column - 1 : p.column - 1 + p.count]
    return out


def _plain_logps(model: Any, ids: Sequence[int]) -> Tensor:
    """(T-1,) float32 log-probs of ids[1:], from the model's own logits."""
    tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)
    logps = torch.log_softmax(model(input_ids=tokens).logits[0, :-1].float(), -1)
    found = logps.gather(-1, tokens[0, 1:, None])[:, 0].cpu()
    if not found.isfinite().all():
        raise ArithmeticError("a plain forward pass gives no finite log-probs")
    return found


def _scored(model: TokenModel, device: torch.device, rows: Sequence[Row], want: Tensor, *, share: bool) -> Way:
    """What the learner's scoring makes of `rows`; without masks it is given sequences alone, and packs none itself."""
    try:
        settings = LearnerConfig(micro_batch_tokens=LONGEST * len(rows) * 4, prefix_sharing=share)
        if model.masks or not any(row.branches for row in rows):
            return _compared(Scorer(model, settings, Ranks(device=device)).logprobs(rows, len(want)).logp, want)
        found = torch.full_like(want, torch.nan)
        for row in rows:  # as an update runs them: one row a micro-batch
            found[places([row])[2]] = model(packed, [row]).logp.cpu()
        return _compared(found, want)
    except Exception as error:
        return Way(error=one_line(error))


def _compared(found: Tensor, want: Tensor) -> Way:
    largest = float((found - want).abs().max())
    return Way(largest=largest) if largest < torch.inf else Way(error="log-probs that are not finite")


def one_line(error: BaseException) -> str:
    """An error's type and message, shortened; one of ours speaks for itself."""
    text = " ".join(str(error).split())[:120]
    return text if isinstance(error, RlsdError) else f"{type(error).__name__}: {text}".rstrip(": ")

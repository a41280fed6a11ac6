"""The in-process sampler: what it says it sampled is what a plain forward pass gives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rlsd.agents.chat import ChatFormat
from rlsd.agents.hf.generator import PREFILL_TOKENS, CachedEpisode, Generator, nucleus
from rlsd.agents.hf.models import Policy, tiny_policy
from rlsd.agents.hf.sampler import HFSampler
from rlsd.agents.stopping import stop_check
from rlsd.agents.types import ContextFull, EpisodeKey, FinishReason, SampleRequest, SampleResult
from tests.support.tokenizers import FAMILIES

POLICY: Policy = tiny_policy(FAMILIES["compact"](), layers=2, dim=32, heads=2, context=2048, seed=1)


def sampler(**settings: Any) -> HFSampler:
    return HFSampler(POLICY.model, eos_ids=settings.pop("eos_ids", POLICY.eos_ids), **settings)


def key(sibling: int, group: int = 0) -> EpisodeKey:
    return EpisodeKey("train", 0, group, sibling)


def prompt_of(length: int, seed: int = 0) -> tuple[int, ...]:
    rng = random.Random(f"{length}/{seed}")
    return tuple(rng.randrange(5, 300) for _ in range(length))


def ask(
    s: HFSampler, prompts: dict[EpisodeKey, tuple[int, ...]], *, turn: int = 0, new: int = 8
) -> dict[EpisodeKey, SampleResult]:
    """One response for every prompt, asked in the order of the dictionary."""

    async def all_of_them() -> list[SampleResult]:
        requests = [SampleRequest(key=k, turn=turn, prompt_ids=p, max_new_tokens=new) for k, p in prompts.items()]
        return list(await asyncio.gather(*(s.sample(r) for r in requests)))

    return dict(zip(prompts, asyncio.run(all_of_them())))


@torch.no_grad()
def plain_logps(prompt: Sequence[int], response: Sequence[int], temperature: float = 1.0) -> list[float]:
    logits = POLICY.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    logp = torch.log_softmax(logits.float() / temperature, -1)
    return logp.gather(-1, torch.tensor(response)[:, None]).squeeze(-1).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_log_probs_equal_a_plain_forward(temperature: float) -> None:
    s = sampler(temperature=temperature)
    prompts = {key(i): prompt_of(5 + 17 * i) for i in range(5)}
    for k in prompts:
        s.join(k)
    for k, result in ask(s, prompts, new=12).items():
        want = plain_logps(prompts[k], result.token_ids, temperature)
        assert result.logps == pytest.approx(want, abs=2e-5)


def test_log_probs_stay_right_over_turns_with_the_cache_kept() -> None:
    """Rows of different lengths, prompts that extend, one that goes back, one that starts anew."""
    s = sampler()
    prompts = {key(i): prompt_of(10 + 9 * i) for i in range(4)}
    for k in prompts:
        s.join(k)
    fed = 0
    for turn in range(4):
        before = s.prefilled_tokens
        results = ask(s, prompts, turn=turn)
        for k, result in results.items():
            assert result.logps == pytest.approx(plain_logps(prompts[k], result.token_ids), abs=2e-5)
        fed = s.prefilled_tokens - before
        assert turn == 0 or fed < sum(len(p) for p in prompts.values())
        prompts = {k: (*p, *results[k].token_ids, *prompt_of(6 + 3 * turn, seed=turn)) for k, p in prompts.items()}
        if turn == 1:
            prompts[key(1)] = prompts[key(1)][:7]
            prompts[key(2)] = prompt_of(80, seed=9)


def test_only_new_tokens_are_fed() -> None:
    s = sampler(eos_ids=frozenset())
    s.join(key(0))
    prompt = prompt_of(50)
    response = ask(s, {key(0): prompt}, new=4)[key(0)].token_ids
    assert s.prefilled_tokens == 50
    longer = (*prompt, *response, *prompt_of(11, seed=1))
    ask(s, {key(0): longer}, turn=1, new=4)
    assert s.prefilled_tokens == 50 + 11 + 1, "the last sampled token was never fed; all before it were"
    assert s.decoded_tokens == 8


def test_new_weights_void_the_cache() -> None:
    s = sampler()
    s.join(key(0))
    prompt = prompt_of(20)
    ask(s, {key(0): prompt})
    s.refresh(version=7)
    result = ask(s, {key(0): prompt}, turn=1)[key(0)]
    assert s.prefilled_tokens == 40
    assert result.policy_version == 7


def test_temperature_0_takes_the_most_likely_token() -> None:
    s = sampler(temperature=0.0, eos_ids=frozenset())
    s.join(key(0))
    prompt = list(prompt_of(9))
    result = ask(s, {key(0): tuple(prompt)}, new=6)[key(0)]
    with torch.no_grad():
        for token, logp in zip(result.token_ids, result.logps):
            logits = POLICY.model(input_ids=torch.tensor([prompt])).logits[0, -1]
            assert token == int(logits.argmax())
            assert logp == pytest.approx(float(torch.log_softmax(logits, -1).max()), abs=2e-5)
            prompt.append(token)


def test_draws_follow_the_distribution() -> None:
    """800 first tokens of one prompt against the model's own probabilities (chi-square over ten bins of tokens)."""
    s = sampler(temperature=0.7, seed=3)
    prompt = prompt_of(6)
    keys = [key(i) for i in range(800)]
    for k in keys:
        s.join(k)
    drawn = [r.token_ids[0] for r in ask(s, dict.fromkeys(keys, prompt), new=1).values()]
    with torch.no_grad():
        logits = POLICY.model(input_ids=torch.tensor([prompt])).logits[0, -1] / 0.7
    order = torch.argsort(logits)
    mass = torch.softmax(logits, -1)[order].cumsum(0)
    bins = {int(token): min(9, int(10 * m)) for token, m in zip(order, mass)}
    expected, counts = [0.0] * 10, [0] * 10
    for token, m in zip(order, torch.softmax(logits, -1)[order]):
        expected[bins[int(token)]] += 800 * float(m)
    for token in drawn:
        counts[bins[token]] += 1
    assert sum((c - e) ** 2 / e for c, e in zip(counts, expected)) < 27.9  # 0.999 quantile with 9 degrees of freedom


def test_a_token_without_probability_is_never_drawn() -> None:
    s = Generator(POLICY.model, eos_ids=POLICY.eos_ids, temperature=1.0, seed=0)
    logits = torch.full((3, 5), float("-inf"))
    logits[:, 2] = 0.0
    tokens, logp = s.draw(logits, torch.tensor([0.0, 0.5, 1.0 - 1e-7]))
    assert tokens.tolist() == [2, 2, 2]
    assert logp.tolist() == [0.0, 0.0, 0.0]


def test_the_order_of_requests_changes_nothing() -> None:
    prompts = {key(s, g): prompt_of(8 + 5 * g + s) for g in range(3) for s in range(3)}
    found: list[dict[EpisodeKey, SampleResult]] = []
    for order in (list(prompts), list(reversed(prompts)), sorted(prompts, key=lambda k: (k.sibling, -k.group))):
        s = sampler(seed=4)
        for k in prompts:
            s.join(k)
        found.append(ask(s, {k: prompts[k] for k in order}))
    assert found[0] == found[1] == found[2]


def test_siblings_turns_and_seeds_draw_different_numbers() -> None:
    prompt = prompt_of(12)
    first, second = sampler(seed=1, eos_ids=frozenset()), sampler(seed=2, eos_ids=frozenset())
    for s in (first, second):
        s.join(key(0))
        s.join(key(1))
    asked = [
        ask(s, {key(0): prompt, key(1): prompt}, turn=turn, new=8)[key(i)].token_ids
        for s in (first, second)
        for turn in (0, 1)
        for i in (0, 1)
    ]
    assert len(set(asked)) == 8


def test_more_episodes_than_slots_so_far() -> None:
    """The cache grows while others hold their keys in it."""
    s = sampler(eos_ids=frozenset())
    prompts: dict[EpisodeKey, tuple[int, ...]] = {}
    for turn in range(3):
        for _ in range(7):
            k = key(len(prompts))
            s.join(k)
            prompts[k] = prompt_of(10 + len(prompts))
        before = s.prefilled_tokens
        results = ask(s, prompts, turn=turn, new=3)
        new_tokens = sum(len(p) for p in list(prompts.values())[-7:])
        assert s.prefilled_tokens - before == new_tokens + 5 * 7 * turn, "what was cached before is still there"
        for k, result in results.items():
            assert result.logps == pytest.approx(plain_logps(prompts[k], result.token_ids), abs=2e-5)
        prompts = {k: (*p, *results[k].token_ids, *prompt_of(4, seed=turn)) for k, p in prompts.items()}


def test_a_freed_slot_forgets_its_episode() -> None:
    s = sampler(eos_ids=frozenset())
    s.join(key(0))
    ask(s, {key(0): prompt_of(60)})
    s.leave(key(0))
    s.join(key(1))
    short = prompt_of(9, seed=5)
    result = ask(s, {key(1): short})[key(1)]
    assert result.logps == pytest.approx(plain_logps(short, result.token_ids), abs=2e-5)
    assert s.prefilled_tokens == 69


@pytest.mark.parametrize("dispatch", ["all", "eager"])
def test_the_cache_stays_right_while_rows_end_early_and_episodes_leave(dispatch: Any) -> None:
    """A third of all tokens ends a response; low slots are freed and taken over by episodes from high ones."""
    s = sampler(eos_ids=frozenset(range(0, 400, 3)), dispatch=dispatch)
    prompts = {key(i): prompt_of(10 + 5 * i) for i in range(12)}
    for k in prompts:
        s.join(k)
    new = sum(len(p) for p in prompts.values())
    lengths: set[int] = set()
    for turn in range(5):
        before = s.prefilled_tokens
        results = ask(s, prompts, turn=turn, new=9)
        assert s.prefilled_tokens - before == new, "what was cached before is still there"
        for k, result in results.items():
            assert result.logps == pytest.approx(plain_logps(prompts[k], result.token_ids), abs=2e-5)
            lengths.add(len(result.token_ids))
        for gone in (key(2 * turn), key(2 * turn + 1)):
            s.leave(gone)
            del prompts[gone]
        prompts = {k: (*p, *results[k].token_ids, *prompt_of(3 + turn, seed=turn)) for k, p in prompts.items()}
        new = len(prompts) * (1 + 3 + turn)  # the last sampled token of a response was not fed
    assert len(lengths) > 4


def test_full_context() -> None:
    s = sampler(context=32)
    s.join(key(0))
    assert len(ask(s, {key(0): prompt_of(24)}, new=8)[key(0)].token_ids) <= 8
    with pytest.raises(ContextFull, match="25 tokens \\+ 8 new ones > 32"):
        ask(s, {key(0): prompt_of(25)}, new=8)


def test_finish_reasons_and_an_end_token_that_belongs_to_the_response() -> None:
    s = sampler(eos_ids=frozenset(range(0, 200)))
    s.join(key(0))
    ended = ask(s, {key(0): prompt_of(10)}, new=64)[key(0)]
    assert ended.finish is FinishReason.EOS
    assert ended.token_ids[-1] < 200
    assert all(i >= 200 for i in ended.token_ids[:-1])
    assert len(ended.logps) == len(ended.token_ids)
    s = sampler(eos_ids=frozenset())
    s.join(key(0))
    cut = ask(s, {key(0): prompt_of(10)}, new=5)[key(0)]
    assert cut.finish is FinishReason.LENGTH
    assert len(cut.token_ids) == 5


def test_waits_for_every_episode_that_lives() -> None:
    """ "all": nothing is decoded before the last live episode asks or leaves."""

    async def check(leaves: bool) -> None:
        s = sampler()
        s.join(key(0))
        s.join(key(1))
        request = SampleRequest(key=key(0), turn=0, prompt_ids=prompt_of(6), max_new_tokens=3)
        first = asyncio.ensure_future(s.sample(request))
        await asyncio.sleep(0.02)
        assert not first.done()
        assert s.decoded_tokens == 0
        if leaves:
            s.leave(key(1))
        else:
            await s.sample(SampleRequest(key=key(1), turn=0, prompt_ids=prompt_of(7), max_new_tokens=3))
        await asyncio.wait_for(first, 5)

    for leaves in (True, False):
        asyncio.run(check(leaves))


def test_eager_dispatch_serves_whoever_asks() -> None:
    async def check() -> SampleResult:
        s = sampler(dispatch="eager")
        s.join(key(0))
        s.join(key(1))
        request = SampleRequest(key=key(0), turn=0, prompt_ids=prompt_of(6), max_new_tokens=3)
        return await asyncio.wait_for(s.sample(request), 20)

    result = asyncio.run(check())
    assert result.logps == pytest.approx(plain_logps(prompt_of(6), result.token_ids), abs=2e-5)


def test_an_error_in_the_model_reaches_whoever_asked() -> None:
    s = sampler()
    s.join(key(0))
    with pytest.raises(IndexError):
        ask(s, {key(0): (5, 10**9)})


def test_joining_twice_is_refused() -> None:
    s = sampler()
    s.join(key(0))
    with pytest.raises(ValueError, match="joined already"):
        s.join(key(0))


def test_prompts_longer_than_one_prefill() -> None:
    """They are fed in parts; each row still ends up in its own slot."""
    s = sampler()
    prompts = {key(i): prompt_of(1500 if i % 2 else 1900 - i) for i in range(10)}
    assert PREFILL_TOKENS < 5 * 1500 + 5 * 1892
    for k in prompts:
        s.join(k)
    for k, result in ask(s, prompts, new=2).items():
        assert result.logps == pytest.approx(plain_logps(prompts[k], result.token_ids), abs=2e-5)


def test_sampling_leaves_the_models_mode_alone() -> None:
    s = sampler()
    s.join(key(0))
    POLICY.model.train()
    ask(s, {key(0): prompt_of(5)})
    assert POLICY.model.training
    POLICY.model.eval()
    ask(s, {key(0): prompt_of(5)}, turn=1)
    assert not POLICY.model.training


def test_the_likeliest_tokens_that_make_up_top_p_share_the_whole_probability() -> None:
    logp = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]], dtype=torch.float64))
    kept = nucleus(logp, 0.7).exp()
    torch.testing.assert_close(kept, torch.tensor([[0.0, 2 / 3, 0.0, 1 / 3]], dtype=torch.float64))
    assert nucleus(logp, 0.01).exp().tolist() == [[0.0, 1.0, 0.0, 0.0]], "one token is always kept"


def test_a_small_top_p_is_greedy_and_top_p_of_one_changes_nothing() -> None:
    prompts = {key(i): prompt_of(9 + i) for i in range(3)}
    outcomes: dict[str, list[tuple[int, ...]]] = {}
    for name, settings in {
        "greedy": {"temperature": 0.0},
        "tiny": {"temperature": 1.0, "top_p": 1e-6},
        "plain": {"temperature": 1.0},
        "one": {"temperature": 1.0, "top_p": 1.0},
    }.items():
        s = sampler(**settings)
        for k in prompts:
            s.join(k)
        outcomes[name] = [result.token_ids for result in ask(s, prompts).values()]
    assert outcomes["tiny"] == outcomes["greedy"] != outcomes["plain"]
    assert outcomes["one"] == outcomes["plain"]


def test_a_response_ends_with_the_token_that_completes_a_stop_string() -> None:
    chat = ChatFormat(POLICY.tokenizer, sorted(POLICY.eos_ids))
    prompts = {key(i): prompt_of(20 + i) for i in range(4)}
    plain = sampler()
    for k in prompts:
        plain.join(k)
    whole = ask(plain, prompts, new=24)
    word = chat.decode(whole[key(0)].token_ids[5:7])
    assert word.strip()
    stopping = sampler(stopped=stop_check(chat, [word]))
    for k in prompts:
        stopping.join(k)
    stopped = ask(stopping, prompts, new=24)
    assert stopped[key(0)].finish is FinishReason.STOP
    for k, result in stopped.items():
        ids = whole[k].token_ids
        assert result.token_ids == ids[: len(result.token_ids)]
        assert result.logps == pytest.approx(whole[k].logps[: len(result.logps)], abs=1e-5)
        ends = [n for n in range(1, len(ids) + 1) if word in chat.decode(ids[:n])]
        if ends:
            assert (len(result.token_ids), result.finish) == (ends[0], FinishReason.STOP)
        else:
            assert result.finish == whole[k].finish
    assert stop_check(chat, []) is None


def test_a_long_prompt_is_fed_in_pieces_and_answered_alike() -> None:
    """The third prompt extends the first: pieces go on behind what is cached."""
    first, answers = [prompt_of(90), prompt_of(41)], []
    for largest in (2**26, 2 * 96 * 10):
        generator = Generator(POLICY.model, eos_ids=frozenset(), temperature=1.0, seed=7, largest_mask=largest)
        episodes = [CachedEpisode(slot=b) for b in range(2)]
        found: list[SampleResult] = []
        for turn, prompts in enumerate((first, [first[0] + prompt_of(60, seed=1), prompt_of(30, seed=2)])):
            requests = [
                SampleRequest(key=key(b), turn=turn, prompt_ids=p, max_new_tokens=4) for b, p in enumerate(prompts)
            ]
            found += generator.generate(list(zip(requests, episodes)), slots=2, version=0)
        answers.append(found)
    assert generator.passes == 9 + 3 + 10 + 3, "pieces of 10 and then of 6 columns, and the other tokens one by one"
    assert [a.token_ids for a in answers[0]] == [a.token_ids for a in answers[1]]
    for one, other in zip(*answers):
        assert one.logps == pytest.approx(other.logps, abs=1e-5)

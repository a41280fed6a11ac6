"""Responses that new weights interrupt: what is there is kept, with its versions, and the rest has the new weights."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlsd.agents.daemon import daemon_future
from rlsd.agents.hf.models import Policy
from rlsd.agents.types import FinishReason, SampleRequest, SampleResult, version_spans
from rlsd.agents.vllm.completions import read_response, request_body
from rlsd.agents.vllm.errors import SamplerError, ServerUnreachable
from rlsd.agents.vllm.fake.server import FakeVLLM
from rlsd.agents.vllm.pieces import cut_at_stop, joined
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import PolicyWeights
from tests.support.vllm_servers import PROMPT, Fake, key, play, sampler_of, small, stir, with_lora

SLOW_S = 0.02


def request(sibling: int, new: int = 40) -> SampleRequest:
    return SampleRequest(key=key(sibling), turn=0, prompt_ids=PROMPT, max_new_tokens=new)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def in_background(sampler: VLLMSampler, count: int, new: int = 40) -> Any:
    """A future of `count` responses that are sampled at once, in a thread of their own."""
    return daemon_future(lambda: [r for (r,) in play(sampler, count, turns=1, new=new)], "episodes")


def decoded(server: FakeVLLM, more: int) -> None:
    """Wait until a server has decoded `more` tokens."""
    goal = server.decoded_tokens + more
    until(lambda: server.decoded_tokens >= goal)


def check_logps(policies: dict[int, Policy], result: SampleResult) -> None:
    """Every piece has the log-probs that the policy of its version gives it behind the prompt and the pieces before."""
    ids, start = [*PROMPT, *result.token_ids], 0
    assert sum(count for _, count in version_spans(result)) == len(result.token_ids) == len(result.logps)
    for version, count in version_spans(result):
        with torch.inference_mode():
            logits = policies[version].model(input_ids=torch.tensor([ids])).logits[0, len(PROMPT) - 1 : -1]
        logp = torch.log_softmax(logits, -1).gather(-1, torch.tensor(result.token_ids)[:, None]).squeeze(-1)
        assert list(result.logps[start : start + count]) == pytest.approx(
            logp[start : start + count].tolist(), abs=1e-4
        )
        start += count


def kept(policy: Policy) -> Policy:
    return replace(policy, model=copy.deepcopy(policy.model))


def half_way(fake: Fake, *, responses: int, tokens: int) -> tuple[FakeVLLM, VLLMSampler, dict[int, Policy], Any]:
    """A slow server with responses of 40 tokens under way, and new weights that were not sent.

    Returns server, sampler, the policies of versions 0 and 1, and the responses to come.
    """
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True)
    sampler.eos_ids = []
    policies = {0: kept(policy)}
    sampler.refresh(0)
    server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, responses)
    decoded(server, tokens)
    stir(policy, 0.05)
    policies[1] = kept(policy)
    return server, sampler, policies, playing


@pytest.mark.parametrize("kind, servers", [("folder", 1), ("folder", 2), ("lora", 1), ("gloo", 1)])
def test_every_piece_has_the_weights_of_its_version(fake: Fake, kind: str, servers: int) -> None:
    policy, running = with_lora(small()) if kind == "lora" else small(), [fake() for _ in range(servers)]
    sampler = sampler_of(policy, *(s.url for s in running), kind=kind, interrupt=True)
    sampler.eos_ids = []
    policies: dict[int, Policy] = {}

    def refresh(version: int) -> None:
        stir(policy, 0.05)
        policies[version] = kept(policy)
        sampler.refresh(version)

    refresh(0)
    for server in running:
        server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, 3)
    for version in (1, 2, 3):
        for server in running:
            decoded(server, 6)
        refresh(version)
        assert not playing.done(), "an update does not wait for the end of a response"
    results = playing.result(60)
    assert [len(r.token_ids) for r in results] == [40] * 3
    assert {r.finish for r in results} == {FinishReason.LENGTH}
    assert {tuple(version for version, _ in r.versions) for r in results} == {(0, 1, 2, 3)}
    for result in results:
        assert result.policy_version == 0
        check_logps(policies, result)
    assert sampler.decoded_tokens == 120, "no token is sampled twice"
    assert sum(s.interrupted for s in running) == 9
    assert sampler.repeated == 0


def test_pieces_have_seeds_of_their_own_and_the_first_that_of_the_whole(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True)
    sampler.refresh(0)
    ((whole,),) = play(sampler, 1, turns=1, new=40)
    ((plain,),) = play(sampler_with(sampler, interrupt=False), 1, turns=1, new=40)
    assert whole == plain, "without an interruption nothing is different"
    seeds: list[int] = []
    sample = server.sample

    def watched(model: Any, body: dict[str, Any], gone: Any) -> Any:
        seeds.append(body["seed"])
        return sample(model, body, gone)

    server.sample = watched  # type: ignore[method-assign]
    server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, 1)
    for version in (1, 2):
        decoded(server, 4)
        sampler.refresh(version)
    (result,) = playing.result(60)
    first = result.versions[0][1]
    assert result.token_ids[:first] == whole.token_ids[:first]
    assert len(set(seeds)) == len(seeds) == 3


def sampler_with(sampler: VLLMSampler, *, interrupt: bool) -> VLLMSampler:
    view = sampler.view(temperature=sampler.temperature, seed=sampler.seed)
    view.interrupt = interrupt
    return view


def test_an_interruption_before_the_first_token_keeps_nothing(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True)
    sampler.refresh(0)
    ((expected,),) = play(sampler, 1, turns=1, new=8)
    begun = server.completions
    server.wrong.token_delay_s = 0.3
    playing = in_background(sampler, 1, new=8)
    until(lambda: server.completions > begun)
    sampler.refresh(1)
    server.wrong.token_delay_s = 0.0
    (result,) = playing.result(60)
    assert server.interrupted == 1
    assert (result.policy_version, result.versions) == (1, ())
    assert (result.token_ids, result.logps) == (expected.token_ids, expected.logps), "the seed of a first piece"


def test_without_interrupt_an_update_waits_for_the_response(fake: Fake) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url)
    sampler.refresh(0)
    server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, 1, new=12)
    decoded(server, 2)
    sampler.refresh(1)
    (result,) = playing.result(60)
    assert (result.policy_version, server.interruptions) == (0, 0)


@pytest.mark.parametrize("dies", ["while it samples", "while the gate is closed"])
def test_nothing_kept_is_lost_or_doubled_when_the_server_restarts(fake: Fake, dies: str) -> None:
    server, sampler, policies, playing = half_way(fake, responses=2, tokens=8)
    revived: list[FakeVLLM] = []

    def restart() -> None:
        server.stop()
        time.sleep(0.2)
        revived.append(fake(port=server.port))

    if dies == "while the gate is closed":
        push, restarting = sampler.weights.push, threading.Thread(target=restart)

        def push_late(version: int) -> None:
            if not restarting.ident:
                restarting.start()
                until(lambda: not server._thread.is_alive())
            push(version)

        sampler.weights.push = push_late  # type: ignore[method-assign]
        sampler.refresh(1)
        restarting.join()
    else:
        sampler.refresh(1)
        decoded(server, 4)
        restart()
    results = playing.result(60)
    for result in results:
        assert [version for version, _ in result.versions] == [0, 1]
        assert len(result.token_ids) == 40
        check_logps(policies, result)
    assert revived[0].completions == 2


@pytest.mark.parametrize("fault", ["fail", "garbage", "wrong_model"])
def test_a_rest_that_is_asked_again_begins_behind_what_is_kept(fake: Fake, fault: str) -> None:
    server, sampler, policies, playing = half_way(fake, responses=1, tokens=5)
    push = sampler.weights.push

    def push_and_break(version: int) -> None:
        push(version)
        setattr(server.wrong, fault, 2)

    sampler.weights.push = push_and_break  # type: ignore[method-assign]
    sampler.refresh(1)
    (result,) = playing.result(60)
    assert sampler.repeated == 2
    assert len(result.token_ids) == 40
    assert [version for version, _ in result.versions] == [0, 1]
    check_logps(policies, result)


def test_an_episode_cancelled_while_it_waits_for_the_weights_asks_for_no_rest(fake: Fake) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url, interrupt=True)
    sampler.refresh(0)
    server.wrong.token_delay_s = SLOW_S
    pushing, cancelled = threading.Event(), threading.Event()
    push = sampler.weights.push

    def slow_push(version: int) -> None:
        pushing.set()
        assert cancelled.wait(60)
        push(version)

    async def episode() -> None:
        sampler.join(key(0))
        task = asyncio.ensure_future(sampler.sample(request(0)))
        while not pushing.is_set():
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sampler.leave(key(0))
        cancelled.set()

    playing = daemon_future(lambda: asyncio.run(asyncio.wait_for(episode(), 60)), "episode")
    decoded(server, 4)
    sampler.weights.push = slow_push  # type: ignore[method-assign]
    sampler.refresh(1)
    playing.result(60)
    assert server.interrupted == 1
    assert server.completions == 1
    assert sampler.decoded_tokens == server.decoded_tokens >= 4, "tokens of an episode that was dropped count too"
    sampler.weights.push = push  # type: ignore[method-assign]
    sampler.refresh(2)
    server.wrong.token_delay_s = 0.0
    assert len(play(sampler, 2)) == 2, "the gate is open again"


def test_a_server_that_is_gone_holds_an_interruption_up_no_longer_than_its_requests(fake: Fake) -> None:
    """The requests of the dead server fail and wait for the gate; the update then waits for it, with a limit."""
    servers = [fake(), fake()]
    sampler = sampler_of(small(), *(s.url for s in servers), interrupt=True, reconnect_s=0.3)
    sampler.refresh(0)
    for server in servers:
        server.wrong.token_delay_s = SLOW_S
    in_background(sampler, 2)
    for server in servers:
        decoded(server, 2)
    servers[0].stop()
    with pytest.raises(ServerUnreachable, match=r"waited 0\.3 s"):
        sampler.refresh(1)


def test_an_interruption_for_another_process_leaves_one_version(fake: Fake) -> None:
    """Servers end the requests of all processes of a run; this one's weights have not changed yet."""
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True)
    sampler.eos_ids = []
    sampler.refresh(0)
    server.wrong.token_delay_s = SLOW_S
    playing = in_background(sampler, 1)
    decoded(server, 5)
    assert sampler.weights.servers[0].abort()
    (result,) = playing.result(60)
    assert server.interrupted == 1
    assert (len(result.token_ids), result.policy_version, result.versions) == (40, 0, ())
    check_logps({0: policy}, result)


def test_a_server_that_ends_every_response_at_once_is_one_clear_error(fake: Fake) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url, interrupt=True, retries=2)
    sampler.refresh(0)
    server.wrong.aborted_at_once = True
    with pytest.raises(SamplerError, match=r"4 times in a row .* before its first token .* /abort_requests"):
        play(sampler, 1, turns=1)
    assert server.completions == 4


def test_a_response_that_every_update_ends_before_its_first_token_is_asked_for_again(fake: Fake) -> None:
    """As one that waits behind others on its server."""
    server = fake()
    sampler = sampler_of(small(), server.url, interrupt=True, retries=0)
    sampler.refresh(0)
    server.wrong.token_delay_s = 0.3
    playing = in_background(sampler, 1, new=4)
    for version in (1, 2, 3):
        until(lambda: server.completions == version)  # noqa: B023
        sampler.refresh(version)
    server.wrong.token_delay_s = 0.0
    (result,) = playing.result(60)
    assert server.interrupted == 3
    assert (len(result.token_ids), result.policy_version) == (4, 3)


@pytest.mark.parametrize("when", ["while weights are checked", "while the server is checked", "while it scores"])
def test_log_probs_that_another_processs_update_ended_are_asked_for_again(fake: Fake, when: str) -> None:
    """Servers end the requests of all processes, those for log-probs too."""
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True)
    if when == "while weights are checked":
        sampler.connect()
        server.wrong.aborted_scores = 1
    sampler.refresh(0)
    loads = server.cache_resets
    if when == "while the server is checked":
        server.wrong.aborted_scores = 1
        assert len(play(sampler, 1)) == 1
    elif when == "while it scores":
        play(sampler, 1)
        server.wrong.aborted_scores = 2
        scores = sampler.score([PROMPT], version=0)[0]
        assert scores == pytest.approx(PolicyWeights(policy).logps(PROMPT), abs=1e-4)
    assert server.wrong.aborted_scores == 0
    assert server.cache_resets == loads, "the weights are not sent again"


# ---------------------------------------------------------------------- borders between pieces


def reply(ids: list[int], reason: str) -> dict[str, Any]:
    choice = {"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}, "finish_reason": reason}
    return {"model": "m", "choices": [choice]}


@pytest.mark.parametrize(
    "ids, finish",
    [
        ([], FinishReason.ABORT),
        ([1, 2], FinishReason.ABORT),
        ([1, 9], FinishReason.EOS),  # it ended just then
        ([1, 2, 3], FinishReason.LENGTH),
        ([1, 2, 9], FinishReason.EOS),
    ],
)
def test_an_interrupted_response_that_was_complete_is_not_continued(ids: list[int], finish: FinishReason) -> None:
    body = request_body(PROMPT, model="m", max_new_tokens=3, temperature=1.0, seed=0, eos_ids=[9])
    result = read_response(reply(ids, "abort"), body, version=4, partial=True)
    assert (result.finish, result.token_ids) == (finish, tuple(ids))
    with pytest.raises(ValueError, match=r"token_ids is \[\]|finish_reason is 'abort'"):
        read_response(reply(ids, "abort"), body, version=4)
    with pytest.raises(ValueError, match="token_ids is"):
        read_response(reply([], "stop"), body, version=4, partial=True)


def test_a_response_that_its_interruption_completes_is_not_asked_on(fake: Fake) -> None:
    """All of max_tokens are there when the server says `abort`: a rest of no tokens would be refused."""
    server = fake()
    sampler = sampler_of(small(), server.url, interrupt=True)
    sampler.refresh(0)
    sample = server.sample
    server.sample = lambda *a: (lambda made: made and (*made[:2], "abort"))(sample(*a))  # type: ignore[method-assign]
    ((result,),) = play(sampler, 1, turns=1, new=3)
    assert (len(result.token_ids), result.finish) == (3, FinishReason.LENGTH)
    assert server.completions == 1


def piece(ids: Sequence[int], finish: FinishReason, version: int) -> SampleResult:
    return SampleResult(token_ids=tuple(ids), logps=(-0.5,) * len(ids), finish=finish, policy_version=version)


def test_pieces_of_one_version_are_one_span() -> None:
    """As when another process's update interrupts, and this one's weights are the same still."""
    whole = joined(piece([1, 2], FinishReason.ABORT, 3), piece([4], FinishReason.ABORT, 3))
    assert (whole.versions, version_spans(whole)) == ((), ((3, 3),))
    whole = joined(joined(whole, piece([5, 6], FinishReason.ABORT, 5)), piece([7], FinishReason.EOS, 5))
    assert whole.versions == version_spans(whole) == ((3, 3), (5, 3))
    assert (whole.token_ids, whole.policy_version, whole.finish) == ((1, 2, 4, 5, 6, 7), 3, FinishReason.EOS)


def test_a_stop_string_across_the_border_ends_the_response() -> None:
    """Tokens are letters here. The server, which sees the second piece alone, went on to its end."""

    def stopped(ids: Sequence[int]) -> bool:
        return "stop" in "".join(map(chr, ids))[-20:]

    def cut(first: str, second: str) -> SampleResult:
        whole = joined(
            piece([ord(c) for c in first], FinishReason.ABORT, 1), piece([ord(c) for c in second], FinishReason.EOS, 2)
        )
        return cut_at_stop(whole, len(first), ("stop",), stopped)

    result = cut("abst", "op more")
    assert "".join(map(chr, result.token_ids)) == "abstop"
    assert (result.finish, result.versions, len(result.logps)) == (FinishReason.STOP, ((1, 4), (2, 2)), 6)
    assert cut("abst", "ep").finish is FinishReason.EOS
    assert "".join(map(chr, cut("ab", "stop").token_ids)) == "abstop"


def test_a_stop_string_across_the_border_is_found_in_what_a_server_sent(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, interrupt=True, temperature=0.0)
    sampler.eos_ids = []
    sampler.refresh(0)
    ((whole,),) = play(sampler, 1, turns=1, new=12)

    def text(ids: Sequence[int]) -> str:
        return policy.tokenizer.decode(list(ids), skip_special_tokens=False)

    border = 4
    straddling = text(whole.token_ids[: border + 1])
    sampler.stop, sampler.stopped = (straddling,), lambda ids: straddling in text(ids)
    sample, asked = server.sample, []

    def interrupted(model: Any, body: dict[str, Any], gone: Any) -> Any:
        asked.append(len(body["prompt"]))
        made = sample(model, body, gone)
        return (made[0][:border], made[1][:border], "abort") if made is not None and len(asked) == 1 else made

    server.sample = interrupted  # type: ignore[method-assign]
    ((result,),) = play(sampler, 1, turns=1, new=12)
    assert asked == [len(PROMPT), len(PROMPT) + border]
    assert result.token_ids == whole.token_ids[: border + 1]
    assert result.finish is FinishReason.STOP

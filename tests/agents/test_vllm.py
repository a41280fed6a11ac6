"""vLLM's routes, spoken by the shipped stand-in: sampling, weights that are proven to be in use, and every fault."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlsd.agents.core import ContextFull, EpisodeKey, FinishReason, SampleRequest, SampleResult
from rlsd.agents.models import Policy, save_policy, tiny_policy
from rlsd.agents.vllm_client import (
    SamplerError,
    ServerMismatch,
    ServerReply,
    ServerUnreachable,
    StalePolicy,
    VLLMServer,
    read_response,
    request_body,
)
from rlsd.agents.vllm_fake import FakeVLLM
from rlsd.agents.vllm_sampler import VLLMSampler
from rlsd.agents.vllm_source import PolicyWeights
from rlsd.agents.vllm_weights import WeightSync
from tests.tokenizers import FAMILIES

PROMPT = tuple(range(5, 25))
Fake = Callable[..., FakeVLLM]


def small(seed: int = 3, family: str = "compact") -> Policy:
    return tiny_policy(FAMILIES[family](), layers=1, dim=32, heads=2, context=256, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the server starts from it."""
    folder = tmp_path_factory.mktemp("model")
    save_policy(small(), folder)
    return folder


@pytest.fixture
def fake(folder: Path) -> Iterator[Fake]:
    """Starts stand-ins; all are gone at the end."""
    running: list[FakeVLLM] = []

    def start(place: Path = folder, **arguments: Any) -> FakeVLLM:
        running.append(FakeVLLM(place, **arguments))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def sampler_of(policy: Policy, *urls: str, kind: Any = "folder", **settings: Any) -> VLLMSampler:
    sync = WeightSync(
        [VLLMServer(url, timeout_s=30) for url in urls], PolicyWeights(policy), policy.tokenizer, kind=kind, context=256
    )
    settings = {"patience_s": 20.0, **settings}
    return VLLMSampler(sync, eos_ids=policy.eos_ids, seed=7, context=256, **settings)


def key(sibling: int, group: int = 0) -> EpisodeKey:
    return EpisodeKey("train", 0, group, sibling)


def play(sampler: VLLMSampler, count: int, *, turns: int = 2, new: int = 12) -> list[list[SampleResult]]:
    """`count` episodes at once, each of some turns."""

    async def episode(sibling: int) -> list[SampleResult]:
        sampler.join(key(sibling))
        try:
            return [
                await sampler.sample(SampleRequest(key=key(sibling), turn=turn, prompt_ids=PROMPT, max_new_tokens=new))
                for turn in range(turns)
            ]
        finally:
            sampler.leave(key(sibling))

    async def run() -> list[list[SampleResult]]:
        return await asyncio.gather(*(episode(i) for i in range(count)))

    return asyncio.run(run())


def logps(policy: Policy, result: SampleResult, temperature: float = 1.0) -> list[float]:
    """What the policy itself gives the sampled ids."""
    with torch.inference_mode():
        logits = policy.model(input_ids=torch.tensor([[*PROMPT, *result.token_ids]])).logits[0, len(PROMPT) - 1 : -1]
    logp = torch.log_softmax(logits / temperature, dim=-1)
    return logp.gather(-1, torch.tensor(result.token_ids)[:, None]).squeeze(-1).tolist()


def stir(policy: Policy, size: float = 0.02) -> None:
    """An update."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight += size * torch.randn_like(weight)


# ---------------------------------------------------------------------- sampling


def test_samples_with_the_learners_log_probs(fake: Fake) -> None:
    policy, server = small(), fake()
    sampler = sampler_of(policy, server.url, temperature=1.4)
    sampler.refresh(0)
    first, second = play(sampler, 6), play(sampler, 6)
    assert first == second, "seeds follow from (episode, turn)"
    results = [r for episode in first for r in episode]
    assert len({r.token_ids for r in results}) > 6
    assert {r.finish for r in results} >= {FinishReason.LENGTH}
    for result in results:
        assert list(result.logps) == pytest.approx(logps(policy, result, 1.4), abs=1e-4)
    assert sampler.decoded_tokens == server.decoded_tokens == 2 * sum(len(r.token_ids) for r in results)
    assert sampler.busy_s > 0


def test_long_prompt_is_a_full_context(fake: Fake) -> None:
    sampler = sampler_of(small(), fake().url)
    sampler.refresh(0)
    with pytest.raises(ContextFull):
        play(sampler, 1, new=250)


def test_episodes_go_to_the_least_loaded_server_and_stay(fake: Fake) -> None:
    servers = [fake(), fake()]
    sampler = sampler_of(small(), *(s.url for s in servers))
    sampler.refresh(0)
    play(sampler, 6, turns=3)
    assert [s.completions for s in servers] == [9, 9]


def test_cancelled_episode_stops_the_servers_decoding(fake: Fake) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url)
    sampler.refresh(0)
    server.wrong.token_delay_s = 0.02

    async def run() -> None:
        sampler.join(key(0))
        request = SampleRequest(key=key(0), turn=0, prompt_ids=PROMPT, max_new_tokens=200)
        task = asyncio.ensure_future(sampler.sample(request))
        while server.decoded_tokens < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sampler.leave(key(0))
        while not server.aborted:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert server.decoded_tokens < 100


# ---------------------------------------------------------------------- faults of the transport


@pytest.mark.parametrize("fault", ["fail", "garbage", "wrong_model"])
def test_bad_answers_are_asked_again(fake: Fake, fault: str) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url)
    sampler.refresh(0)
    clean = play(sampler, 3)
    setattr(server.wrong, fault, 3)
    assert play(sampler, 3) == clean
    assert sampler.repeated == 3


@pytest.mark.parametrize(
    "fault, error, told",
    [
        ("fail", ServerUnreachable, r"answered 500.*Internal Server Error.*tried 3 times"),
        ("garbage", ServerReply, r"unusable answer.*tried 3 times"),
        ("wrong_model", ServerReply, r"comes from model 'another'.*tried 3 times"),
    ],
)
def test_too_many_bad_answers_are_one_clear_error(fake: Fake, fault: str, error: Any, told: str) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url, retries=2)
    sampler.refresh(0)
    setattr(server.wrong, fault, 99)
    with pytest.raises(error, match=told):
        play(sampler, 1)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"token_ids": None}, "token_ids is None"),
        ({"token_ids": [1, "a"]}, "token_ids"),
        ({"token_ids": [1, 2, 3]}, "3 token ids with 2 log-probs"),
        ({"logprobs": {"token_logprobs": [-1.0, None]}}, "finite numbers"),
        ({"logprobs": {"token_logprobs": [-1.0, 3.0]}}, "finite numbers"),
        ({"logprobs": {"token_logprobs": [-1.0, float("nan")]}}, "finite numbers"),
        ({"logprobs": None}, "NoneType"),
        ({"finish_reason": "abort"}, "finish_reason is 'abort'"),
        ({"finish_reason": "stop", "token_ids": [1, 2]}, "none of the end ids"),
    ],
)
def test_answers_are_checked(change: dict[str, Any], told: str) -> None:
    body = request_body(PROMPT, model="m", max_new_tokens=2, temperature=1.0, seed=0, eos_ids=[9])
    good = {"token_ids": [1, 9], "logprobs": {"token_logprobs": [-1.0, -0.5]}, "finish_reason": "stop"}
    assert read_response({"model": "m", "choices": [good]}, body, version=4).policy_version == 4
    with pytest.raises((ValueError, TypeError), match=told):
        read_response({"model": "m", "choices": [{**good, **change}]}, body, version=4)


def test_unreachable_server_is_named_at_the_start(fake: Fake) -> None:
    server = fake()
    server.stop()
    with pytest.raises(ServerUnreachable, match=rf"{server.url}.*rlsd serve policy.*sampler\.urls"):
        sampler_of(small(), server.url).connect()


def test_a_server_that_stays_away_ends_the_run_with_its_name(fake: Fake) -> None:
    server = fake()
    sampler = sampler_of(small(), server.url, patience_s=0.3)
    sampler.refresh(0)
    server.stop()
    with pytest.raises(ServerUnreachable, match=rf"{server.url}.*waited 0\.3 s"):
        play(sampler, 2)
    with pytest.raises(ServerUnreachable, match=r"waited 0\.3 s"):
        sampler.refresh(1)


@pytest.mark.parametrize("kind", ["folder", "lora"])
def test_killed_and_restarted_server_gets_the_weights_again(fake: Fake, kind: str) -> None:
    """It comes back with the weights it starts from; no episode is lost, none is sampled from those."""
    policy, server = with_lora(small()) if kind == "lora" else small(), fake()
    sampler = sampler_of(policy, server.url, kind=kind)
    stir(policy)
    sampler.refresh(3)
    server.wrong.token_delay_s = 0.01
    revived: list[FakeVLLM] = []

    def kill() -> None:
        while server.completions < 5:
            time.sleep(0.005)
        server.stop()
        time.sleep(0.3)
        revived.append(fake(port=server.port))

    killer = threading.Thread(target=kill)
    killer.start()
    episodes = play(sampler, 4, turns=3)
    killer.join()
    results = [r for episode in episodes for r in episode]
    assert len(results) == 12
    assert revived[0].completions > 0
    for result in results:
        assert result.policy_version == 3
        assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-4)


def test_a_restart_nobody_saw_is_found_at_the_next_rollout(fake: Fake) -> None:
    policy, server = small(), fake()
    for lacks in ((), ("/weight_info", "/update_weight_version")):  # the probe alone finds it too
        sampler = sampler_of(policy, server.url)
        stir(policy, 1e-3)
        sampler.refresh(1)
        server.stop()
        server = fake(port=server.port)
        server.wrong = replace(server.wrong, lacks=lacks)
        for result in (r for episode in play(sampler, 2) for r in episode):
            assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-5)


def test_the_other_server_carries_on(fake: Fake) -> None:
    servers = [fake(), fake()]
    sampler = sampler_of(small(), *(s.url for s in servers))
    sampler.refresh(0)
    servers[0].stop()
    assert len(play(sampler, 4)) == 4
    assert servers[1].completions == 8


# ---------------------------------------------------------------------- scoring


def test_whole_sequences_are_scored_as_the_policy_does(fake: Fake) -> None:
    policy, servers = small(), [fake(), fake()]
    stir(policy)
    sampler = sampler_of(policy, *(s.url for s in servers))
    sampler.refresh(2)
    sequences = [tuple(range(5, 25 + n)) for n in range(6)]
    found = sampler.score(sequences, version=2)
    source = PolicyWeights(policy)
    for ids, logps_found in zip(sequences, found, strict=True):
        assert logps_found == pytest.approx(source.logps(ids), abs=1e-4)
    assert [s.scored_tokens for s in servers] == [sum(map(len, sequences[i::2])) for i in range(2)]
    assert sampler.decoded_tokens == 0
    assert sampler.score([], version=2) == []


def test_scores_of_another_policy_version_are_refused(fake: Fake) -> None:
    sampler = sampler_of(small(), fake().url)
    sampler.refresh(2)
    with pytest.raises(StalePolicy, match="policy 3 is to be scored, the servers were sent version 2"):
        sampler.score([PROMPT], version=3)
    with pytest.raises(SamplerError, match=r"draws at 0\.8.*score_teacher"):
        sampler.view(temperature=0.8, seed=1).score([PROMPT], version=2)


def test_a_server_restarted_between_rollout_and_scoring_gets_the_weights_first(fake: Fake) -> None:
    policy, server = small(), fake()
    stir(policy)
    sampler = sampler_of(policy, server.url)
    sampler.refresh(1)
    server.stop()
    revived = fake(port=server.port)
    assert sampler.score([PROMPT], version=1)[0] == pytest.approx(PolicyWeights(policy).logps(PROMPT), abs=1e-4)
    assert revived.cache_resets == 1


def test_a_sequence_too_long_to_score_is_one_clear_error(fake: Fake) -> None:
    sampler = sampler_of(small(), fake().url, retries=1)
    sampler.refresh(0)
    with pytest.raises(ServerReply, match=r"256 prompt tokens and 1 new ones exceed 256.*tried 2 times"):
        sampler.score([[5] * 256], version=0)


# ---------------------------------------------------------------------- weights


def with_lora(policy: Policy) -> Policy:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return replace(policy, model=get_peft_model(policy.model, lora))


@pytest.mark.parametrize("kind", ["folder", "lora"])
def test_new_weights_reach_the_server(fake: Fake, kind: str) -> None:
    policy, server = with_lora(small()) if kind == "lora" else small(), fake()
    sampler = sampler_of(policy, server.url, kind=kind)
    for version in range(3):
        sampler.refresh(version)
        results = [r for episode in play(sampler, 2) for r in episode]
        assert {r.policy_version for r in results} == {version}
        for result in results:
            assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-4)
        stir(policy)
    assert any(abs(a - b) > 1e-3 for a, b in zip(results[0].logps, logps(policy, results[0]), strict=True))
    assert server.cache_resets == 3
    folder = sampler.weights.folder
    assert [p.name for p in folder.iterdir()] == ["rlsd-v000002"], "one version is kept"
    sampler.close()
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["folder", "lora"])
@pytest.mark.parametrize("size", [1e-4, 0.2])
def test_server_that_keeps_its_weights_is_found_out(fake: Fake, kind: str, size: float) -> None:
    policy, server = with_lora(small()) if kind == "lora" else small(), fake()
    sampler = sampler_of(policy, server.url, kind=kind)
    stir(policy)
    sampler.refresh(0)
    stir(policy, size)
    server.wrong.keep_weights = True
    with pytest.raises(StalePolicy, match="kept its old weights"):
        sampler.refresh(1)


class Pair:
    """Two threads as two processes of a run."""

    def __init__(self, main: bool, barrier: threading.Barrier, held: dict[bool, Any]) -> None:
        self.main, self._barrier, self._held = main, barrier, held

    def gather(self, value: Any) -> list[Any]:
        self._held[self.main] = value
        self._barrier.wait(60)
        found = [self._held[True], self._held[False]]
        self._barrier.wait(60)
        return found


@pytest.mark.parametrize("lying", [False, True])
def test_of_several_processes_the_main_one_sends_and_all_know(fake: Fake, lying: bool) -> None:
    server, barrier, held = fake(), threading.Barrier(2), {}
    policies = [small(), small()]
    samplers = [sampler_of(policy, server.url) for policy in policies]
    for main, sampler in zip((True, False), samplers, strict=True):
        sampler.weights.peers = Pair(main, barrier, held)
    told: list[str] = []

    def refresh(version: int) -> None:
        def one(sampler: VLLMSampler) -> None:
            try:
                sampler.refresh(version)
            except StalePolicy as error:
                told.append(str(error))

        threads = [threading.Thread(target=one, args=(sampler,)) for sampler in samplers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    refresh(0)
    for policy in policies:
        stir(policy)
    server.wrong.keep_weights = lying
    refresh(1)
    if lying:
        assert len(told) == 2
        assert told[0] == told[1], "all processes stop, with the same reason"
        return
    assert told == []
    assert server.cache_resets == 2, "loaded once a version"
    for policy, sampler in zip(policies, samplers, strict=True):
        for result in (r for episode in play(sampler, 2) for r in episode):
            assert result.policy_version == 1
            assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-4)


def test_one_adapter_is_served_at_a_time_under_its_versions_name(fake: Fake) -> None:
    """A run that starts again with the same version numbers replaces what the one before left."""
    policy, server = with_lora(small()), fake()
    for version in (0, 1, 1):
        stir(policy)
        sampler = sampler_of(policy, server.url, kind="lora")
        sampler.refresh(version)
        assert list(server.adapters) == [f"rlsd-policy-v{version}"]
        for result in (r for episode in play(sampler, 2) for r in episode):
            assert list(result.logps) == pytest.approx(logps(policy, result), abs=1e-4)
        sampler.close()


def test_prefix_cache_that_is_in_use_is_emptied_later(fake: Fake) -> None:
    server = fake()
    server.wrong.stuck_cache = 2
    sampler_of(small(), server.url).refresh(0)
    assert server.cache_resets == 1


@pytest.mark.parametrize(
    "lacks, kind, told",
    [
        ("/v1/completions", "folder", "is it a vLLM server"),
        ("return_token_ids", "folder", "does not know 'return_token_ids': take a newer vLLM"),
        ("/collective_rpc", "folder", "VLLM_SERVER_DEV_MODE=1"),
        ("/reset_prefix_cache", "folder", "VLLM_SERVER_DEV_MODE=1"),
        ("prompt_logprobs", "folder", "does not know 'prompt_logprobs': take a newer vLLM"),
        ("/v1/load_lora_adapter", "lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ("/v1/unload_lora_adapter", "lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ("/v1/models", "folder", "404"),
    ],
)
def test_missing_capability_is_named(fake: Fake, lacks: str, kind: str, told: str) -> None:
    server = fake()
    server.wrong = replace(server.wrong, lacks=(lacks,))
    policy = with_lora(small()) if kind == "lora" else small()
    with pytest.raises((ServerMismatch, ServerReply), match=told):
        sampler_of(policy, server.url, kind=kind).connect()


def test_server_with_another_tokenizer_is_refused(fake: Fake, tmp_path: Path) -> None:
    save_policy(small(family="bytelevel-chatml"), tmp_path)
    with pytest.raises(ServerMismatch, match="another tokenizer"):
        sampler_of(small(), fake(tmp_path).url).connect()


def test_server_with_too_short_a_context_is_refused(fake: Fake) -> None:
    with pytest.raises(ServerMismatch, match=r"takes 128 tokens.*--max-model-len 256"):
        sampler_of(small(), fake(context=128).url).connect()


def test_server_with_another_model_is_refused(fake: Fake) -> None:
    """Same tokenizer, other weights, and a reload that does nothing."""
    server, policy = fake(), small()
    stir(policy, 1.0)
    server.wrong.keep_weights = True
    with pytest.raises(ServerMismatch, match=r"differs from the learner by .* nats.*another model"):
        sampler_of(policy, server.url).refresh(0)

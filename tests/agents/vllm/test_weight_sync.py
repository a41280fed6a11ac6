"""New weights for vLLM servers: proven to be in use, whichever way they travel; servers that cannot be used."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from rlsd.agents.daemon import daemon_future
from rlsd.agents.hf.models import save_policy
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import SamplerError, ServerMismatch, ServerReply, StalePolicy
from rlsd.agents.vllm.files import Folders, release, temporary
from rlsd.agents.vllm.sampler import VLLMSampler
from rlsd.agents.vllm.source import PolicyWeights
from rlsd.agents.vllm.weight_sync import WeightSync
from tests.support.vllm_servers import Fake, Pair, logps, play, sampler_of, small, stir, with_lora


@pytest.mark.parametrize("kind", ["folder", "lora", "gloo"])
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
    if kind == "gloo":
        return
    folder = sampler.weights.carrier.folder
    assert [p.name for p in folder.iterdir()] == ["rlsd-v000002"], "one version is kept"
    sampler.close()
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["folder", "lora", "gloo"])
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
        ("return_token_ids", "folder", "does not know 'return_token_ids': use a newer vLLM"),
        ("/collective_rpc", "folder", "VLLM_SERVER_DEV_MODE=1"),
        ("/reset_prefix_cache", "folder", "VLLM_SERVER_DEV_MODE=1"),
        ("prompt_logprobs", "folder", "does not know 'prompt_logprobs': use a newer vLLM"),
        ("/v1/load_lora_adapter", "lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ("/v1/unload_lora_adapter", "lora", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ("/init_weight_transfer_engine", "gloo", "VLLM_SERVER_DEV_MODE=1"),
        ("/get_world_size", "gloo", "use a newer vLLM"),
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


def test_a_folder_that_cannot_be_written_is_told(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    policy = small()
    source = PolicyWeights(policy)
    carrier = Folders(source, tmp_path / "taken")
    sync = WeightSync([VLLMServer(fake().url)], source, policy.tokenizer, carrier=carrier, context=256)
    with pytest.raises(SamplerError, match=r"cannot write weights for the servers to .*taken.*sampler\.weights_folder"):
        sync.push(0)
    sync.close()


def test_a_killed_learners_weights_go_when_the_next_one_starts() -> None:
    """Locks say who lives: a process that was killed holds none."""
    words = "import time; from rlsd.agents.vllm import files as v; print(v.temporary()[0], flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours, lock = temporary()
        assert theirs.is_dir()
        other.kill()
    third, another = temporary()
    try:
        assert not theirs.exists()
        assert ours.is_dir()
    finally:
        release(ours, lock)
        release(third, another)
    assert not ours.exists()
    assert not ours.with_suffix(".lock").exists()


def test_stand_ins_in_one_process_load_adapters_at_the_same_time(fake: Fake) -> None:
    """As two processes of a run make several do, and transformers does not."""
    running = [fake(), fake()]
    sampler = sampler_of(with_lora(small()), running[0].url, kind="lora")
    sampler.refresh(0)
    place = str(next(sampler.weights.carrier.folder.iterdir()))
    barrier = threading.Barrier(8)

    def load(number: int) -> None:
        barrier.wait(60)
        running[number % 2].load_adapter(f"a{number}", place)

    loading = [daemon_future(lambda number=number: load(number), "load") for number in range(8)]
    for done in loading:
        done.result(60)
    assert [len(server.adapters) for server in running] == [5, 4]

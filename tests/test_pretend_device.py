"""The pretended device refuses what a GPU refuses, and nothing else."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tests.support.pretend_device import pretend_cuda

REAL = torch.cuda.is_available()


def gpu(*shape: int) -> Tensor:
    return torch.ones(*shape, device="cuda")


BAD: dict[str, Callable[[], object]] = {
    "add": lambda: gpu(3) + torch.ones(3),
    "a CPU tensor in place, by a scalar of the GPU": lambda: torch.ones(3).add_(gpu(1)[0]),
    "compare": lambda: gpu(3) == torch.ones(3),
    "equal": lambda: torch.equal(gpu(3), torch.ones(3)),
    "mask": lambda: gpu(3).masked_fill(torch.ones(3, dtype=torch.bool), 0.0),
    "where": lambda: torch.where(gpu(3) > 0, gpu(3), torch.ones(3)),
    "cat": lambda: torch.cat([gpu(3), torch.ones(3)]),
    "stack of scalars": lambda: torch.stack([gpu(1)[0], torch.tensor(1.0)]),
    "gather": lambda: gpu(3).gather(0, torch.tensor([0])),
    "scatter": lambda: gpu(3).scatter(0, torch.tensor([0]), 1.0),
    "index_add": lambda: torch.zeros(2).index_add_(0, torch.tensor([0], device="cuda"), torch.ones(1)),
    "index of a CPU tensor": lambda: torch.ones(3)[torch.tensor([0], device="cuda")],
    "mask of a CPU tensor": lambda: torch.ones(3)[gpu(3) > 0],
    "values of another device": lambda: gpu(3).__setitem__(torch.tensor([0, 1]), torch.ones(2)),
    "embedding": lambda: nn.Embedding(4, 2).to("cuda")(torch.tensor([1])),
    "linear": lambda: nn.Linear(3, 3).cuda()(torch.ones(2, 3)),
    "attention mask": lambda: _attend(gpu(1, 1, 2, 4), torch.zeros(2, 2)),
    "numpy": lambda: gpu(3).numpy(),
    "generator for the GPU": lambda: torch.multinomial(gpu(3), 1, generator=torch.Generator()),
    "generator for the CPU": lambda: torch.rand(3, generator=torch.Generator("cuda")),
    "bernoulli": lambda: torch.bernoulli(gpu(3), generator=torch.Generator()),
    "gradient": lambda: setattr(gpu(3).requires_grad_(), "grad", torch.ones(3)),
    "random state": lambda: torch.cuda.set_rng_state(torch.cuda.get_rng_state().cuda()),
    "loss": lambda: nn.functional.mse_loss(nn.Linear(2, 1).cuda()(gpu(1, 2)), torch.zeros(1, 1)),
}
GOOD: dict[str, Callable[[], Tensor]] = {
    "a CPU scalar": lambda: gpu(3) + torch.tensor(2.0),
    "a CPU scalar in where": lambda: torch.where(gpu(3) > 0, gpu(3), torch.tensor(0.0)),
    "CPU indices": lambda: gpu(3)[torch.tensor([0, 1])],
    "a CPU mask": lambda: gpu(3)[torch.tensor([True, False, True])],
    "copy_": lambda: gpu(3).copy_(torch.zeros(3)),
    "a slice": lambda: _filled(gpu(3)),
    "views and new tensors": lambda: gpu(4).view(2, 2).T.new_zeros(2),
    "to another tensor's device": lambda: torch.ones(3).to(gpu(1)),
    "device and dtype": lambda: torch.ones(3).to("cuda", torch.float64),
    "like": lambda: torch.zeros_like(torch.ones(3), device="cuda"),
    "a default device": lambda: _by_default(),
    "a copied module": lambda: copy.deepcopy(nn.Linear(3, 3).to("cuda")).weight,
    "its generator": lambda: torch.multinomial(gpu(3), 1, generator=torch.Generator("cuda").manual_seed(3)),
}


def _attend(tensor: Tensor, mask: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(tensor, tensor, tensor, attn_mask=mask)


def _filled(tensor: Tensor) -> Tensor:
    tensor[:2] = torch.zeros(2)
    return tensor


def _by_default() -> Tensor:
    with torch.device("cuda"):
        return torch.zeros(2)


@pytest.mark.parametrize("name", BAD)
def test_what_a_gpu_refuses_is_refused(name: str) -> None:
    with pretend_cuda(), pytest.raises((RuntimeError, TypeError), match=r"device|cpu|cuda|ByteTensor"):
        BAD[name]()


@pytest.mark.parametrize("name", GOOD)
def test_what_a_gpu_takes_is_taken_and_stays_there(name: str) -> None:
    with pretend_cuda():
        found = GOOD[name]()
        assert found.is_cuda
        assert str(found.device) == "cuda:0"
        assert not found.cpu().is_cuda
        assert found.detach().cpu().numpy().shape == found.shape


def test_a_module_trains_there() -> None:
    with pretend_cuda():
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to("cuda")
        optimizer = torch.optim.AdamW(model.parameters())
        with torch.autocast("cuda", dtype=torch.bfloat16):
            made = model(gpu(5, 3))
        assert made.dtype == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(gpu(5, 3)).dtype == torch.float32  # the other device's has no effect
        made.float().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for p in model.parameters():
            assert p.grad is not None
            assert p.is_cuda
            assert p.grad.is_cuda
            assert optimizer.state[p]["exp_avg"].is_cuda
        cache = DynamicCache()
        cache.update(gpu(1, 1, 2, 4), gpu(1, 1, 2, 4), 0)
        with pytest.raises(RuntimeError, match="same device"):
            cache.update(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), 0)
    assert torch.ones(3).device.type == "cpu"
    assert torch.cuda.is_available() == REAL


def test_it_counts_how_often_values_are_waited_for() -> None:
    with pretend_cuda() as device:
        tensor = gpu(3) * 2
        tensor[torch.tensor([0], device="cuda")] += 1
        assert device.reads == 0
        for ask in (tensor.tolist, tensor.sum().item, tensor.cpu, lambda: tensor[tensor > 0], lambda: bool(tensor[0])):
            before = device.reads
            ask()
            assert device.reads == before + 1


def test_threads_are_watched_too() -> None:
    told: list[str] = []

    def work() -> None:
        try:
            gpu(3).add_(torch.ones(3))
        except RuntimeError as error:
            told.append(str(error))

    with pretend_cuda():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "same device" in told[0]

"""The learner's end of a process group with one server's workers: rank 0, which sends."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rlsd.agents.vllm_gloo import GlooGroup

HEAD_START_S = 1.0
"""A server that refuses does so at once; NCCL's wait for one that does not come cannot be ended."""


class Link(Protocol):
    """Rank 0's end of a group."""

    def send(self, tensor: Tensor) -> None:
        """Broadcast; may return before the tensor has left."""
        ...

    def flush(self) -> None:
        """Return when all that was sent has been received."""
        ...

    def close(self) -> None: ...


class GlooLink:
    """Over TCP, from CPU memory."""

    def __init__(self, host: str, port: int, world: int, timeout_s: float, given_up: Callable[[], bool]) -> None:
        self._group: GlooGroup | None = GlooGroup(
            host, port, rank=0, world=world, timeout_s=timeout_s, given_up=given_up
        )

    def send(self, tensor: Tensor) -> None:
        assert self._group is not None, "closed"
        self._group.broadcast(tensor.to("cpu").contiguous())

    def flush(self) -> None:
        """Each broadcast has ended when it returns."""

    def close(self) -> None:
        self._group = None


class NcclLink:
    """From GPU memory, through the communicator that vLLM's workers use (vLLM must be installed here too).

    On a stream of its own: a server that died in the middle blocks that one alone.
    """

    def __init__(self, host: str, port: int, world: int, timeout_s: float, given_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + HEAD_START_S
        while time.monotonic() < deadline and not given_up():
            time.sleep(0.05)
        if given_up():
            raise RuntimeError("the server refused")
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._comm = _nccl(host, port, world, self._device)
        if getattr(self._comm, "disabled", False):
            raise RuntimeError("vLLM found no NCCL library in this process")
        self._stream = torch.cuda.Stream(self._device)
        self._under_way: list[Tensor] = []

    def send(self, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.default_stream(self._device))  # the optimizer's step comes first
        with torch.cuda.stream(self._stream):
            moved = tensor.to(self._device).contiguous()
            self._comm.broadcast(moved, src=0, stream=self._stream)
        self._under_way.append(moved)

    def flush(self) -> None:
        self._stream.synchronize()
        self._under_way.clear()

    def close(self) -> None:
        destroy = getattr(self._comm, "destroy", None)
        if callable(destroy):
            destroy()


def _nccl(host: str, port: int, world: int, device: torch.device) -> Any:
    """vLLM's communicator, formed as its own workers form theirs."""
    try:
        from vllm.distributed.weight_transfer.nccl_common import stateless_init_process_group
    except ImportError:
        from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator
        from vllm.distributed.utils import StatelessProcessGroup

        group = StatelessProcessGroup.create(host=host, port=port, rank=0, world_size=world)
        return PyNcclCommunicator(group, device=device)
    return stateless_init_process_group(host, port, 0, world, device)


LINKS: dict[str, Callable[[str, int, int, float, Callable[[], bool]], Link]] = {"gloo": GlooLink, "nccl": NcclLink}

"""The learner's end of a process group with one server's workers: rank 0, which sends."""

# pyright: reportMissingImports=false
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rlsd.agents.vllm.gloo import GlooGroup

HEAD_START_S = 1.0
"""A server that refuses does so at once; NCCL's wait for one that does not come cannot be ended."""

MOST_COPIED = 2**30
"""Bytes of copies on the GPU (of weights that lie elsewhere) that wait to be received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Where and how a group forms."""

    host: str
    port: int
    world: int
    """Members."""
    device: torch.device
    """The learner's."""
    timeout_s: float
    refused: threading.Event = field(default_factory=threading.Event)
    """Set when the server will not come."""


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

    def __init__(self, meeting: Meeting) -> None:
        self._group: GlooGroup | None = GlooGroup(
            meeting.host,
            meeting.port,
            rank=0,
            world=meeting.world,
            timeout_s=meeting.timeout_s,
            given_up=meeting.refused.is_set,
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

    def __init__(self, meeting: Meeting) -> None:
        if meeting.refused.wait(HEAD_START_S):
            raise RuntimeError("the server refused")
        self._device = meeting.device
        with torch.cuda.device(self._device):  # threads begin with the first GPU
            self._comm = _nccl(meeting)
        if getattr(self._comm, "disabled", False):
            raise RuntimeError("vLLM found no NCCL library in this process")
        self._stream = torch.cuda.Stream(self._device)
        self._under_way: list[Tensor] = []
        self._copied = 0

    def send(self, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.default_stream(self._device))  # the optimizer's step comes first
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            moved = tensor.to(self._device).contiguous()
            self._comm.broadcast(moved, src=0, stream=self._stream)
        self._under_way.append(moved)  # a broadcast reads it later
        self._copied += moved.nbytes if moved is not tensor else 0
        if self._copied > MOST_COPIED:
            self.flush()

    def flush(self) -> None:
        self._stream.synchronize()
        self._under_way.clear()
        self._copied = 0

    def close(self) -> None:
        destroy = getattr(self._comm, "destroy", None)
        if callable(destroy):
            destroy()


def _nccl(meeting: Meeting) -> Any:
    """vLLM's communicator, formed as its own workers form theirs."""
    host, port, world, device = meeting.host, meeting.port, meeting.world, meeting.device
    try:
        from vllm.distributed.weight_transfer.nccl_common import stateless_init_process_group
    except ImportError:
        from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator
        from vllm.distributed.utils import StatelessProcessGroup

        group = StatelessProcessGroup.create(host=host, port=port, rank=0, world_size=world)
        return PyNcclCommunicator(group, device=device)
    return stateless_init_process_group(host, port, 0, world, device)


LINKS: dict[str, Callable[[Meeting], Link]] = {"gloo": GlooLink, "nccl": NcclLink}

"""The learner's side (rank 0, the sender) of a process group with one server's workers."""

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
"""A server refuses within this time, in seconds; NCCL's wait for a missing member cannot be interrupted."""

MOST_COPIED = 2**30
"""Maximum bytes of pending GPU copies (of weights on other devices)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """How a group forms."""

    host: str
    port: int
    world: int
    """Number of members."""
    device: torch.device
    """The learner's device."""
    timeout_s: float
    refused: threading.Event = field(default_factory=threading.Event)
    """Set when the server refuses."""


class Link(Protocol):
    """Rank 0's side of a group."""

    def send(self, tensor: Tensor) -> None:
        """Broadcast; may return before the tensor is sent."""
        ...

    def flush(self) -> None:
        """Return when every tensor has been received."""
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
        """Nothing to do: broadcasts are synchronous."""

    def close(self) -> None:
        self._group = None


class NcclLink:
    """From GPU memory, through the communicator that vLLM's workers use (vLLM must be installed here too).

    On a separate stream: a server that dies during a transfer blocks only that stream.
    """

    def __init__(self, meeting: Meeting) -> None:
        if meeting.refused.wait(HEAD_START_S):
            raise RuntimeError("the server refused")
        self._device = meeting.device
        with torch.cuda.device(self._device):  # new threads start on the first GPU
            self._comm = _nccl(meeting)
        if getattr(self._comm, "disabled", False):
            raise RuntimeError("vLLM found no NCCL library in this process")
        self._stream = torch.cuda.Stream(self._device)
        self._under_way: list[Tensor] = []
        self._copied = 0

    def send(self, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.default_stream(self._device))  # wait for the optimizer's step
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            moved = tensor.to(self._device).contiguous()
            self._comm.broadcast(moved, src=0, stream=self._stream)
        self._under_way.append(moved)  # keep it alive until the broadcast reads it
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
    """vLLM's communicator, created as in its workers."""
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

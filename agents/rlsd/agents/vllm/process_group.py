"""Process groups of the learner and one server's workers, separate from torch's default group.

The learner is rank 0, the sender. `GlooGroup` is both sides' group over TCP; a `Link` is the learner's side of a group,
over TCP or from GPU to GPU.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

POLL_S = 0.02

HEAD_START_S = 1.0
"""A server refuses within this time, in seconds; NCCL's wait for a missing member cannot be interrupted."""

MOST_COPIED = 2**30
"""Maximum bytes of pending GPU copies (of weights on other devices)."""


class GlooGroup:
    """Whole models over TCP. Nothing is pickled; tensors are sent as bytes, whatever their dtype.

    Args:
        host: address of rank 0, reachable from the others.
        port: a free port there.
        rank: 0 sends.
        world: number of members.
        timeout_s: maximum wait for the others, to form the group and for every tensor.
        given_up: rank 0 stops waiting for the others when it returns True.

    Raises:
        RuntimeError: the others did not connect, or torch's own error.
        OSError: rank 0's address is not this machine's, or its port is in use.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rank: int,
        world: int,
        timeout_s: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        longest = timedelta(seconds=timeout_s)
        here: dict[str, Any] = {}
        if rank == 0:  # torch would listen on every interface
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            here = {"master_listen_fd": socket.create_server((host, port), family=family).detach(), "use_libuv": False}
        self._store = dist.TCPStore(
            host, port, world, is_master=rank == 0, timeout=longest, wait_for_workers=False, **here
        )
        self._store.set(f"here/{rank}", "1")
        if rank == 0:  # torch's own wait cannot be interrupted, and exiting during it aborts the process
            others = [f"here/{i}" for i in range(1, world)]
            deadline = time.monotonic() + timeout_s
            while not self._store.check(others):
                if given_up() or time.monotonic() > deadline:
                    raise RuntimeError(f"no worker connected to {host}:{port} within {timeout_s:g} s")
                time.sleep(POLL_S)
        gloo: Any = dist.ProcessGroupGloo
        options = gloo._Options()
        options._timeout = longest
        # use the network interface that reaches rank 0; the host name may resolve to another
        options._devices = [gloo.create_device(hostname=own_address(host))]
        self._group = gloo(dist.PrefixStore("rlsd", self._store), rank, world, options)

    def broadcast(self, tensor: Tensor) -> None:
        """Copy rank 0's values into every member's `tensor`, which must be contiguous and in CPU memory.

        Raises:
            RuntimeError: a member disconnected.
        """
        self._group.broadcast(tensor.view(-1).view(torch.uint8), 0).wait()


def own_address(host: str) -> str:
    """This machine's address on the route to `host`.

    Raises:
        OSError: no route to `host`.
    """
    family, _, _, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect(place)  # a datagram socket only picks a route, it sends nothing
        return way.getsockname()[0]


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

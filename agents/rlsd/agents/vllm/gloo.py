"""Whole models over TCP: a gloo group of the learner and one server's workers, separate from torch's default group.

The learner is rank 0. Nothing is pickled; tensors are sent as bytes, whatever their dtype.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

POLL_S = 0.02


class GlooGroup:
    """A separate process group.

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

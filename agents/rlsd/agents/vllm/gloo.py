"""Whole models over TCP: a gloo group of one learner and one server's workers, apart from torch's default group.

The learner is rank 0. Nothing is pickled; tensors travel as bytes, so every dtype does.
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
    """A process group of its own.

    Args:
        host: address of rank 0, as the others see it.
        port: free there.
        rank: 0 sends.
        world: members.
        timeout_s: longest wait for the others, when the group forms and for every tensor.
        given_up: rank 0 stops waiting for the others when it says so.

    Raises:
        RuntimeError: the others did not come, or torch's own error.
        OSError: rank 0's address is not this machine's, or its port is taken.
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
        if rank == 0:  # torch's own socket would listen on every interface
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            here = {"master_listen_fd": socket.create_server((host, port), family=family).detach(), "use_libuv": False}
        self._store = dist.TCPStore(
            host, port, world, is_master=rank == 0, timeout=longest, wait_for_workers=False, **here
        )
        self._store.set(f"here/{rank}", "1")
        if rank == 0:  # torch's own wait cannot be ended, and a process that exits meanwhile is aborted
            others = [f"here/{i}" for i in range(1, world)]
            deadline = time.monotonic() + timeout_s
            while not self._store.check(others):
                if given_up() or time.monotonic() > deadline:
                    raise RuntimeError(f"nobody came to {host}:{port} within {timeout_s:g} s")
                time.sleep(POLL_S)
        gloo: Any = dist.ProcessGroupGloo
        options = gloo._Options()
        options._timeout = longest
        # of several network interfaces the one that leads to rank 0, which the host's name may not
        options._devices = [gloo.create_device(hostname=own_address(host))]
        self._group = gloo(dist.PrefixStore("rlsd", self._store), rank, world, options)

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's values into everybody's `tensor`, which is contiguous and in CPU memory.

        Raises:
            RuntimeError: a member is gone.
        """
        self._group.broadcast(tensor.view(-1).view(torch.uint8), 0).wait()


def own_address(host: str) -> str:
    """This machine's address as `host` sees it.

    Raises:
        OSError: no way leads there.
    """
    family, _, _, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect(place)  # of a datagram socket: picks a route, sends nothing
        return way.getsockname()[0]

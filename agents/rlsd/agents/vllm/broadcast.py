"""Weight transport by tensors that a server receives through vLLM's weight transfer, without files.

The learner (rank 0) and the workers of one server form a process group. For each version the server gets names, shapes
and dtypes in a request, then one broadcast per tensor. Each server has its own group, so a restart affects no other.
`nccl` sends from GPU to GPU through vLLM's own engine, `gloo` over TCP through rlsd's plug-in engine (`plugin`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from importlib.util import find_spec
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor

from rlsd.agents.daemon import daemon_future
from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import ServerMismatch, ServerReply, ServerUnreachable
from rlsd.agents.vllm.files import empty_cache
from rlsd.agents.vllm.plugin import BACKENDS
from rlsd.agents.vllm.process_group import LINKS, Link, Meeting, own_address
from rlsd.agents.vllm.source import WeightSource

T = TypeVar("T")
GRACE_S = 2.0
"""Seconds to wait for the server's error message after a failure here."""


class Groups:
    """Transports tensors.

    Args:
        source: the learner's weights.
        kind: "nccl" or "gloo".
        address: of this machine, reachable from the servers; default: the address on the route to them.
        device: the learner's device, from which `nccl` sends.
        keep: keep a copy of each version in CPU memory, for a server that restarts while the learner's weights change.
        timeout_s: maximum wait for a group to form, in seconds.
    """

    routes: tuple[str, ...] = (
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/get_world_size",
        "/reset_prefix_cache",
    )

    shared = False

    def __init__(
        self,
        source: WeightSource,
        *,
        kind: Literal["nccl", "gloo"],
        address: str | None = None,
        device: torch.device | None = None,
        keep: bool = False,
        timeout_s: float = 600.0,
    ) -> None:
        self.source = source
        self.kind = kind
        self.together = kind == "gloo"  # several NCCL communicators on one GPU must not be used concurrently
        self._address = address
        self._device = device or torch.device("cpu")
        self._keep = keep
        self._timeout_s = timeout_s
        self._kept: dict[str, Tensor] | None = None
        self._links: dict[str, Link] = {}

    def check(self) -> None:
        if self.kind != "nccl":
            return
        if self._device.type != "cuda":
            raise ServerMismatch(
                f"sampler.weights=nccl sends from GPU memory, the learner is on {self._device.type}: use gloo or folder"
            )
        if find_spec("vllm") is None:
            raise ServerMismatch(
                "sampler.weights=nccl uses vLLM's communicator in the learner's environment too: pip install vllm "
                "there, or use gloo or folder"
            )

    def prepare(self, version: int) -> None:
        if self._keep:
            self._kept = {name: tensor.to("cpu", copy=True) for name, tensor in self.source.tensors().items()}

    def load(self, server: VLLMServer, version: int) -> None:
        tensors = self.source.tensors() if self._kept is None else self._kept
        if not self._sent_again(server, tensors):
            self._send_anew(server, tensors)
        empty_cache(server)

    def model(self, base: str, version: int) -> str:
        return base

    def forget(self, server: VLLMServer) -> None:
        link = self._links.pop(server.url, None)
        if link is not None:
            link.close()

    def state(self) -> None:
        return None

    def set_state(self, state: None) -> None:
        """Nothing to do."""

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    # ------------------------------------------------------------------ parts

    def _sent_again(self, server: VLLMServer, tensors: Mapping[str, Tensor]) -> bool:
        """Send over the existing group; returns False if it is gone (e.g. the server restarted)."""
        if server.url not in self._links:
            return False
        try:
            self._send(server, tensors)
        except (ServerUnreachable, ServerReply):
            self.forget(server)
            return False
        return True

    def _send_anew(self, server: VLLMServer, tensors: Mapping[str, Tensor]) -> None:
        """Send over a new group, twice: if an earlier learner died during a transfer, vLLM 0.32 mixes its tensors into
        the unfinished layer, or fails there; the second update repairs it."""
        for last in (False, True):
            try:
                if server.url not in self._links:
                    self._links[server.url] = self._open(server)
                self._send(server, tensors)
            except (ServerUnreachable, ServerReply):
                self.forget(server)
                if last:
                    raise
            except BaseException:
                self.forget(server)
                raise

    def _open(self, server: VLLMServer) -> Link:
        """Form a group with the server's workers.

        Raises:
            ServerMismatch: it was started without weight transfer.
            ServerUnreachable: it stopped, or cannot reach this machine.
        """
        world = 1 + int(server.call("GET", "/get_world_size")["world_size"])
        host = self._address or own_address(urlsplit(server.url).hostname or server.url)
        port = free_port(host)
        if server.offers("/shutdown_weight_transfer_engine"):
            self._ask_anyhow(server, "/shutdown_weight_transfer_engine")  # of an earlier learner
        meeting = Meeting(host=host, port=port, world=world, device=self._device, timeout_s=self._timeout_s)
        init_info = {"master_address": host, "master_port": port, "rank_offset": 1, "world_size": world}

        def there() -> None:
            try:
                self._ask(server, "/init_weight_transfer_engine", {"init_info": init_info})
            except BaseException:
                meeting.refused.set()
                raise

        return self._beside(server, there, lambda: LINKS[self.kind](meeting))

    def _send(self, server: VLLMServer, tensors: Mapping[str, Tensor]) -> None:
        link = self._links[server.url]
        update = {
            "names": list(tensors),
            "dtype_names": [str(t.dtype).removeprefix("torch.") for t in tensors.values()],
            "shapes": [list(t.shape) for t in tensors.values()],
        }

        def send() -> None:
            for tensor in tensors.values():
                link.send(tensor)
            link.flush()

        self._ask_anyhow(server, "/start_weight_update")
        self._beside(server, lambda: self._ask(server, "/update_weights", {"update_info": update}), send)
        self._ask(server, "/finish_weight_update")

    def _ask_anyhow(self, server: VLLMServer, path: str) -> None:
        """Also works after an earlier learner ended between start and finish of an update."""
        try:
            self._ask(server, path)
        except ServerUnreachable:
            if not server.healthy():
                raise
            self._ask(server, "/finish_weight_update")
            self._ask(server, path)

    def _ask(self, server: VLLMServer, path: str, body: Any = None) -> None:
        """
        Raises:
            ServerMismatch: the server runs but refuses: it was started for another transfer, or none.
            ServerUnreachable: it stopped.
        """
        try:
            server.call("POST", path, body)
        except ServerUnreachable as error:
            if not server.healthy() or path != "/init_weight_transfer_engine":
                raise
            raise ServerMismatch(
                f"{error}; start the server with `rlsd serve policy FOLDER --transfer {self.kind}` (vLLM's "
                f'--weight-transfer-config \'{{"backend": "{BACKENDS[self.kind]}"}}\''
                + (", rlsd installed in vLLM's environment)" if self.kind == "gloo" else ")")
            ) from error

    def _beside(self, server: VLLMServer, there: Callable[[], None], here: Callable[[], T]) -> T:
        """The result of `here()`, run concurrently with `there()` (a request that ends when the server is done). The
        first failure ends both; a thread that still waits for the other side runs into its time-out.

        Raises:
            ServerUnreachable: `here` failed.
            SamplerError: `there` did.
        """
        asked: Future[Any] = daemon_future(there, f"ask {server.url}")
        done = daemon_future(here, f"send to {server.url}")
        wait([asked, done], return_when=FIRST_EXCEPTION)
        if asked.done() and (reason := asked.exception()):
            raise reason
        failed = done.exception() if done.done() else None
        if failed is None:
            asked.result()
            return done.result()
        wait((asked,), timeout=GRACE_S)
        if asked.done() and (reason := asked.exception()):
            raise reason
        raise ServerUnreachable(
            f"{server.url}: weights could not be sent over {self.kind}: {' '.join(str(failed).split())[:200]}. Server "
            "and learner must reach each other (sampler.weights_address names this machine as the servers see it)"
        ) from failed


def free_port(host: str) -> int:
    """A free TCP port of this machine's address `host`.

    Raises:
        ServerMismatch: `host` is not an address of this machine.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.bind((host, 0))
            return listener.getsockname()[1]
    except OSError as error:
        raise ServerMismatch(
            f"this machine cannot listen at {host} ({error.strerror}), where servers fetch weights: set "
            "sampler.weights_address to an address of this machine that they can reach"
        ) from error

"""Weight transport by files that a server reads. (`broadcast`: by tensors that it receives.)"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError

from rlsd.agents.vllm.client import VLLMServer
from rlsd.agents.vllm.errors import SamplerError, ServerReply
from rlsd.agents.vllm.source import WeightSource

ADAPTER = "rlsd-policy-v"
"""Prefix of the names of served LoRA adapters; the policy version follows."""
TEMPORARY = "rlsd-weights-"
LOCK = ".lock"
CACHE_TRIES = 40
"""Attempts to reset a prefix cache that is in use, 0.25 s apart."""


class Carrier(Protocol):
    """Transports versions of the learner's weights to servers."""

    routes: tuple[str, ...]
    """Routes a server must have."""
    together: bool
    """Several servers may be loaded concurrently."""
    shared: bool
    """Every process of the run can load, after `set_state`; otherwise only the main one."""

    def check(self) -> None:
        """Check that this process can transport weights.

        Raises:
            SamplerError: names what is missing.
        """
        ...

    def prepare(self, version: int) -> None:
        """Called once per version in the main process, before any server is loaded."""
        ...

    def load(self, server: VLLMServer, version: int) -> None:
        """Load `version`, the last prepared one, into one server.

        Raises:
            SamplerError: a server that does not respond or refuses.
        """
        ...

    def model(self, base: str, version: int) -> str:
        """The model name under which a server with base model `base` serves `version`."""
        ...

    def forget(self, server: VLLMServer) -> None:
        """Discard what is known about a server that may have restarted."""
        ...

    def state(self) -> Any:
        """State that the other processes need in order to load."""
        ...

    def set_state(self, state: Any) -> None:
        """Adopt the main process's state."""
        ...

    def close(self) -> None: ...


class _Files:
    """One folder per version: vLLM keeps cached prefixes of an adapter whose path stays the same."""

    together = True
    shared = True

    def __init__(self, source: WeightSource, folder: Path | None) -> None:
        self.source = source
        self._folder = folder
        self._release: Callable[[], object] = lambda: None
        """Removes a temporary folder of this process."""

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder, lock = temporary()
            self._release = weakref.finalize(self, release, self._folder, lock)
        return self._folder

    def place(self, version: int) -> Path:
        return self.folder / f"rlsd-v{version:06d}"

    def check(self) -> None:
        """Nothing to check: writing reports its errors."""

    def state(self) -> str:
        return str(self.folder)

    def set_state(self, state: str) -> None:
        self._folder = Path(state)

    def forget(self, server: VLLMServer) -> None:
        """Nothing to do: files persist."""

    def close(self) -> None:
        self._release()

    def _write(self, version: int, *, adapter: bool) -> None:
        place = self.place(version)
        shutil.rmtree(place, ignore_errors=True)
        try:
            self.source.write(place, adapter=adapter)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(place, ignore_errors=True)
            raise SamplerError(
                f"cannot write weights for the servers to {place}: {error}; free space there, or set "
                "sampler.weights_folder to a folder that the servers see under the same path"
            ) from error
        for old in self.folder.glob("rlsd-v*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)


class Folders(_Files):
    """A transformers folder that every server reloads.

    Args:
        source: the learner's weights.
        folder: for the versions, with the same path on the servers; default: a temporary one.
    """

    routes: tuple[str, ...] = ("/collective_rpc", "/reset_prefix_cache")

    def prepare(self, version: int) -> None:
        self._write(version, adapter=False)

    def load(self, server: VLLMServer, version: int) -> None:
        place = str(self.place(version).resolve())
        server.call("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": place}})
        empty_cache(server)

    def model(self, base: str, version: int) -> str:
        return base


class Adapters(_Files):
    """A LoRA adapter with a name per version, so that no other version can answer a request. It does not use vLLM's
    `load_inplace`: 0.32 keeps that flag with the name, reads the folder again for every batch, and crashes on a
    deleted folder. Arguments as for `Folders`."""

    routes: tuple[str, ...] = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")

    def __init__(self, source: WeightSource, folder: Path | None) -> None:
        super().__init__(source, folder)
        self._restarted: set[str] = set()
        """Restarted servers: an adapter with this version's name there was loaded by another process of this run.
        Elsewhere it may be from another run."""

    def prepare(self, version: int) -> None:
        self._restarted.clear()
        self._write(version, adapter=True)

    def forget(self, server: VLLMServer) -> None:
        self._restarted.add(server.url)

    def load(self, server: VLLMServer, version: int) -> None:
        name, place = f"{ADAPTER}{version}", str(self.place(version).resolve())
        restarted = server.url in self._restarted
        for served in _served(server):
            if served.startswith(ADAPTER) and not (restarted and served == name):
                server.call("POST", "/v1/unload_lora_adapter", {"lora_name": served})
        if not (restarted and name in _served(server)):
            try:
                server.call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": place})
            except ServerReply:
                if not (restarted and name in _served(server)):
                    raise  # else another process was faster
        self._restarted.discard(server.url)
        if server.offers("/reset_prefix_cache"):
            empty_cache(server)

    def model(self, base: str, version: int) -> str:
        return f"{ADAPTER}{version}"


def temporary() -> tuple[Path, int]:
    """A new temporary folder, and a file descriptor whose lock marks it as in use. Removes the folders of killed
    processes, whose locks are free: each contains a whole model."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*{LOCK}"):
        with contextlib.suppress(OSError):  # in use, or another user's
            descriptor = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left.with_suffix(""), left)
            finally:
                os.close(descriptor)
    lock, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=LOCK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = Path(name).with_suffix("")  # created after its lock, so that it does not look abandoned
    folder.mkdir(mode=0o700)
    return folder, lock


def release(folder: Path, lock: int) -> None:
    """Remove the folder and lock of `temporary`."""
    _remove(folder, folder.with_suffix(LOCK))
    os.close(lock)


def _remove(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)


def _served(server: VLLMServer) -> list[str]:
    return [str(m["id"]) for m in server.models()]


def empty_cache(server: VLLMServer) -> None:
    """Reset the prefix cache, which contains keys and values of the previous weights.

    Raises:
        SamplerError: the cache stays in use.
    """
    for attempt in range(CACHE_TRIES):
        late: dict[str, Any] = {"reset_running_requests": "true"} if 2 * attempt > CACHE_TRIES else {}
        reply = server.call("POST", "/reset_prefix_cache", **late)
        if not isinstance(reply, dict) or reply.get("success", True):
            return
        time.sleep(0.25)
    raise SamplerError(f"{server.url} did not empty its prefix cache: is another client using it?")

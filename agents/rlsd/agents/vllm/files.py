"""How weights get into a server: files that it reads. (`broadcast`: tensors that it receives.)"""

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

from rlsd.agents.vllm.client import SamplerError, ServerReply, VLLMServer
from rlsd.agents.vllm.source import WeightSource

ADAPTER = "rlsd-policy-v"
"""What the names of served LoRA adapters begin with; the policy version follows."""
TEMPORARY = "rlsd-weights-"
LOCK = ".lock"
CACHE_TRIES = 40
"""How often a prefix cache that is in use is asked to empty itself, a quarter of a second apart."""


class Carrier(Protocol):
    """Brings a version of the learner's weights to servers."""

    routes: tuple[str, ...]
    """What a server must offer."""
    together: bool
    """Several servers may be loaded at once."""
    shared: bool
    """Every process of the run can load, once it was told how; else the main one alone."""

    def check(self) -> None:
        """Whether this process can carry at all.

        Raises:
            SamplerError: what it lacks.
        """
        ...

    def prepare(self, version: int) -> None:
        """Once a version, before any server gets it, in the main process."""
        ...

    def load(self, server: VLLMServer, version: int) -> None:
        """Bring `version`, the one that was prepared last, to one server.

        Raises:
            SamplerError: a server that does not answer or refuses.
        """
        ...

    def model(self, base: str, version: int) -> str:
        """The model name under which a server with base model `base` serves `version`."""
        ...

    def forget(self, server: VLLMServer) -> None:
        """The server may be another one now."""
        ...

    def told(self) -> Any:
        """What the other processes must know to load too."""
        ...

    def tell(self, told: Any) -> None:
        """Take over what the main process told."""
        ...

    def close(self) -> None: ...


class _Files:
    """A folder for each version: vLLM keeps cached prefixes of an adapter whose path stays the same."""

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
        """Whether files can be written is seen when they are."""

    def told(self) -> str:
        return str(self.folder)

    def tell(self, told: str) -> None:
        self._folder = Path(told)

    def forget(self, server: VLLMServer) -> None:
        """Files stay as they are."""

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
                f"cannot write weights for the servers to {place}: {error}; make room there, or name a folder that the "
                "servers see under the same path in sampler.weights_folder"
            ) from error
        for old in self.folder.glob("rlsd-v*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)


class Folders(_Files):
    """A transformers folder that every server reads anew.

    Args:
        source: the learner's weights.
        folder: where versions are written, at a path the servers see under the same name; default: a temporary one.
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
    """A LoRA adapter under a name of its own, so that no other version can answer a request. Not with vLLM's
    `load_inplace`: 0.32 keeps that flag with the name, reads the folder again for every batch, and dies when it is
    gone. Arguments as for `Folders`."""

    routes: tuple[str, ...] = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")

    def __init__(self, source: WeightSource, folder: Path | None) -> None:
        super().__init__(source, folder)
        self._restarted: set[str] = set()
        """Servers that lost what they were sent: what they have now under this version's name, another process of this
        run has loaded. Else it may be another run's."""

    def prepare(self, version: int) -> None:
        self._restarted.clear()
        self._write(version, adapter=True)

    def forget(self, server: VLLMServer) -> None:
        self._restarted.add(server.url)

    def load(self, server: VLLMServer, version: int) -> None:
        name, place = f"{ADAPTER}{version}", str(self.place(version).resolve())
        restarted = server.url in self._restarted
        for held in _served(server):
            if held.startswith(ADAPTER) and not (restarted and held == name):
                server.call("POST", "/v1/unload_lora_adapter", {"lora_name": held})
        if not (restarted and name in _served(server)):
            try:
                server.call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": place})
            except ServerReply:
                if not (restarted and name in _served(server)):
                    raise  # else another process was quicker
        self._restarted.discard(server.url)
        if server.offers("/reset_prefix_cache"):
            empty_cache(server)

    def model(self, base: str, version: int) -> str:
        return f"{ADAPTER}{version}"


def temporary() -> tuple[Path, int]:
    """A new temporary folder, and a file descriptor whose lock says that it is in use. Folders of processes that were
    killed, whose locks are free, go: each holds a whole model."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*{LOCK}"):
        with contextlib.suppress(OSError):  # in use, or another user's
            found = os.open(left, os.O_RDWR)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left.with_suffix(""), left)
            finally:
                os.close(found)
    lock, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=LOCK)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = Path(name).with_suffix("")  # after its lock, so that nobody takes it for one left behind
    folder.mkdir(mode=0o700)
    return folder, lock


def release(folder: Path, lock: int) -> None:
    """Remove what `temporary` made."""
    _remove(folder, folder.with_suffix(LOCK))
    os.close(lock)


def _remove(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)


def _served(server: VLLMServer) -> list[str]:
    return [str(m["id"]) for m in server.models()]


def empty_cache(server: VLLMServer) -> None:
    """Empty the prefix cache, which holds keys and values of the weights before.

    Raises:
        SamplerError: it stays in use.
    """
    for attempt in range(CACHE_TRIES):
        late: dict[str, Any] = {"reset_running_requests": "true"} if 2 * attempt > CACHE_TRIES else {}
        found = server.call("POST", "/reset_prefix_cache", **late)
        if not isinstance(found, dict) or found.get("success", True):
            return
        time.sleep(0.25)
    raise SamplerError(f"{server.url} did not empty its prefix cache: is another client using it?")

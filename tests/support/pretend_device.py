"""A second device that is not there: what would fail on a GPU fails here, on a machine without one.

Inside `pretend_cuda()` tensors that were created on or moved to "cuda" stay in CPU memory, but their storage is marked.
Marked tensors say `device == cuda:0`, results of marked tensors are marked, and what real PyTorch refuses is refused
with its words: operations that mix devices (a CPU scalar may mix, CPU indices into a CUDA tensor may, `copy_` may),
`numpy()`, a generator of another device, autocast of the wrong device (no effect). Only torch itself is changed.

    with pretend_cuda() as gpu:
        torch.zeros(3, device="cuda") + torch.ones(3)      RuntimeError: Expected all tensors to be on the same device
        gpu.reads                                          values fetched from the device so far: each one waits for it

What it cannot see: kernels, streams, memory, numerics, several processes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
WHOLE = {"cat", "stack", "mm", "addmm", "bmm", "linear", "gather", "scatter", "scatter_", "index_add_", "index_select"}
"""Take no CPU scalars either."""
MOVES = {"to", "cuda", "cpu", "type"}


class Pretended:
    """The marks, and what was done with marked tensors."""

    def __init__(self) -> None:
        self.on = True
        self.calls: Counter[str] = Counter()
        """How often `torch.cuda.NAME` was called."""
        self.reads = 0
        """Times that the processor asked for values of the device, and so waited for it."""
        self.seed = torch.zeros(16, dtype=torch.uint8)
        """The device's random state."""
        self._marks: dict[int, StorageWeakRef] = {}
        self._lock = threading.Lock()

    def has(self, tensor: Tensor) -> bool:
        """Whether the tensor is on the pretended device."""
        key = _key(tensor)
        return key in self._marks  # a weak reference keeps the address from being given to another storage

    def mark(self, tensor: Tensor, *, on: bool = True) -> None:
        key = _key(tensor)
        if key is None or (key in self._marks) == on:
            return
        with self._lock:
            if on:
                self._marks[key] = StorageWeakRef(tensor.untyped_storage())
                if len(self._marks) % 4096 == 0:
                    self._marks = {k: r for k, r in self._marks.items() if not r.expired()}
            else:
                del self._marks[key]


def _key(tensor: Tensor) -> int | None:
    with torch._C.DisableTorchFunction():  # its true device is wanted
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            return None  # meta tensors are nowhere
        return tensor.untyped_storage()._cdata


class _Operations(TorchDispatchMode):
    """Below autograd: every kernel call, forwards and backwards."""

    def __init__(self, pretended: Pretended) -> None:
        super().__init__()
        self.gpu = pretended

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, gpu = kwargs or {}, self.gpu
        if not gpu.on:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and _key(t) is not None]
        marked = [gpu.has(t) for t in given]
        if name == "copy_":
            gpu.reads += marked == [False, True]
            return func(*args, **kwargs)
        if name in ("_local_scalar_dense", "nonzero", "equal", "masked_select") and any(marked):
            gpu.reads += 1
        if any(marked) and not all(marked):
            self._mixed(name, args, given, marked)
        if any(marked) and name == "index":  # how many are True?
            gpu.reads += any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        result = func(*args, **kwargs)
        if any(marked):
            for made in tree_leaves(result):
                if isinstance(made, Tensor):
                    gpu.mark(made)
        return result

    def _mixed(self, name: str, args: Any, given: list[Tensor], marked: list[bool]) -> None:
        """Raise what PyTorch raises, if it does."""
        if name in INDEXING:
            if not self.gpu.has(args[0]):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            if name.startswith("index_put") or "index_put" in name:
                value = args[2]
                if value.dim() and not self.gpu.has(value):
                    raise RuntimeError("Expected all tensors to be on the same device, but found cpu values")
            return
        strangers = [t for t, yes in zip(given, marked) if not yes]
        inplace = name.endswith("_") and not name.startswith("_foreach")
        if name in WHOLE or any(t.dim() for t in strangers) or (inplace and not marked[0]):
            shapes = ", ".join(f"{'cuda:0' if yes else 'cpu'} {tuple(t.shape)}" for t, yes in zip(given, marked))
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                f"(in aten::{name}: {shapes})"
            )


class _Generator(torch.Generator):
    """A generator that knows for which device it was made."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        made.pretends = torch.device(device).type == "cuda"
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass


class _Surface(TorchFunctionMode):
    """Above autograd: what Python code asks of tensors, and where it wants them."""

    def __init__(self, pretended: Pretended) -> None:
        super().__init__()
        self.gpu = pretended

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, gpu = kwargs or {}, self.gpu
        if not gpu.on:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and gpu.has(args[0]):
            if name == "__get__":
                owner = getattr(func, "__self__", None)
                if owner is Tensor.device:
                    return CUDA
                if owner in (Tensor.is_cuda, Tensor.is_cpu):
                    return owner is Tensor.is_cuda
            if name == "get_device":
                return 0
            if name in ("numpy", "__array__", "pin_memory"):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                    "memory first."
                )
            gpu.reads += name == "tolist"
        if name == "__set__" and getattr(func, "__self__", None) is Tensor.grad:
            self._same_grad(*args)
        if name in MOVES and isinstance(args[0], Tensor):
            return self._moved(func, name, args, kwargs)
        if kwargs.get("generator") is not None:
            self._same_generator(args, kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type in ("cuda", "cpu"):
            return self._made(func, args, kwargs)
        return func(*args, **kwargs)

    def _same_grad(self, tensor: Tensor, grad: Tensor | None) -> None:
        if grad is not None and self.gpu.has(tensor) != self.gpu.has(grad):
            raise RuntimeError("assigned grad has data located on a different device")

    def _same_generator(self, args: Any, kwargs: dict[str, Any]) -> None:
        on = torch.device(kwargs.get("device") or "cpu").type == "cuda"
        on = self.gpu.has(args[0]) if args and isinstance(args[0], Tensor) else on
        if getattr(kwargs["generator"], "pretends", False) != on:
            names = ("cuda", "cpu") if on else ("cpu", "cuda")
            raise RuntimeError("Expected a {!r} device type for generator but found {!r}".format(*names))

    def _made(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The result of a function that was told a device."""
        on = torch.device(kwargs["device"]).type == "cuda"
        given = args[0] if args and isinstance(args[0], Tensor) else None
        made = func(*args, **{**kwargs, "device": CPU})
        if isinstance(made, Tensor) and self.gpu.has(made) != on:
            if given is not None and _key(given) == _key(made):
                made = made.clone()
            self.gpu.mark(made, on=on)
        return made

    def _moved(self, func: Callable[..., Tensor], name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """`to` and its kin: a copy if the device is another one."""
        tensor, gpu = args[0], self.gpu
        was, wanted = gpu.has(tensor), gpu.has(tensor)
        rest, named = list(args[1:]), dict(kwargs)
        if name in ("cuda", "cpu"):
            rest, named, wanted = [], {}, name == "cuda"
            func = Tensor.to
            rest = [CPU]
        elif name == "to":
            place = named.get("device", rest[0] if rest else None)
            if isinstance(place, Tensor):
                wanted = gpu.has(place)
            elif isinstance(place, int) and not isinstance(place, bool):
                wanted, place = True, CUDA
            elif isinstance(place, str | torch.device):
                if torch.device(place).type == "meta":
                    return func(*args, **kwargs)
                wanted = torch.device(place).type == "cuda"
            if isinstance(place, str | torch.device):
                if "device" in named:
                    named["device"] = CPU
                else:
                    rest[0] = CPU
        moved = func(tensor, *rest, **named)
        if wanted == was:
            return moved
        gpu.reads += was and not named.get("non_blocking", False)
        if _key(moved) == _key(tensor):
            moved = moved.clone()
        gpu.mark(moved, on=wanted)
        return moved


@contextmanager
def pretend_cuda() -> Iterator[Pretended]:
    """Code inside sees one CUDA device."""
    gpu = Pretended()
    run = threading.Thread.run

    def run_inside(thread: threading.Thread) -> None:
        with _Surface(gpu), _Operations(gpu):
            run(thread)

    with ExitStack() as stack:
        for name, answer in _CUDA.items():
            stack.enter_context(patch.object(torch.cuda, name, _counted(gpu, name, answer)))
        stack.enter_context(patch.object(torch.cuda, "get_rng_state", lambda device="cuda": gpu.seed.clone()))
        stack.enter_context(patch.object(torch.cuda, "set_rng_state", lambda state, device="cuda": _seeded(gpu, state)))
        stack.enter_context(patch.object(torch.cuda, "get_rng_state_all", lambda: [gpu.seed.clone()]))
        stack.enter_context(patch.object(torch.cuda, "set_rng_state_all", lambda states: _seeded(gpu, *states)))
        stack.enter_context(patch.object(torch, "Generator", _Generator))
        stack.enter_context(patch.object(threading.Thread, "run", run_inside))
        stack.enter_context(patch.object(torch.autocast, "__enter__", _enter_autocast))
        stack.enter_context(patch.object(torch.autocast, "__exit__", _exit_autocast))
        AcceleratorState._reset_state(reset_partial_state=True)
        stack.callback(AcceleratorState._reset_state, reset_partial_state=True)
        stack.enter_context(_Surface(gpu))
        stack.enter_context(_Operations(gpu))
        try:
            yield gpu
        finally:
            gpu.on = False


_CUDA: dict[str, Any] = {
    "is_available": True,
    "device_count": 1,
    "current_device": 0,
    "device": nullcontext(),
    "get_device_name": "pretended",
    "get_device_capability": (9, 0),
    "is_bf16_supported": True,
    "set_device": None,
    "synchronize": None,
    "empty_cache": None,
    "max_memory_allocated": 0,
    "memory_allocated": 0,
    "reset_peak_memory_stats": None,
    "manual_seed": None,
    "manual_seed_all": None,
}


def _counted(gpu: Pretended, name: str, answer: Any) -> Callable[..., Any]:
    def called(*_: Any, **__: Any) -> Any:
        gpu.calls[name] += 1
        return answer

    return called


def _seeded(gpu: Pretended, *states: Tensor) -> None:
    if gpu.has(states[0]):
        raise TypeError("RNG state must be a torch.ByteTensor")
    gpu.seed = states[0].clone()


_enter, _exit = torch.autocast.__enter__, torch.autocast.__exit__


def _enter_autocast(self: Any) -> Any:
    """CUDA's autocast acts on marked tensors, which are CPU's in truth; the CPU's has none to act on."""
    if self.device == "cpu":
        return self
    entered = _enter(self)
    self.cpu_before = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    torch.set_autocast_enabled("cpu", self._enabled)
    torch.set_autocast_dtype("cpu", self.fast_dtype)
    return entered


def _exit_autocast(self: Any, *error: Any) -> Any:
    if self.device == "cpu":
        return None
    torch.set_autocast_enabled("cpu", self.cpu_before[0])
    torch.set_autocast_dtype("cpu", self.cpu_before[1])
    return _exit(self, *error)

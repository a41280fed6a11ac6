"""The processes (ranks) of a run: collective operations, and how work is split.

Every process plays its share of the groups and then receives all groups, so that advantages, the normaliser and the
order of mini-batches equal those of one process. Only a trajectory's owner computes its log-probs and gradients.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from rlsd.envs.errors import RlsdError

T = TypeVar("T")
LOST = ("peer", "connection", "gloo", "nccl", "timed out", "broken pipe", "socket")
"""Words in the back-ends' errors that mean that another process has ended."""

SETTLE_S = 0.2
"""Seconds for the group's threads to free their last tensors: an interpreter that exits earlier aborts."""


class RanksError(RlsdError):
    """The processes of a run are not the expected ones, or one of them has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process, number `rank` of `world` processes."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: dist.ProcessGroup | None = None
    """If they are only some of the run's processes."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, count: int) -> list[int]:
        """This process's numbers below `count`: every `world`-th."""
        return list(range(self.rank, count, self.world))

    def balanced(self, costs: Sequence[float]) -> set[int]:
        """This process's numbers in a split into shares of similar cost; every process computes the same split."""
        load, owned = [0.0] * self.world, [set[int]() for _ in range(self.world)]
        for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
            least = min(range(self.world), key=lambda r: (load[r], r))
            load[least] += costs[i]
            owned[least].add(i)
        return owned[self.rank]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of ranks, on every process."""
        if self.world == 1:
            return [value]
        out: list[Any] = [None] * self.world
        with lost_peer():
            dist.all_gather_object(out, value, group=self.group)
        return out

    def interleaved(self, values: Sequence[T]) -> list[T]:
        """The values of a split by `share`, in the original order, on every process."""
        lists = self.gather(list(values))
        return [lists[i % self.world][i // self.world] for i in range(sum(len(part) for part in lists))]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on the device the tensor came from."""
        if self.world == 1:
            return tensor
        moved = tensor.to(self.device, copy=True)
        with lost_peer():
            dist.all_reduce(moved, group=self.group)
        return moved.to(tensor.device)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on any process; every process must call."""
        return flag if self.world == 1 else bool(self.sum(torch.tensor(float(flag))))

    def known(self, values: Tensor) -> Tensor:
        """Merge (M,) values, of which each process has its own and NaN elsewhere; every process gets the result."""
        if self.world == 1:
            return values
        mine = ~values.isnan()
        total = self.sum(torch.stack([torch.where(mine, values, 0.0).double(), mine.double()]))
        return torch.where(total[1] > 0, total[0], float("nan")).to(values.dtype)

    def most(self, count: int) -> int:
        """The largest count of all processes."""
        return max(self.gather(count))

    def wait(self) -> None:
        """Wait until all processes call this."""
        if self.world > 1:
            with lost_peer():
                dist.barrier(group=self.group)

    def close(self) -> None:
        """Leave the process group, so that the processes exit without errors."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
            time.sleep(SETTLE_S)


def open_ranks(device: str, *, processes: int | None, timeout_s: float) -> Ranks:
    """Join the processes that `torchrun` started, through Accelerate; without torchrun, this process alone.

    Raises:
        RanksError: fewer or more processes than expected. Without this check some launch commands start one process, or
            two unconnected ones, and exit with 0 (`accelerate launch --cpu --num_processes 2`).
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    wait = InitProcessGroupKwargs(timeout=timedelta(seconds=timeout_s))
    device_before = PartialState().device if PartialState._shared_state else None
    if launched == 1 and device_before is not None and device_before.type != device:
        # Accelerate remembers the device of an earlier run in this process, and would use it or refuse the new one.
        AcceleratorState._reset_state(reset_partial_state=True)
    if launched > 1 and device == "cuda" and "LOCAL_RANK" in os.environ and not dist.is_initialized():
        # Accelerate would open NCCL alone, which refuses tensors in CPU memory, as the norm of offloaded gradients.
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=wait.timeout)
    accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[wait])
    world = accelerator.num_processes
    if world != launched or (world > 1 and dist.get_world_size() != world):
        raise RanksError(f"{launched} processes were started but {world} found each other; start them with torchrun")
    if processes is not None and processes != world:
        raise RanksError(
            f"learner.processes is {processes}, but {world} run together; start with "
            f"`torchrun --nproc_per_node {processes} -m -- rlsd train …` (accelerate launch --cpu starts only one), or "
            f"go on with this number: --set learner.processes={world}"
        )
    return Ranks(rank=accelerator.process_index, world=world, device=accelerator.device)


@contextmanager
def lost_peer() -> Iterator[None]:
    """Turn the back-end's error about a lost process into one line that says what to do.

    Raises:
        RanksError: another process has ended.
    """
    try:
        yield
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        text = " ".join(str(error).split())
        if dist.is_initialized() and any(word in text.lower() for word in LOST):
            raise RanksError(
                "another process of this run is gone, so this one stops; the last checkpoint is whole: start the same "
                f"command again ({text[:160]})"
            ) from error
        raise


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded; every rank must call."""
    if not isinstance(tensor, DTensor):
        return tensor
    for number in range(tensor.device_mesh.ndim - 1):  # one dimension of the mesh at a time, or torch warns
        placements = [Replicate()] * (number + 1) + list(tensor.placements[number + 1 :])
        tensor = tensor.redistribute(placements=placements)
    return tensor.full_tensor()


def held(tensor: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
    """(this rank's part of a tensor, its place in the whole). A mesh splits a dimension into pieces of equal size, of
    which the last ones may be shorter or empty; a part that tensor parallelism has split is split again by FSDP2."""
    if not isinstance(tensor, DTensor):
        return tensor, tuple(slice(0, size) for size in tensor.shape)
    local, mesh = tensor.to_local(), tensor.device_mesh
    first, size = [0] * tensor.ndim, list(tensor.shape)
    for number in reversed(range(mesh.ndim)):  # FSDP2's dimension comes first
        split = getattr(tensor.placements[number], "dim", None)
        if split is None:
            continue
        piece = -(-size[split] // mesh.size(number))
        start = min(size[split], piece * mesh.get_local_rank(number))
        first[split] += start
        size[split] = min(piece, size[split] - start)
    return local, tuple(slice(start, start + length) for start, length in zip(first, local.shape, strict=True))


@torch.no_grad()
def put(tensor: Tensor, value: Tensor) -> None:
    """Copy a whole `value` into `tensor`, or this rank's part of it into a sharded one.

    Raises:
        RuntimeError: the shapes differ.
    """
    if tensor.shape != value.shape:
        raise RuntimeError(f"a tensor of shape {tuple(value.shape)} does not fit one of {tuple(tensor.shape)}")
    local, place = held(tensor)
    local.copy_(value[place])

"""Training in several processes, each with the same network and its own part of every batch.

All processes draw the random numbers of the whole batch and work on their part of it. The sums behind the loss, the
batch normalisation, the gradients and the score are taken over all parts, and what depends on a clock or a signal is
decided together. So the result is that of one process with the whole batch, up to rounding, and no process waits for
an exchange that another one left out.
"""

from __future__ import annotations

import copy
import inspect
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.errors import DeviceError, InputError, ProcessLostError, is_out_of_memory
from napari_unet.learn.shared_batch_norm import SharedBatchNorm
from napari_unet.nets.device import Device

__all__ = ["ALONE", "Processes", "fingerprint", "join_processes", "own_device", "started_by_torchrun", "step_fits"]

# Longer than any pause between two exchanges (the images are read, a checkpoint is written), so that only a process
# that hangs is given up. One that dies is noticed at once.
_LONGEST_SILENCE = timedelta(minutes=5)
# the statistics of batch normalisation are the same everywhere; the option's name changed after PyTorch 2.8
_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers"


@dataclass(frozen=True)
class Processes:
    """The processes that train one network, seen from one of them; by default there is only one.

    Attributes
    ----------
    rank : int
        Number of this process; 0 speaks, writes files and reads the clock for all.
    size : int
        Number of processes.
    here : int
        Number of those on this computer.

    Examples
    --------
    >>> Processes().any(False), Processes(rank=1, size=3).share(4)
    (False, (12, slice(4, 8, None)))
    """

    rank: int = 0
    size: int = 1
    here: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def share(self, batch: int) -> tuple[int, slice]:
        """How many crops the whole batch has, and which are this process's, where each has `batch` of them."""
        return self.size * batch, slice(self.rank * batch, (self.rank + 1) * batch)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the processes, with a gradient that `wrap` averages to that of the whole batch.

        All processes must go on with the sum in the same way.
        """
        return tensor if self.size == 1 else _Sum.apply(tensor, self.size)  # type: ignore[no-untyped-call]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        return flag if self.size == 1 else self._reduce(float(flag), distributed.ReduceOp.MAX) > 0

    def least(self, value: int) -> int:
        """Return the smallest `value` of all processes."""
        return value if self.size == 1 else int(self._reduce(value, distributed.ReduceOp.MIN))

    def least_memory(self, free: int | None, device: Device) -> int | None:
        """Return how much memory each process can count on: those of a computer share what is `free` on its CPU."""
        if self.size == 1 or free is None:
            return free
        return self.least(free // (self.here if device.torch_device.type == "cpu" else 1))

    def lead(self, value: float | None) -> float | None:
        """Return the `value` of the process that leads; None must be None in all."""
        if self.size == 1 or value is None:
            return value
        return self._reduce(value if self.leads else 0.0, distributed.ReduceOp.SUM)

    def check_same(self, value: int, problem: str) -> None:
        """Make sure that all processes have the same `value`.

        Raises
        ------
        InputError
            With the words of `problem`.
        """
        if self.least(value) != -self.least(-value):
            raise InputError(problem)

    def wrap(self, network: nn.Module, device: Device) -> nn.Module:
        """Return what to call instead of the network, so that the gradients are averaged over the processes."""
        if self.size == 1:
            return network
        gpu = [device.torch_device] if device.torch_device.type == "cuda" else None
        options: dict[str, Any] = {_SYNC_BUFFERS: False, "gradient_as_bucket_view": True}
        return DistributedDataParallel(network, gpu, **options)

    def share_batch_norm(self, network: nn.Module, device: Device) -> nn.Module:
        """Return the network with layers that measure the whole batch instead of their part; may change it."""
        if self.size == 1:
            return network
        if device.torch_device.type == "cuda":
            shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return shared
        return SharedBatchNorm.convert(network)  # PyTorch's own works on GPUs only

    @contextmanager
    def watch(self, checkpoint: str | os.PathLike[str] | None) -> Iterator[None]:
        """Say in words for the person what it means if another process is lost or memory runs out.

        Raises
        ------
        ProcessLostError
            If another process ended or does not answer, or the memory was not enough in this one.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self.size == 1:
                raise
            if is_out_of_memory(error):
                words, how = "The memory was not enough in one of the processes, so all ended.", "with a smaller batch"
            elif _lost_another(error):
                words = f"Another of the {self.size} processes was killed or does not answer, so this training ended."
                how = "with any number of processes"
            else:
                raise
            if checkpoint is not None and Path(checkpoint).exists():
                way = f"It is kept in {os.fspath(checkpoint)}; the same command {how} goes on from there."
            else:
                way = f"Start it again {how}."
            raise ProcessLostError(f"{words} {way}") from error

    def _reduce(self, value: float, operation: Any) -> float:
        """Combine a number on the CPU, which makes no GPU wait."""
        number = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(number, operation)
        return float(number)


ALONE = Processes()


class _Sum(torch.autograd.Function):
    """The sum over the processes.

    Each process computes the same from it, so that each has the whole gradient and nothing is exchanged on the way
    back. The gradients of the network are averaged, not summed: hence the factor.
    """

    @staticmethod
    def forward(context: Any, tensor: torch.Tensor, size: int) -> torch.Tensor:
        context.size = size
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * context.size, None


def _lost_another(error: BaseException) -> bool:
    """Whether an exchange failed: gloo raises plain RuntimeErrors, which name its source files."""
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in ("gloo", "NCCL"))


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return distributed.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_processes() -> tuple[Processes, Any]:
    """Meet the other processes that torchrun started; they exchange by gloo on the CPU and by NCCL on GPUs.

    Returns
    -------
    processes : Processes
        For `napari_unet.fit`.
    store : torch.distributed.TCPStore
        Values that all processes can read and write, also when one of them is lost.

    Raises
    ------
    ProcessLostError
        If the others do not come.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=_LONGEST_SILENCE))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_LONGEST_SILENCE)
    except (RuntimeError, ValueError) as error:
        raise ProcessLostError(f"The processes that torchrun started do not find each other: {error}") from error
    return Processes(rank, size, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), store


def own_device(name: str) -> str:
    """Choose the device of one of several processes: with CUDA each has a GPU of its own, from now on its default.

    Parameters
    ----------
    name : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    DeviceError
        If processes can't share the work on that device, or there are fewer GPUs than processes.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if name not in ("auto", "cuda"):
        raise DeviceError(
            f"torchrun gives each process a device of its own; use 'auto', 'cpu' or 'cuda', not {name!r}."
        )
    wanted, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if wanted > there:
        raise DeviceError(
            f"torchrun started {wanted} processes here, but PyTorch finds {there} NVIDIA GPU{'s' * (there != 1)}; "
            f"use --nproc-per-node {max(there, 1)}."
        )
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    torch.cuda.set_device(own)
    return own


def fingerprint(frames: Sequence[AnnotatedFrame]) -> int:
    """Sum up what is painted in a number that differs where anything else is painted."""
    return sum(zlib.crc32(part.tobytes()) for frame in frames for part in (frame.classes, frame.weights))


def step_fits(network: nn.Module, shape: tuple[int, ...], device: Device) -> bool:
    """Try on a copy of the network whether a step on an image (N, C, \\*space) fits into the memory.

    Where several processes train, memory must run out before the first exchange: later the others would wait for the
    one that lacks it.
    """
    trial = device.place(copy.deepcopy(network)).train()
    try:
        with device.autocast():
            logits = trial(device.tensor(torch.zeros(shape)))
        logits.float().mean().backward()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True

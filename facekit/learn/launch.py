"""Processes that train together: started by ``torchrun``, one a device.

``torchrun --nproc-per-node 2 -m facekit train ...`` starts them and says by environment variables
who each one is. Without them a process is alone and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import distributed, nn

from facekit.errors import InputError, MissingDependencyError

# The others wait while one validates and writes.
_PATIENCE = timedelta(hours=2)
DEVICES = ("auto", "cpu", "cuda")


class Rank(NamedTuple):
    """Which of the processes this one is.

    Attributes:
        number: from 0; 0 validates, writes and reports.
        size: how many processes there are.
        local: number on this machine, which is that of its GPU.
    """

    number: int
    size: int
    local: int


def own_rank() -> Rank:
    """Return which process this is, by the variables that ``torchrun`` sets.

    Raises:
        InputError: they are no numbers.
    """
    try:
        number, count, local = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
    except ValueError as error:
        raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK: expected numbers ({error})") from error
    return Rank(number, count, local)


def is_first() -> bool:
    """Say whether this process is the one that writes."""
    return own_rank().number == 0


def choose_device(name: str) -> torch.device:
    """Return the device of ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        MissingDependencyError: there is no GPU that PyTorch can use.
    """
    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        raise MissingDependencyError(
            "device cuda: PyTorch finds no GPU; install its CUDA build, or use loop.device=cpu"
        )
    if name == "cpu" or not usable:
        return torch.device("cpu")
    device = torch.device("cuda", own_rank().local)
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[Rank]:
    """Join the other processes for a block: by NCCL on GPUs, by Gloo on a CPU.

    A block that raises leaves at once: torchrun then ends the others.
    """
    rank = own_rank()
    if rank.size == 1:
        yield rank
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield rank
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def shared(value: Any, rank: Rank) -> Any:
    """Return process 0's value of plain values in every process."""
    if rank.size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's weights are; one without weights is on the CPU."""
    return next((weights.device for weights in model.parameters()), torch.device("cpu"))


def moved(batch: Any, device: torch.device) -> Any:
    """Return a tensor, or a (named) tuple, list or dict of such, on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple):
        parts = [moved(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    if isinstance(batch, list):
        return [moved(part, device) for part in batch]
    if isinstance(batch, dict):
        return {name: moved(part, device) for name, part in batch.items()}
    return batch

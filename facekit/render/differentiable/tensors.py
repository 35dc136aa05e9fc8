"""Checks of tensors and the way between torch and the compiled kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facekit.errors import InputError

_FLOATS = (torch.float32, torch.float64)


def check_tensor(value: object, name: str, shape: tuple[int | None, ...]) -> Tensor:
    """Return ``value`` after checking that it is a float tensor of this shape (None is free).

    Raises:
        InputError: no tensor, another dtype than float32 or float64, another shape.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{name}: expected a torch tensor, got {type(value).__name__}")
    if value.dtype not in _FLOATS:
        raise InputError(f"{name}: expected float32 or float64, got {value.dtype}")
    fits = value.dim() == len(shape) and all(
        want is None or size == want for size, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("*" if size is None else str(size) for size in shape) + ")"
        raise InputError(f"{name}: expected shape {wanted}, got {tuple(value.shape)}")
    return value


def check_same_dtype(**tensors: Tensor) -> None:
    """Raise InputError unless all tensors have one dtype; kernels are compiled for one."""
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        found = ", ".join(f"{name} {tensor.dtype}" for name, tensor in tensors.items())
        raise InputError(f"expected tensors of one dtype, got {found}")


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return the tensor's memory as a contiguous array, without its history.

    Raises:
        InputError: the tensor is not on the CPU.
    """
    if tensor.device.type != "cpu":
        raise InputError(
            f"the compiled kernels run on the CPU, got a tensor on {tensor.device}; "
            "use open_renderer('triton') there"
        )
    return tensor.detach().contiguous().numpy()

"""What every term checks of its tensors."""

from __future__ import annotations

from torch import Tensor

from facekit.errors import InputError
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor

__all__ = ["check_same_dtype", "check_tensor", "check_weights"]


def check_weights(weights: Tensor, name: str, size: int) -> Tensor:
    """Return weights (size,) after checking that none is negative and some are positive.

    Raises:
        InputError: another shape, a negative weight, or nothing but zeros.
    """
    check_tensor(weights, name, (size,))
    if bool((weights < 0).any()) or not bool((weights > 0).any()):
        raise InputError(f"{name}: expected weights of at least 0, some above")
    return weights

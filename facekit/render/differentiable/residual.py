"""The masked colour residual of held pixels: Euclidean over colours, summed over pixels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.errors import InputError
from facekit.render.differentiable.held import Held
from facekit.render.differentiable.runs import add_small
from facekit.render.differentiable.signatures import (
    DOUBLE,
    INDEX1,
    LONG,
    LONG2,
    OPTIONS,
    both,
    read,
    write,
)
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.threads import run_ranges

# Under the root, in squares of the image's unit (Deep3D: 1e-6 for images in [0, 1]).
EPSILON = 1e-6


def masked_residual(
    colours: Tensor, image: Tensor, mask: Tensor, held: Held, *, epsilon: float = EPSILON
) -> Tensor:
    """Return each image's mean colour residual (B,), weighted by a mask.

    Computes sum_p M_p sqrt(epsilon + |c_p - I_p|^2) / max(sum_p M_p, 1) over the held pixels of
    an image. The gradient goes to the colours; image and mask are data.

    Args:
        colours: (N, 3) at the held pixels, in the image's colour space.
        image: (B, H, W, 3).
        mask: (B, H, W), at least 0.
        held: which pixels.
        epsilon: keeps the root smooth at no residual.

    Raises:
        InputError: shapes, dtypes or devices do not fit; epsilon is not positive.

    Degenerate: an image that sees no face, or all of it masked, has the value 0.

    Source: Deng et al., Accurate 3D face reconstruction with weakly-supervised learning, 2019,
    eq. 2 (the smooth root is that of its code).
    """
    check_picture(image, mask, held)
    check_tensor(colours, "colours", (len(held.pixels), 3))
    check_same_dtype(colours=colours, image=image, mask=mask)
    check_epsilon(epsilon)
    return _Residual.apply(colours, image, mask, held, epsilon)


def check_picture(image: Tensor, mask: Tensor, held: Held) -> None:
    """Raise InputError unless image (B, H, W, 3) and mask (B, H, W) fit the held pixels."""
    check_tensor(image, "image", (*held.shape, 3))
    check_tensor(mask, "mask", held.shape)


def check_epsilon(epsilon: float) -> None:
    """Raise InputError unless epsilon is positive."""
    if not epsilon > 0:
        raise InputError(f"epsilon: expected a positive number, got {epsilon}")


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, colours: Tensor, image: Tensor, mask: Tensor, held: Held, epsilon: float
    ) -> Tensor:
        values, picture = to_numpy(colours), to_numpy(image).reshape(-1, 3)
        weight = to_numpy(mask).reshape(-1)
        out = np.empty_like(values)
        sums = np.empty((len(held.runs), 2))
        run_ranges(
            lambda a, b: _forward(
                values, picture, weight, held.pixels, held.runs, epsilon, out, sums, a, b
            ),
            len(held.runs),
        )
        total = add_small(sums, held)
        scale = 1 / np.maximum(total[:, 1], 1)
        ctx.held = held
        ctx.save_for_backward(torch.from_numpy(out), torch.from_numpy(scale))
        return torch.from_numpy((total[:, 0] * scale).astype(values.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        unscaled, scale = ctx.saved_tensors
        factor = (gradient * scale).to(unscaled.dtype)
        image = torch.from_numpy(ctx.held.image_of_pixels())
        return unscaled * factor[image, None], None, None, None, None


@numba.njit(
    both(
        lambda t: (
            read(t, 2), read(t, 2), read(t, 1), INDEX1, LONG2, DOUBLE,
            write(t, 2), write(DOUBLE, 2), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _forward(colours, image, mask, pixels, runs, epsilon, out, sums, start, stop):
    for run in range(start, stop):
        value = weight = 0.0
        for n in range(runs[run, 1], runs[run, 2]):
            p = pixels[n]
            m = float(mask[p])
            r = float(colours[n, 0]) - image[p, 0]
            g = float(colours[n, 1]) - image[p, 1]
            b = float(colours[n, 2]) - image[p, 2]
            root = np.sqrt(epsilon + r * r + g * g + b * b)
            value += m * root
            weight += m
            out[n, 0] = m * r / root
            out[n, 1] = m * g / root
            out[n, 2] = m * b / root
        sums[run, 0] = value
        sums[run, 1] = weight

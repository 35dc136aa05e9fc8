"""Spherical-harmonics shading of held pixels, with gradients to normals, albedo and light."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.harmonics import (
    add_light,
    harmonics,
    harmonics_backward,
    lit,
    lit_backward,
    unit,
)
from facekit.render.differentiable.held import Held
from facekit.render.differentiable.runs import add_small
from facekit.render.differentiable.signatures import LONG, LONG2, OPTIONS, both, read, write
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.threads import run_ranges


def shade(normals: Tensor, albedo: Tensor, light: Tensor, held: Held) -> Tensor:
    """Return colours (N, 3): albedo times sum_i Y_i(n / |n|) light_i.

    Args:
        normals: (N, 3) at the held pixels, any length, in the frame of the light (the camera's).
        albedo: (N, 3) at the held pixels.
        light: (B, 9, 3) shading coefficients, see ``render.shade.sh_shading``.
        held: which image each row belongs to.

    Raises:
        InputError: shapes, dtypes or devices do not fit.

    Degenerate: a zero normal is shaded by Y(0) and has no gradient. The value is not clipped:
    a light may shade below zero.

    Source: Ramamoorthi and Hanrahan, An efficient representation for irradiance environment
    maps, 2001.
    """
    count = len(held.pixels)
    check_tensor(normals, "normals", (count, 3))
    check_tensor(albedo, "albedo", (count, 3))
    check_tensor(light, "light", (held.shape[0], 9, 3))
    check_same_dtype(normals=normals, albedo=albedo, light=light)
    return _Shade.apply(normals, albedo, light, held)


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, normals: Tensor, albedo: Tensor, light: Tensor, held: Held) -> Tensor:
        n, a, lamp = to_numpy(normals), to_numpy(albedo), to_numpy(light)
        out = np.empty_like(n)
        run_ranges(lambda s, e: _forward(n, a, lamp, held.runs, out, s, e), len(held.runs))
        ctx.held = held
        ctx.save_for_backward(normals, albedo, light)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        n, a, lamp = (to_numpy(tensor) for tensor in ctx.saved_tensors)
        held: Held = ctx.held
        given = to_numpy(gradient)
        d_normals, d_albedo = np.empty_like(n), np.empty_like(a)
        d_light = np.empty((len(held.runs), 9, 3), lamp.dtype)
        run_ranges(
            lambda s, e: _backward(
                n, a, lamp, held.runs, given, d_normals, d_albedo, d_light, s, e
            ),
            len(held.runs),
        )
        total = torch.from_numpy(add_small(d_light, held))
        return torch.from_numpy(d_normals), torch.from_numpy(d_albedo), total, None


@numba.njit(
    both(lambda t: (read(t, 2), read(t, 2), read(t, 3), LONG2, write(t, 2), LONG, LONG)),
    **OPTIONS,
)
def _forward(normals, albedo, light, runs, out, start, stop):
    for run in range(start, stop):
        lamp = light[runs[run, 0]]
        for n in range(runs[run, 1], runs[run, 2]):
            x, y, z, _ = unit(float(normals[n, 0]), float(normals[n, 1]), float(normals[n, 2]))
            basis = harmonics(x, y, z)
            for c in range(3):
                out[n, c] = albedo[n, c] * lit(basis, lamp, c)


@numba.njit(
    both(
        lambda t: (
            read(t, 2), read(t, 2), read(t, 3), LONG2, read(t, 2),
            write(t, 2), write(t, 2), write(t, 3), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _backward(normals, albedo, light, runs, given, d_normals, d_albedo, d_light, start, stop):
    to_light = np.empty((9, 3))
    for run in range(start, stop):
        lamp = light[runs[run, 0]]
        to_light[:] = 0.0
        for n in range(runs[run, 1], runs[run, 2]):
            x, y, z, inverse = unit(
                float(normals[n, 0]), float(normals[n, 1]), float(normals[n, 2])
            )
            basis = harmonics(x, y, z)
            for c in range(3):
                d_albedo[n, c] = given[n, c] * lit(basis, lamp, c)
            g = (
                float(given[n, 0]) * albedo[n, 0],
                float(given[n, 1]) * albedo[n, 1],
                float(given[n, 2]) * albedo[n, 2],
            )
            add_light(to_light, basis, g)
            gx, gy, gz = harmonics_backward(x, y, z, inverse, lit_backward(lamp, g))
            d_normals[n, 0] = gx
            d_normals[n, 1] = gy
            d_normals[n, 2] = gz
        for i in range(9):
            for c in range(3):
                d_light[run, i, c] = to_light[i, c]

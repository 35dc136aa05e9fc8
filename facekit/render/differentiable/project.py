"""Pinhole projection of a batch, with gradients to the vertices and the intrinsics."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.signatures import LONG, OPTIONS, both, read, write
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.threads import run_ranges

_MIN_VERTICES = 16_000
# Sums for the intrinsics are taken over runs of this many vertices, then in order.
_RUN = 16_384


def project(vertices: Tensor, intrinsics: Tensor) -> Tensor:
    """Project camera-frame vertices to x, y in pixels and depth z, (B, V, 3).

    Computes u = (fx x + s y) / z + cx, v = fy y / z + cy; pixel (0, 0) is the CENTRE of the
    top-left pixel. There is no lens distortion: undistort the photograph first, or project with
    torch operations of your own and pass the result on.

    Args:
        vertices: (B, V, 3) in the OpenCV camera frame, z > 0.
        intrinsics: (B, 3, 3) of the same dtype; rows 0 and 1 are used.

    Raises:
        InputError: shapes, dtypes or devices do not fit.

    Degenerate: a vertex with z = 0 gets infinite or undefined coordinates, which the rasteriser
    leaves out.
    """
    check_tensor(vertices, "vertices", (None, None, 3))
    check_tensor(intrinsics, "intrinsics", (len(vertices), 3, 3))
    check_same_dtype(vertices=vertices, intrinsics=intrinsics)
    return _Project.apply(vertices, intrinsics)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, intrinsics: Tensor) -> Tensor:
        ctx.save_for_backward(vertices, intrinsics)
        places, lens = to_numpy(vertices), to_numpy(intrinsics)
        out = np.empty_like(places)
        run_ranges(
            lambda a, b: _forward(places, lens, out, a, b),
            out.shape[0] * out.shape[1],
            min_chunk=_MIN_VERTICES,
        )
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        places, lens = (to_numpy(tensor) for tensor in ctx.saved_tensors)
        out, total = backward_of_projection(places, lens, to_numpy(gradient))
        return torch.from_numpy(out), torch.from_numpy(total)


def backward_of_projection(
    places: np.ndarray, lens: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients at vertices (B, V, 3) and intrinsics (B, 3, 3) of one at the points."""
    out = np.empty_like(places)
    batch, count = out.shape[:2]
    runs = -(-count // _RUN)
    sums = np.zeros((batch, runs, 2, 3), out.dtype)
    run_ranges(lambda a, b: _backward(places, lens, given, out, sums, a, b), batch * runs)
    total = np.zeros_like(lens)
    total[:, :2] = sums.sum(axis=1)
    return out, total


@numba.njit(both(lambda t: (read(t, 3), read(t, 3), write(t, 3), LONG, LONG)), **OPTIONS)
def _forward(vertices, intrinsics, out, start, stop):
    count = out.shape[1]
    for b in range(start // count, -(-stop // count)):
        lens = intrinsics[b]
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            inverse = 1.0 / float(vertices[b, v, 2])
            x, y = vertices[b, v, 0] * inverse, vertices[b, v, 1] * inverse
            out[b, v, 0] = lens[0, 0] * x + lens[0, 1] * y + lens[0, 2]
            out[b, v, 1] = lens[1, 1] * y + lens[1, 2]
            out[b, v, 2] = vertices[b, v, 2]


@numba.njit(
    both(
        lambda t: (
            read(t, 3), read(t, 3), read(t, 3), write(t, 3), write(t, 4), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _backward(vertices, intrinsics, given, out, sums, start, stop):
    runs, count = sums.shape[1], out.shape[1]
    for number in range(start, stop):
        b, run = number // runs, number % runs
        fx, s, fy = intrinsics[b, 0, 0], intrinsics[b, 0, 1], intrinsics[b, 1, 1]
        to_fx = to_s = to_cx = to_fy = to_cy = 0.0
        for v in range(run * _RUN, min((run + 1) * _RUN, count)):
            inverse = 1.0 / float(vertices[b, v, 2])
            x, y = vertices[b, v, 0] * inverse, vertices[b, v, 1] * inverse
            gu, gv = float(given[b, v, 0]), float(given[b, v, 1])
            gx, gy = fx * gu, s * gu + fy * gv
            out[b, v, 0] = gx * inverse
            out[b, v, 1] = gy * inverse
            out[b, v, 2] = given[b, v, 2] - (gx * x + gy * y) * inverse
            to_fx += gu * x
            to_s += gu * y
            to_cx += gu
            to_fy += gv * y
            to_cy += gv
        sums[b, run, 0, 0] = to_fx
        sums[b, run, 0, 1] = to_s
        sums[b, run, 0, 2] = to_cx
        sums[b, run, 1, 1] = to_fy
        sums[b, run, 1, 2] = to_cy

"""Interpolation, shading and colour residual in one pass over the pixels, with its gradient.

Equal to ``masked_residual(shade(interpolate(normals), interpolate(albedo), light), ...)`` without
the arrays between; the gradient is worked out together with the value, when one is asked for.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.held import Held
from facekit.render.differentiable.interpolate import check_held
from facekit.render.differentiable.pixel_block import (
    BLOCK,
    IMAGE,
    MASK,
    SIZE,
    add_block,
    put_corners,
    shade_block,
    sum_block,
)
from facekit.render.differentiable.residual import EPSILON, check_epsilon, check_picture
from facekit.render.differentiable.runs import add_runs, add_small
from facekit.render.differentiable.signatures import (
    DOUBLE,
    INDEX1,
    INDEX2,
    LONG,
    LONG2,
    OPTIONS,
    both,
    read,
    write,
)
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.render.differentiable.topology import Topology
from facekit.threads import run_ranges


def photometric(
    points: Tensor,
    normals: Tensor,
    albedo: Tensor,
    light: Tensor,
    image: Tensor,
    mask: Tensor,
    held: Held,
    topology: Topology,
    *,
    epsilon: float = EPSILON,
) -> Tensor:
    """Return each image's mean colour residual (B,) of a shaded mesh, weighted by a mask.

    Computes sum_p M_p sqrt(epsilon + |a_p (Y(n_p / |n_p|) L) - I_p|^2) / max(sum_p M_p, 1), with
    albedo a and normal n interpolated at the held pixels. Gradients go to points, normals, albedo
    and light.

    Args:
        points: (B, V, 3) as rasterised: x, y in pixels and depth z.
        normals: (B, V, 3) in the camera frame.
        albedo: (B, V, 3).
        light: (B, 9, 3) shading coefficients.
        image: (B, H, W, 3), in the colour space of albedo times light.
        mask: (B, H, W), at least 0.
        held: of ``hold`` with these points.
        topology: of the mesh.
        epsilon: keeps the root smooth at no residual.

    Raises:
        InputError: shapes, dtypes or devices do not fit; epsilon is not positive.

    Degenerate: as ``interpolate``, ``shade`` and ``masked_residual``.

    Source: Deng et al., Accurate 3D face reconstruction with weakly-supervised learning, 2019,
    eq. 2; Ramamoorthi and Hanrahan, 2001.
    """
    check_held(points, held, topology)
    check_tensor(normals, "normals", tuple(points.shape))
    check_tensor(albedo, "albedo", tuple(points.shape))
    check_tensor(light, "light", (len(points), 9, 3))
    check_picture(image, mask, held)
    check_same_dtype(
        points=points, normals=normals, albedo=albedo, light=light, image=image, mask=mask
    )
    check_epsilon(epsilon)
    return _Photometric.apply(points, normals, albedo, light, image, mask, held, topology, epsilon)


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        normals: Tensor,
        albedo: Tensor,
        light: Tensor,
        image: Tensor,
        mask: Tensor,
        held: Held,
        topology: Topology,
        epsilon: float,
    ) -> Tensor:
        rows = np.concatenate([to_numpy(t) for t in (points, normals, albedo)], axis=2, dtype=float)
        lamp = to_numpy(light).astype(float, copy=False)
        picture, weight = to_numpy(image).reshape(-1, 3), to_numpy(mask).reshape(-1)
        wanted = any(ctx.needs_input_grad[:4])
        parts = np.empty((len(held.runs), rows.shape[1] if wanted else 0, 9))
        lights = np.empty((len(held.runs), 9, 3))
        sums = np.empty((len(held.runs), 2))
        run_ranges(
            lambda a, b: _photometric(
                rows, lamp, picture, weight, topology.index, held.pixels, held.triangle,
                held.runs, held.shape[1], held.shape[2], epsilon, wanted, parts, lights, sums, a, b,
            ),
            len(held.runs),
        )  # fmt: skip
        total = add_small(sums, held)
        scale = 1 / np.maximum(total[:, 1], 1)
        ctx.held, ctx.dtype = held, to_numpy(points).dtype
        ctx.save_for_backward(*(torch.from_numpy(array) for array in (parts, lights, scale)))
        return torch.from_numpy((total[:, 0] * scale).astype(ctx.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts, lights, scale = (tensor.numpy() for tensor in ctx.saved_tensors)
        factor = scale * gradient.detach().numpy()
        total = torch.from_numpy(add_runs(parts, ctx.held, factor, ctx.dtype))
        lamp = (add_small(lights, ctx.held) * factor[:, None, None]).astype(ctx.dtype)
        points, normals, albedo = total.split(3, dim=2)
        return points, normals, albedo, torch.from_numpy(lamp), *[None] * 5


@numba.njit(
    both(
        lambda t: (
            read(DOUBLE, 3), read(DOUBLE, 3), read(t, 2), read(t, 1), INDEX2, INDEX1, INDEX1,
            LONG2, LONG, LONG, DOUBLE, types.boolean,
            write(DOUBLE, 3), write(DOUBLE, 3), write(DOUBLE, 2), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _photometric(
    rows, light, image, mask, faces, pixels, triangle, runs, height, width, epsilon, wanted,
    parts, lights, sums, start, stop,
):  # fmt: skip
    block, corners = np.zeros(SIZE), np.empty((BLOCK, 3), np.uint32)
    for run in range(start, stop):
        b = runs[run, 0]
        row, lamp = rows[b], light[b]
        lights[run] = 0.0
        sums[run] = 0.0
        parts[run] = 0.0
        before = b * height * width
        count = 0
        last = runs[run, 2] - 1
        for n in range(runs[run, 1], last + 1):
            pixel = pixels[n]
            m = float(mask[pixel])
            # A masked pixel adds nothing to anything.
            if m != 0:
                at = np.uint32(pixel - before)
                y, x = at // np.uint32(width), at % np.uint32(width)
                i, j, k = faces[triangle[n], 0], faces[triangle[n], 1], faces[triangle[n], 2]
                corners[count, 0] = i
                corners[count, 1] = j
                corners[count, 2] = k
                put_corners(block, count, row, i, j, k, float(x), float(y))
                block[IMAGE + count] = image[pixel, 0]
                block[IMAGE + BLOCK + count] = image[pixel, 1]
                block[IMAGE + 2 * BLOCK + count] = image[pixel, 2]
                block[MASK + count] = m
                count += 1
            if count == BLOCK or (n == last and count > 0):
                block[MASK + count : MASK + BLOCK] = 0.0
                shade_block(block, lamp, epsilon)
                sum_block(block, sums[run], lights[run])
                if wanted:
                    add_block(block, corners, count, parts[run])
                count = 0

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

from facekit.render.differentiable.harmonics import (
    add_light,
    harmonics,
    harmonics_backward,
    lit,
    lit_backward,
    unit,
)
from facekit.render.differentiable.held import Held
from facekit.render.differentiable.interpolate import check_held
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
from facekit.render.differentiable.weights import (
    blend,
    corner,
    dot,
    weights,
    weights_backward,
)
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
        screen, turned, skin, lamp = (to_numpy(t) for t in (points, normals, albedo, light))
        picture, weight = to_numpy(image).reshape(-1, 3), to_numpy(mask).reshape(-1)
        wanted = any(ctx.needs_input_grad[:4])
        count = screen.shape[1] if wanted else 0
        parts = np.empty((len(held.runs), count, 9))
        lights = np.empty((len(held.runs), 9, 3))
        sums = np.empty((len(held.runs), 2))
        run_ranges(
            lambda a, b: _photometric(
                screen, turned, skin, lamp, picture, weight, topology.index, held.pixels,
                held.triangle, held.runs, held.shape[1], held.shape[2], epsilon, wanted,
                parts, lights, sums, a, b,
            ),
            len(held.runs),
        )  # fmt: skip
        total = add_small(sums, held)
        scale = 1 / np.maximum(total[:, 1], 1)
        ctx.held, ctx.dtype = held, screen.dtype
        ctx.save_for_backward(*(torch.from_numpy(array) for array in (parts, lights, scale)))
        return torch.from_numpy((total[:, 0] * scale).astype(screen.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts, lights, scale = (tensor.numpy() for tensor in ctx.saved_tensors)
        factor = scale * gradient.detach().numpy()
        total = torch.from_numpy(add_runs(parts, ctx.held, factor, ctx.dtype))
        lamp = (add_small(lights, ctx.held) * factor[:, None, None]).astype(ctx.dtype)
        points, normals, albedo = total.split(3, dim=2)
        return points, normals, albedo, torch.from_numpy(lamp), *[None] * 5


@numba.njit(inline="always")
def _add(part, v, place, weight, normal, skin):
    part[v, 0] += place[0]
    part[v, 1] += place[1]
    part[v, 2] += place[2]
    part[v, 3] += weight * normal[0]
    part[v, 4] += weight * normal[1]
    part[v, 5] += weight * normal[2]
    part[v, 6] += weight * skin[0]
    part[v, 7] += weight * skin[1]
    part[v, 8] += weight * skin[2]


@numba.njit(
    both(
        lambda t: (
            read(t, 3), read(t, 3), read(t, 3), read(t, 3), read(t, 2), read(t, 1), INDEX2, INDEX1,
            INDEX1, LONG2, LONG, LONG, DOUBLE, types.boolean,
            write(DOUBLE, 3), write(DOUBLE, 3), write(DOUBLE, 2), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _photometric(
    points, normals, albedo, light, image, mask, faces, pixels,
    triangle, runs, height, width, epsilon, wanted,
    parts, lights, sums, start, stop,
):  # fmt: skip
    to_light, lamp = np.empty((9, 3)), np.empty((9, 3))
    for run in range(start, stop):
        b = runs[run, 0]
        screen, turned, skin = points[b], normals[b], albedo[b]
        part = parts[run]
        part[:] = 0
        to_light[:] = 0.0
        for i in range(9):
            for c in range(3):
                lamp[i, c] = light[b, i, c]
        total = total_weight = 0.0
        before = b * height * width
        for n in range(runs[run, 1], runs[run, 2]):
            pixel = pixels[n]
            m = float(mask[pixel])
            # A masked pixel adds nothing to anything.
            if m == 0:
                continue
            at = np.uint32(pixel - before)
            y, x = at // np.uint32(width), at % np.uint32(width)
            t = triangle[n]
            i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
            p, q, r = corner(screen, i, x, y), corner(screen, j, x, y), corner(screen, k, x, y)
            w0, w1, w2, inverse = weights(p, q, r)
            w = (w0, w1, w2)
            mx, my, mz = blend(turned, i, j, k, w)
            nx, ny, nz, shrink = unit(mx, my, mz)
            basis = harmonics(nx, ny, nz)
            s0, s1, s2 = lit(basis, lamp, 0), lit(basis, lamp, 1), lit(basis, lamp, 2)
            a0, a1, a2 = blend(skin, i, j, k, w)
            d0, d1, d2 = (
                a0 * s0 - image[pixel, 0], a1 * s1 - image[pixel, 1], a2 * s2 - image[pixel, 2],
            )  # fmt: skip
            root = np.sqrt(epsilon + d0 * d0 + d1 * d1 + d2 * d2)
            total += m * root
            total_weight += m
            if not wanted:
                continue
            factor = m / root
            d0, d1, d2 = factor * d0, factor * d1, factor * d2
            to_skin = (s0 * d0, s1 * d1, s2 * d2)
            to_shading = (a0 * d0, a1 * d1, a2 * d2)
            add_light(to_light, basis, to_shading)
            to_normal = harmonics_backward(nx, ny, nz, shrink, lit_backward(lamp, to_shading))
            to_weights = (
                dot(turned, i, to_normal) + dot(skin, i, to_skin),
                dot(turned, j, to_normal) + dot(skin, j, to_skin),
                dot(turned, k, to_normal) + dot(skin, k, to_skin),
            )
            e0, e1, e2 = weights_backward(p, q, r, w, inverse, to_weights)
            _add(part, i, e0, w0, to_normal, to_skin)
            _add(part, j, e1, w1, to_normal, to_skin)
            _add(part, k, e2, w2, to_normal, to_skin)
        for i in range(9):
            for c in range(3):
                lights[run, i, c] = to_light[i, c]
        sums[run, 0] = total
        sums[run, 1] = total_weight

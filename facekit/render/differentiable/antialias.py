"""Antialiased silhouettes: pictures whose borders move smoothly with the vertices."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.held import Held
from facekit.render.differentiable.interpolate import check_held
from facekit.render.differentiable.signatures import LONG, LONG1, LONG2, OPTIONS, both, read, write
from facekit.render.differentiable.silhouette import Silhouette, find_silhouettes
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.render.differentiable.topology import Topology
from facekit.threads import run_ranges


def antialias(
    image: Tensor, points: Tensor, held: Held, topology: Topology, *, cull: bool = True
) -> Tensor:
    """Return pictures with silhouettes blended by how much of each pixel they cover.

    Between a pixel A that sees the nearer surface and its neighbour B that does not, the edge
    crosses at alpha in [0, 1] from A's centre to B's. B gets (alpha - 1/2) of A's colour instead
    of its own, or A (1/2 - alpha) of B's: what a straight edge covers of the pixel in excess of
    its centre's vote. The gradient goes to the colours and, through alpha, to the edge's ends, so
    that silhouettes move; a picture of ones on zeros becomes the coverage.

    Args:
        image: (B, H, W, C), drawn from ``held`` over its background.
        points: (B, V, 3) as rasterised, of the same dtype.
        held: of ``hold`` with these points.
        topology: of the mesh.
        cull: as held.

    Returns:
        (B, H, W, C); the same for every number of threads.

    Raises:
        InputError: shapes, dtypes or devices do not fit.

    Degenerate: a border's ends are drawn by the columns (or rows) whose centres it covers, so at
    a corner the picture steps by up to half a pixel's colour, without gradient. Parts narrower
    than a pixel that no centre sees are missed. Where several borders meet in one pixel their
    shares add up and may leave the range of the colours.

    Source: Laine et al., Modular primitives for high-performance differentiable rendering, 2020,
    section 3.4; how the pairs are found differs, see ``silhouette``.
    """
    check_held(points, held, topology)
    check_tensor(image, "image", (*held.shape, None))
    check_same_dtype(image=image, points=points)
    screen = to_numpy(points).astype(np.float64, copy=False)
    pairs = find_silhouettes(screen, topology, held.triangles_image(), cull=cull)
    return _Antialias.apply(image, points, pairs)


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, points: Tensor, pairs: Silhouette) -> Tensor:
        ctx.pairs = pairs
        ctx.save_for_backward(image, points)
        batch, _, width, channels = image.shape
        colours, out = to_numpy(image).reshape(-1, channels), image.detach().clone().contiguous()
        screen, target = to_numpy(points), out.view(-1, channels).numpy()
        inside, outside, ends, vertical, offsets = _fields(pairs)
        run_ranges(
            lambda a, b: _forward(
                colours, screen, inside, outside, ends, vertical, offsets, width, target, a, b
            ),
            batch,
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        image, points = ctx.saved_tensors
        batch, _, width, channels = image.shape
        colours, screen = to_numpy(image).reshape(-1, channels), to_numpy(points)
        given = to_numpy(gradient).reshape(-1, channels)
        d_colours, d_points = given.copy(), np.zeros_like(screen)
        inside, outside, ends, vertical, offsets = _fields(ctx.pairs)
        run_ranges(
            lambda a, b: _backward(
                colours, screen, inside, outside, ends, vertical, offsets, width,
                given, d_colours, d_points, a, b,
            ),
            batch,
        )  # fmt: skip
        return torch.from_numpy(d_colours).view_as(image), torch.from_numpy(d_points), None


def _fields(pairs: Silhouette) -> tuple[np.ndarray, ...]:
    return (
        pairs.inside,
        pairs.outside,
        np.ascontiguousarray(pairs.ends, np.int64),
        pairs.vertical.astype(np.int64),
        pairs.offsets,
    )


_LONGS = (LONG1, LONG1, LONG2, LONG1, LONG1)


@numba.njit(inline="always")
def _crossing(screen, p, q, at, step, along, across):
    """Where the edge p q crosses from pixel ``at``, its share at q, and its slope there."""
    length = float(screen[q, along]) - screen[p, along]
    share = (at[along] - screen[p, along]) / length
    slope = (float(screen[q, across]) - screen[p, across]) / length
    place = screen[p, across] + share * (float(screen[q, across]) - screen[p, across])
    return (place - at[across]) * step, share, slope


@numba.njit(inline="always")
def _axes(vertical, inside, outside, width, before):
    """The inside pixel's place, the sign of the step outwards, the axis along the border."""
    at = inside - before
    step = 1.0 if outside > inside else -1.0
    along = 0 if vertical else 1
    return (float(at % width), float(at // width)), step, along


@numba.njit(
    both(lambda t: (read(t, 2), read(t, 3), *_LONGS, LONG, write(t, 2), LONG, LONG)),
    **OPTIONS,
)
def _forward(colours, points, inside, outside, ends, vertical, offsets, width, out, start, stop):
    size = len(colours) // points.shape[0]
    for b in range(start, stop):
        screen = points[b]
        for m in range(offsets[b], offsets[b + 1]):
            a, o = inside[m], outside[m]
            at, step, along = _axes(vertical[m], a, o, width, b * size)
            alpha, _, _ = _crossing(screen, ends[m, 0], ends[m, 1], at, step, along, 1 - along)
            target, amount = (o, alpha - 0.5) if alpha >= 0.5 else (a, alpha - 0.5)
            for c in range(colours.shape[1]):
                out[target, c] += amount * (float(colours[a, c]) - colours[o, c])


@numba.njit(
    both(
        lambda t: (
            read(t, 2), read(t, 3), *_LONGS, LONG, read(t, 2), write(t, 2), write(t, 3), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _backward(
    colours, points, inside, outside, ends, vertical, offsets, width, given, d_colours, d_points,
    start, stop,
):  # fmt: skip
    size = len(colours) // points.shape[0]
    for b in range(start, stop):
        screen, moved = points[b], d_points[b]
        for m in range(offsets[b], offsets[b + 1]):
            a, o, p, q = inside[m], outside[m], ends[m, 0], ends[m, 1]
            at, step, along = _axes(vertical[m], a, o, width, b * size)
            across = 1 - along
            alpha, share, slope = _crossing(screen, p, q, at, step, along, across)
            target, amount = (o, alpha - 0.5) if alpha >= 0.5 else (a, alpha - 0.5)
            to_alpha = 0.0
            for c in range(colours.shape[1]):
                g = float(given[target, c])
                d_colours[a, c] += amount * g
                d_colours[o, c] -= amount * g
                to_alpha += (float(colours[a, c]) - colours[o, c]) * g
            to_alpha *= step
            moved[p, across] += (1 - share) * to_alpha
            moved[q, across] += share * to_alpha
            moved[p, along] -= slope * (1 - share) * to_alpha
            moved[q, along] -= slope * share * to_alpha

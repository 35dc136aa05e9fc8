"""From vertices to the colour residual of a shaded mesh and back, without a list of pixels.

Equal to ``photometric`` of ``project``, ``hold`` and ``vertex_normals``, in four passes: over
vertices, faces, vertices (places and normals side by side in rows of nine numbers), and rows of
pixels, where each piece of the picture is rasterised, shaded and differentiated by one thread.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba import types
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.normals import face_cross, to_faces, to_vertices
from facekit.render.differentiable.pixel_block import (
    BLOCK,
    IMAGE,
    MASK,
    ROW,
    SIZE,
    add_block,
    put_corners,
    shade_block,
    sum_block,
)
from facekit.render.differentiable.project import backward_of_projection
from facekit.render.differentiable.residual import EPSILON, check_epsilon
from facekit.render.differentiable.signatures import (
    DOUBLE,
    INDEX1,
    INDEX2,
    LONG,
    LONG1,
    OPTIONS,
    both,
    read,
    write,
)
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.render.differentiable.topology import Topology
from facekit.render.rasterise import draw_faces, prepare_faces
from facekit.threads import run_ranges

# A thread more pays for itself from about this many faces or vertices.
_MIN_ITEMS = 8_000
# A band of rows has about this many pixels; each costs one array of all vertices.
_BAND = 24_000
_MOST_BANDS = 8
# And to draw from about this many rows, since each thread looks at every face.
_MIN_ROWS = 64
_NEAR = 1e-3


def mesh_photometric(
    vertices: Tensor,
    intrinsics: Tensor,
    albedo: Tensor,
    light: Tensor,
    image: Tensor,
    mask: Tensor,
    topology: Topology,
    *,
    epsilon: float = EPSILON,
    cull: bool = True,
) -> Tensor:
    """Return each image's mean colour residual (B,) of a shaded mesh, weighted by a mask.

    Computes sum_p M_p sqrt(epsilon + |a_p (Y(n_p) L) - I_p|^2) / max(sum_p M_p, 1) over the
    pixels that see the mesh, with albedo a and unit normal n interpolated there. Gradients go to
    vertices, intrinsics, albedo and light; which face a pixel sees has none.

    Args:
        vertices: (B, V, 3) in the OpenCV camera frame, z > 0.
        intrinsics: (B, 3, 3); see ``project.project``.
        albedo: (B, V, 3).
        light: (B, 9, 3) shading coefficients, camera frame.
        image: (B, H, W, 3), in the colour space of albedo times light.
        mask: (B, H, W), at least 0.
        topology: of the mesh.
        epsilon: keeps the root smooth at no residual.
        cull: leave out faces seen from behind.

    Raises:
        InputError: shapes, dtypes or devices do not fit; epsilon is not positive.

    Degenerate: as ``photometric.photometric`` and ``rasterise``.

    Source: Deng et al., Accurate 3D face reconstruction with weakly-supervised learning, 2019,
    eq. 2; Ramamoorthi and Hanrahan, 2001.
    """
    check_tensor(vertices, "vertices", (None, topology.num_vertices, 3))
    batch = len(vertices)
    check_tensor(intrinsics, "intrinsics", (batch, 3, 3))
    check_tensor(albedo, "albedo", tuple(vertices.shape))
    check_tensor(light, "light", (batch, 9, 3))
    check_tensor(image, "image", (batch, None, None, 3))
    check_tensor(mask, "mask", tuple(image.shape[:3]))
    check_same_dtype(
        vertices=vertices, intrinsics=intrinsics, albedo=albedo, light=light, image=image, mask=mask
    )
    check_epsilon(epsilon)
    return _MeshPhotometric.apply(
        vertices, intrinsics, albedo, light, image, mask, topology, epsilon, cull
    )


class _Bands(NamedTuple):
    """Rows of images that a mesh may cover, cut into bands.

    Attributes:
        low: (B,) the first such row of each image; rows: (B + 1,) how many the images before had.
        image, first, end: of each band, in order.
        bounds: (B + 1,) those of image b are ``bounds[b]:bounds[b + 1]``.
    """

    low: list[int]
    rows: list[int]
    image: list[int]
    first: list[int]
    end: list[int]
    bounds: np.ndarray


class _MeshPhotometric(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vertices: Tensor,
        intrinsics: Tensor,
        albedo: Tensor,
        light: Tensor,
        image: Tensor,
        mask: Tensor,
        topology: Topology,
        epsilon: float,
        cull: bool,
    ) -> Tensor:
        places, lens, skin = to_numpy(vertices), to_numpy(intrinsics), to_numpy(albedo)
        picture, weight = to_numpy(image), to_numpy(mask)
        lamp = to_numpy(light).astype(float, copy=False)
        batch, count = places.shape[:2]
        index = topology.index
        points, rows = np.empty((batch, count, 3)), np.empty((batch, count, ROW))
        cross = np.empty((batch, len(index), 3), places.dtype)
        lengths = np.empty((batch, count), places.dtype)
        run_ranges(
            lambda a, b: face_cross(places, index, cross, a, b),
            batch * len(index),
            min_chunk=_MIN_ITEMS,
        )
        run_ranges(
            lambda a, b: _fill_rows(
                places, lens, skin, cross, topology.offsets, topology.around, points, rows,
                lengths, a, b,
            ),
            batch * count,
            min_chunk=_MIN_ITEMS,
        )  # fmt: skip
        fixed, inverse = np.empty((batch, count), np.int64), np.empty((batch, count))
        buffer = np.empty(weight.shape, np.uint64)
        drawn = [
            prepare_faces(points[b], topology.faces, _NEAR, fixed[b], inverse[b])
            for b in range(batch)
        ]
        bands = _bands(fixed, *weight.shape[1:])
        wanted = any(ctx.needs_input_grad[:4])
        parts = np.empty((len(bands.image), count if wanted else 0, ROW))
        lights = np.empty((len(bands.image), 9, 3))
        sums = np.empty((len(bands.image), 2))

        def draw(start: int, stop: int) -> None:
            for b in range(batch):
                skipped = bands.rows[b]
                first = bands.low[b] + max(start - skipped, 0)
                end = bands.low[b] + min(stop, bands.rows[b + 1]) - skipped
                if end > first:
                    draw_faces(fixed[b], inverse[b], drawn[b], cull, buffer[b], first, end)

        def shade(start: int, stop: int) -> None:
            for t in range(start, stop):
                b = bands.image[t]
                _shade_rows(
                    buffer[b], index, rows[b], lamp[b], picture[b], weight[b], epsilon, wanted,
                    parts[t], lights[t], sums[t], bands.first[t], bands.end[t],
                )  # fmt: skip

        run_ranges(draw, bands.rows[-1], min_chunk=_MIN_ROWS)
        run_ranges(shade, len(bands.image))
        total = np.add.reduceat(sums, bands.bounds[:-1])
        scale = 1 / np.maximum(total[:, 1], 1)
        ctx.topology, ctx.bounds, ctx.scale = topology, bands.bounds, scale
        ctx.parts, ctx.lights, ctx.rows, ctx.lengths = parts, lights, rows, lengths
        ctx.save_for_backward(vertices, intrinsics)
        return torch.from_numpy((total[:, 0] * scale).astype(places.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        vertices, intrinsics = ctx.saved_tensors
        places, lens = to_numpy(vertices), to_numpy(intrinsics)
        topology: Topology = ctx.topology
        batch, count = places.shape[:2]
        factor = ctx.scale * gradient.detach().numpy()
        to_points, to_sums, to_albedo, turned = (np.empty_like(places) for _ in range(4))
        faces = np.empty((batch, len(topology.faces), 3), places.dtype)
        run_ranges(
            lambda a, b: _add_bands(
                ctx.parts, ctx.bounds, factor, ctx.rows, ctx.lengths, to_points, to_sums,
                to_albedo, a, b,
            ),
            batch * count,
            min_chunk=_MIN_ITEMS,
        )  # fmt: skip
        moved, to_lens = backward_of_projection(places, lens, to_points)
        run_ranges(
            lambda a, b: to_faces(to_sums, topology.index, faces, a, b),
            batch * len(topology.faces),
            min_chunk=_MIN_ITEMS,
        )
        run_ranges(
            lambda a, b: to_vertices(
                places, faces, topology.offsets, topology.around, turned, a, b
            ),
            batch * count,
            min_chunk=_MIN_ITEMS,
        )
        moved += turned
        lamp = np.add.reduceat(ctx.lights, ctx.bounds[:-1]) * factor[:, None, None]
        return (
            torch.from_numpy(moved),
            torch.from_numpy(to_lens),
            torch.from_numpy(to_albedo),
            torch.from_numpy(lamp.astype(places.dtype)),
            *[None] * 5,
        )


def _bands(fixed: np.ndarray, height: int, width: int) -> _Bands:
    """Cut each image's rows that a mesh may cover into bands; at least one an image.

    They depend on the mesh alone, so that sums over bands do not depend on the threads.
    """
    found = _Bands([], [0], [], [], [], np.zeros(len(fixed) + 1, np.int64))
    for b, vertices in enumerate(fixed):
        # A rounded vertex has its row, over 4096, in the upper half of its word.
        low, high = int(vertices.min() >> 44), int(vertices.max() >> 44) + 2
        low = min(max(low, 0), height)
        high = min(max(high, low), height)
        found.low.append(low)
        found.rows.append(found.rows[-1] + high - low)
        number = min(_MOST_BANDS, max(1, round((high - low) * width / _BAND)))
        cuts = [low + (high - low) * k // number for k in range(number + 1)]
        found.image.extend([b] * number)
        found.first.extend(cuts[:-1])
        found.end.extend(cuts[1:])
        found.bounds[b + 1] = len(found.image)
    return found


@numba.njit(
    both(
        lambda t: (
            read(t, 3), read(t, 3), read(t, 3), read(t, 3), INDEX1, INDEX2,
            write(DOUBLE, 3), write(DOUBLE, 3), write(t, 2), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _fill_rows(
    vertices, intrinsics, albedo, cross, offsets, around, points, rows, lengths, start, stop
):
    """Project, sum up normals, and put place, normal and albedo side by side."""
    count = vertices.shape[1]
    for b in range(start // count, -(-stop // count)):
        lens, face, row = intrinsics[b], cross[b], rows[b]
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            depth = float(vertices[b, v, 2])
            inverse = 1.0 / depth
            x, y = vertices[b, v, 0] * inverse, vertices[b, v, 1] * inverse
            row[v, 0] = points[b, v, 0] = lens[0, 0] * x + lens[0, 1] * y + lens[0, 2]
            row[v, 1] = points[b, v, 1] = lens[1, 1] * y + lens[1, 2]
            row[v, 2] = points[b, v, 2] = depth
            x = y = z = 0.0
            for r in range(offsets[v], offsets[v + 1]):
                f = around[r, 0]
                x += face[f, 0]
                y += face[f, 1]
                z += face[f, 2]
            length = np.sqrt(x * x + y * y + z * z)
            inverse = 1.0 / length if length > 0 else 0.0
            lengths[b, v] = length
            row[v, 3] = x * inverse
            row[v, 4] = y * inverse
            row[v, 5] = z * inverse
            row[v, 6] = albedo[b, v, 0]
            row[v, 7] = albedo[b, v, 1]
            row[v, 8] = albedo[b, v, 2]


@numba.njit(
    both(
        lambda t: (
            read(types.uint64, 2), INDEX2, read(DOUBLE, 2), read(DOUBLE, 2), read(t, 3), read(t, 2),
            DOUBLE, types.boolean, write(DOUBLE, 2), write(DOUBLE, 2), write(DOUBLE, 1), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _shade_rows(
    buffer, faces, rows, light, image, mask, epsilon, wanted, part, to_light, sums, first, end
):
    """Shade and differentiate rows [first, end) of one image's z-buffer."""
    block, corners = np.zeros(SIZE), np.empty((BLOCK, 3), np.uint32)
    part[:] = 0.0
    to_light[:] = 0.0
    sums[:] = 0.0
    count = 0
    width = buffer.shape[1]
    for y in range(first, end):
        for x in range(width):
            key = buffer[y, x]
            # A masked pixel adds nothing to anything.
            if key != 0 and mask[y, x] != 0:
                f = np.uint32(np.uint64(0xFFFFFFFF) - (key & np.uint64(0xFFFFFFFF)))
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                corners[count, 0] = i
                corners[count, 1] = j
                corners[count, 2] = k
                put_corners(block, count, rows, i, j, k, float(x), float(y))
                block[IMAGE + count] = image[y, x, 0]
                block[IMAGE + BLOCK + count] = image[y, x, 1]
                block[IMAGE + 2 * BLOCK + count] = image[y, x, 2]
                block[MASK + count] = mask[y, x]
                count += 1
            if count == BLOCK or (count > 0 and y == end - 1 and x == width - 1):
                block[MASK + count : MASK + BLOCK] = 0.0
                shade_block(block, light, epsilon)
                sum_block(block, sums, to_light)
                if wanted:
                    add_block(block, corners, count, part)
                count = 0


@numba.njit(
    both(
        lambda t: (
            read(DOUBLE, 3), LONG1, read(DOUBLE, 1), read(DOUBLE, 3), read(t, 2),
            write(t, 3), write(t, 3), write(t, 3), LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _add_bands(parts, bounds, scale, rows, lengths, to_points, to_sums, to_albedo, start, stop):
    """Sum the bands' gradients in order; take those of normals through their length."""
    count = rows.shape[1]
    total = np.empty(ROW)
    for b in range(start // count, -(-stop // count)):
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            total[:] = 0.0
            for t in range(bounds[b], bounds[b + 1]):
                for c in range(ROW):
                    total[c] += parts[t, v, c]
            length = lengths[b, v]
            inverse = scale[b] / length if length > 0 else 0.0
            along = total[3] * rows[b, v, 3] + total[4] * rows[b, v, 4] + total[5] * rows[b, v, 5]
            for c in range(3):
                to_points[b, v, c] = scale[b] * total[c]
                to_sums[b, v, c] = (total[3 + c] - rows[b, v, 3 + c] * along) * inverse
                to_albedo[b, v, c] = scale[b] * total[6 + c]

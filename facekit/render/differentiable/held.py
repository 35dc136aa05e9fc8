"""Fragments held while a gradient is taken: which face each covered pixel of a batch sees.

Visibility has no gradient: the kernels of this package take the faces as given and recompute the
barycentrics from the vertices, with their gradient. What moves at an occluding border is the
concern of ``silhouette``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facekit.errors import InputError
from facekit.render.differentiable.tensors import check_tensor
from facekit.render.differentiable.topology import Topology
from facekit.render.rasterise import rasterise
from facekit.threads import run_ranges

# Gradients are summed within runs of about this many pixels, and the runs then in order, so that
# the sum does not depend on the number of threads. Each run costs one array of all vertices.
_RUN = 10_000
_MOST_RUNS = 8
# The rasteriser splits pictures of more rows by itself.
_SPLIT_ROWS = 384


class Held(NamedTuple):
    """The covered pixels of a batch, ascending.

    Attributes:
        pixels: (N,) uint32, flat numbers in (B, H, W).
        triangle: (N,) uint32, the face each sees.
        offsets: (B + 1,) int64: image b has rows ``offsets[b]:offsets[b + 1]``.
        shape: (B, H, W).
        runs: (T, 3) int64 rows (image, first, end) into the N, in order.
    """

    pixels: np.ndarray
    triangle: np.ndarray
    offsets: np.ndarray
    shape: tuple[int, int, int]
    runs: np.ndarray

    def image_of_pixels(self) -> np.ndarray:
        """(N,) int64, the image each row belongs to."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.offsets))

    def to_image(self, values: Tensor, background: Tensor | None = None) -> Tensor:
        """Return per-pixel values (N, C) as pictures (B, H, W, C), with their gradient.

        Args:
            values: (N, C), one row for each of ``pixels``.
            background: (B, H, W, C) or broadcast to it; None is zero.
        """
        check_tensor(values, "values", (len(self.pixels), None))
        shape = (*self.shape, values.shape[1])
        if background is None:
            flat = values.new_zeros(int(np.prod(self.shape)), values.shape[1])
        else:
            flat = background.to(values).expand(shape).reshape(-1, values.shape[1])
        index = torch.from_numpy(self.pixels.astype(np.int64)).to(values.device)
        return flat.index_copy(0, index, values).reshape(shape)

    def triangles_image(self) -> np.ndarray:
        """(B, H, W) int32, -1 where a pixel sees no face."""
        image = np.full(int(np.prod(self.shape)), -1, np.int32)
        image[self.pixels] = self.triangle
        return image.reshape(self.shape)


def hold(points: Tensor, topology: Topology, width: int, height: int, *, cull: bool = True) -> Held:
    """Rasterise a batch and keep what each pixel sees.

    Args:
        points: (B, V, 3) projected vertices: x, y in pixels (0, 0 the CENTRE of the top-left
            pixel) and depth z > 0; their gradient is not followed. Another device's are copied.
        topology: of the mesh.
        width, height: of the pictures.
        cull: leave out faces seen from behind.

    Raises:
        InputError: wrong shapes, or pictures of over 2^31 pixels in all.
    """
    check_tensor(points, "points", (None, topology.num_vertices, 3))
    screen = points.detach().to("cpu", torch.float64).contiguous().numpy()
    if len(screen) * width * height >= 1 << 31:
        raise InputError("hold: expected fewer than 2^31 pixels in the batch; split it")
    triangles = np.empty((len(screen), height, width), np.int32)

    def images(start: int, stop: int) -> None:
        for b in range(start, stop):
            triangles[b] = rasterise(screen[b], topology.faces, width, height, cull=cull).triangle

    if height >= _SPLIT_ROWS:
        images(0, len(screen))
    else:
        run_ranges(images, len(screen))
    return hold_triangles(triangles)


def hold_triangles(triangles: np.ndarray) -> Held:
    """Hold given faces (B, H, W) int32, -1 where a pixel sees none."""
    flat = np.ascontiguousarray(triangles, np.int32).ravel()
    pixels = np.flatnonzero(flat >= 0).astype(np.uint32)
    size = int(np.prod(triangles.shape[1:]))
    offsets = np.searchsorted(pixels, size * np.arange(len(triangles) + 1)).astype(np.int64)
    runs = []
    for b in range(len(triangles)):
        first, count = offsets[b], offsets[b + 1] - offsets[b]
        number = min(_MOST_RUNS, -(-count // _RUN))
        bounds = first + count * np.arange(number + 1) // max(number, 1)
        runs += [(b, bounds[r], bounds[r + 1]) for r in range(number)]
    return Held(
        pixels,
        flat[pixels].view(np.uint32),
        offsets,
        (len(triangles), *triangles.shape[1:3]),
        np.array(runs, np.int64).reshape(-1, 3),
    )

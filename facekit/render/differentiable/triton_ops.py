"""Rasterising, normals and interpolation by Triton kernels, for tensors on a CUDA device.

Held pixels are listed on the CPU, as for the compiled kernels: one transfer of the covered pixels
for each call of ``hold``. Shading and residuals are torch's own operations there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.errors import InputError
from facekit.render.differentiable import triton_kernels as kernels
from facekit.render.differentiable.held import Held, hold_triangles
from facekit.render.differentiable.interpolate import check_held
from facekit.render.differentiable.plain import unit
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor
from facekit.render.differentiable.topology import Topology

_BLOCK = 128
_NEAR = 1e-3
_FARTHEST_PX = float(1 << 17)


def hold(points: Tensor, topology: Topology, width: int, height: int, *, cull: bool = True) -> Held:
    """See ``held.hold``: the same faces, but where two lie at one depth to the last bit."""
    return hold_triangles(rasterise(points, topology, width, height, cull=cull).cpu().numpy())


def rasterise(
    points: Tensor, topology: Topology, width: int, height: int, *, cull: bool = True
) -> Tensor:
    """Return the face that each pixel's centre sees, (B, H, W) int32, -1 for none.

    Args:
        points: (B, V, 3): x, y in pixels and depth z.
        topology: of the mesh.
        width, height: of the pictures.
        cull: leave out faces seen from behind.

    Raises:
        InputError: wrong shapes, or an empty picture.

    Source: as ``render.rasterise``, whose rules it keeps.
    """
    check_tensor(points, "points", (None, topology.num_vertices, 3))
    if width < 1 or height < 1:
        raise InputError(f"rasterise: expected a picture of at least 1x1, got {width}x{height}")
    screen = points.detach().double()
    flat, depth = screen[..., :2], screen[..., 2]
    usable = (depth > _NEAR) & depth.isfinite() & (flat.abs() < _FARTHEST_PX).all(-1)
    fixed = torch.where(usable[..., None], (flat * 4096).round(), 0.0).long().contiguous()
    inverse = torch.where(usable, 1 / torch.where(usable, depth, 1.0), 0.0)
    keys = torch.zeros(len(points), height, width, dtype=torch.int64, device=points.device)
    count = len(topology.faces)
    if count and len(points):
        faces = torch.from_numpy(topology.faces).to(points.device)
        kernels.draw[(-(-count // _BLOCK), len(points))](
            fixed, inverse, faces, keys, topology.num_vertices, count, height, width,
            CULL=cull, BLOCK=_BLOCK,
        )  # fmt: skip
    return torch.where(keys > 0, 0xFFFFFFFF - (keys & 0xFFFFFFFF), -1).int()


def interpolate(points: Tensor, attributes: Tensor, held: Held, topology: Topology) -> Tensor:
    """See ``interpolate.interpolate``."""
    check_held(points, held, topology)
    check_tensor(attributes, "attributes", (*points.shape[:2], None))
    check_same_dtype(points=points, attributes=attributes)
    return _Interpolate.apply(points, attributes, held, topology)


def vertex_normals(vertices: Tensor, topology: Topology) -> Tensor:
    """See ``normals.vertex_normals``."""
    check_tensor(vertices, "vertices", (None, topology.num_vertices, 3))
    corners = _Corners.apply(vertices, topology)
    cross = torch.linalg.cross(
        corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    )
    return unit(_AroundVertices.apply(cross, topology))


def add_by_vertex(rows: Tensor, vertex: Tensor, count: int) -> Tensor:
    """Return the sums (count, C) of rows (M, C) by their vertex (M,), each in the rows' order."""
    order = torch.argsort(vertex, stable=True)
    offsets = vertex.new_zeros(count + 1)
    offsets[1:] = torch.cumsum(torch.bincount(vertex, minlength=count), 0)
    out = rows.new_zeros(count, rows.shape[1])
    if count and len(rows):
        kernels.gather[(-(-count // _BLOCK),)](
            rows.contiguous(), order, offsets, out, count, CHANNELS=rows.shape[1], BLOCK=_BLOCK
        )
    return out


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, attributes: Tensor, held: Held, topology: Topology
    ) -> Tensor:
        screen, values = points.detach().contiguous(), attributes.detach().contiguous()
        device, channels = screen.device, values.shape[2]
        lists = [_long(held.pixels, device), _long(held.triangle, device)]
        faces = torch.from_numpy(topology.faces).to(device)
        out = values.new_empty(len(held.pixels), channels)
        ctx.sizes = (len(held.pixels), screen.shape[1], *held.shape[1:])
        if len(out) and channels:
            kernels.interpolate[(-(-len(out) // _BLOCK),)](
                screen, values, faces, *lists, out, *ctx.sizes, CHANNELS=channels, BLOCK=_BLOCK
            )
        ctx.save_for_backward(screen, values, faces, *lists)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        screen, values, faces, pixels, triangle = ctx.saved_tensors
        count, vertices, height, width = ctx.sizes
        channels = values.shape[2]
        shares = values.new_zeros(3 * count, channels + 3)
        if count:
            kernels.interpolate_backward[(-(-count // _BLOCK),)](
                screen, values, faces, pixels, triangle, gradient.contiguous(), shares, *ctx.sizes,
                CHANNELS=channels, BLOCK=_BLOCK,
            )  # fmt: skip
        image = pixels // (height * width)
        owner = (faces.long()[triangle] + (image * vertices)[:, None]).reshape(-1)
        total = add_by_vertex(shares, owner, len(screen) * vertices)
        total = total.view(len(screen), vertices, channels + 3)
        return total[..., channels:], total[..., :channels], None, None


class _Corners(torch.autograd.Function):
    """The vertices of each face's corners, (B, F, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, topology: Topology) -> Tensor:
        ctx.topology = topology
        return vertices[:, _long(topology.faces, vertices.device)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        batch = len(gradient)
        owner = _owners(ctx.topology, batch, gradient.device)
        count = ctx.topology.num_vertices
        total = add_by_vertex(gradient.reshape(-1, 3), owner, batch * count)
        return total.view(batch, count, 3), None


class _AroundVertices(torch.autograd.Function):
    """The sums over the faces about each vertex of values (B, F, 3)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, topology: Topology) -> Tensor:
        ctx.topology = topology
        batch, count = len(values), topology.num_vertices
        rows = values[:, :, None].expand(-1, -1, 3, -1).reshape(-1, 3)
        owner = _owners(topology, batch, values.device)
        return add_by_vertex(rows, owner, batch * count).view(batch, count, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[:, _long(ctx.topology.faces, gradient.device)].sum(2), None


def _owners(topology: Topology, batch: int, device: torch.device) -> Tensor:
    """The vertex, counted through the batch, of each corner of each image."""
    first = topology.num_vertices * torch.arange(batch, device=device)
    return (first[:, None] + _long(topology.faces, device).reshape(1, -1)).reshape(-1)


def _long(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)

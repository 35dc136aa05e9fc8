"""The same functions in plain torch operations: slow, on any device, and the tests' oracle.

Each has the arguments and the result of its namesake in this package.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facekit.render.differentiable.held import Held, hold
from facekit.render.differentiable.residual import EPSILON
from facekit.render.differentiable.silhouette import find_silhouettes
from facekit.render.differentiable.topology import Topology


def project(vertices: Tensor, intrinsics: Tensor) -> Tensor:
    """See ``project.project``."""
    depth = vertices[..., 2]
    x, y = vertices[..., 0] / depth, vertices[..., 1] / depth
    lens = intrinsics[:, None]
    u = lens[..., 0, 0] * x + lens[..., 0, 1] * y + lens[..., 0, 2]
    return torch.stack([u, lens[..., 1, 1] * y + lens[..., 1, 2], depth], dim=-1)


def vertex_normals(vertices: Tensor, topology: Topology) -> Tensor:
    """See ``normals.vertex_normals``."""
    faces = _index(topology.faces, vertices)
    corners = vertices[:, faces]
    cross = torch.linalg.cross(
        corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    )
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(1, faces[:, k], cross)
    return unit(total)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (..., 3) at length 1; a zero vector stays zero and has no gradient."""
    squared = vectors.square().sum(-1, keepdim=True)
    zero = squared == 0
    return torch.where(zero, 0.0, vectors / torch.where(zero, 1.0, squared).sqrt())


def barycentric(points: Tensor, held: Held, topology: Topology) -> Tensor:
    """Return the perspective-correct weights (N, 3) at the held pixels."""
    _, height, width = held.shape
    pixel = _index(held.pixels, points)
    image = pixel // (height * width)
    centre = torch.stack([pixel % width, pixel // width % height], dim=-1).to(points)
    corners = points[image[:, None], _index(topology.faces[held.triangle], points)]
    flat = corners[..., :2] - centre[:, None]
    x, y, z = flat[..., 0], flat[..., 1], corners[..., 2]
    after, before = [1, 2, 0], [2, 0, 1]
    area = x[:, before] * y[:, after] - x[:, after] * y[:, before]
    share = area * z[:, after] * z[:, before]
    total = share.sum(-1, keepdim=True)
    flat_face = total == 0
    first = torch.tensor([1.0, 0.0, 0.0]).to(points)
    return torch.where(flat_face, first, share / torch.where(flat_face, 1.0, total))


def interpolate(points: Tensor, attributes: Tensor, held: Held, topology: Topology) -> Tensor:
    """See ``interpolate.interpolate``."""
    weights = barycentric(points, held, topology)
    image = _index(held.image_of_pixels(), points)
    corners = attributes[image[:, None], _index(topology.faces[held.triangle], points)]
    return (weights[..., None] * corners).sum(1)


def harmonics(normals: Tensor) -> Tensor:
    """Return the nine harmonics (..., 9) of unit vectors; see ``render.shade.sh_basis``."""
    x, y, z = normals.unbind(-1)
    one, two, zonal = 0.5 * (3 / np.pi) ** 0.5, 0.5 * (15 / np.pi) ** 0.5, 0.25 * (5 / np.pi) ** 0.5
    return torch.stack(
        [
            torch.full_like(x, 0.5 * (1 / np.pi) ** 0.5),
            one * y,
            one * z,
            one * x,
            two * x * y,
            two * y * z,
            zonal * (3 * z * z - 1),
            two * x * z,
            0.5 * two * (x * x - y * y),
        ],
        dim=-1,
    )


def shade(normals: Tensor, albedo: Tensor, light: Tensor, held: Held) -> Tensor:
    """See ``shade.shade``."""
    lamp = light[_index(held.image_of_pixels(), normals)]
    return albedo * (harmonics(unit(normals))[:, None] @ lamp)[:, 0]


def masked_residual(
    colours: Tensor, image: Tensor, mask: Tensor, held: Held, *, epsilon: float = EPSILON
) -> Tensor:
    """See ``residual.masked_residual``."""
    pixels = _index(held.pixels, colours)
    weight = mask.reshape(-1)[pixels]
    offset = colours - image.reshape(-1, 3)[pixels]
    root = (epsilon + offset.square().sum(-1)).sqrt()
    owner = _index(held.image_of_pixels(), colours)
    zero = colours.new_zeros(held.shape[0])
    total = zero.index_add(0, owner, weight * root)
    return total / zero.index_add(0, owner, weight).clamp(min=1)


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
    """See ``photometric.photometric``."""
    seen = interpolate(points, torch.cat([normals, albedo], dim=-1), held, topology)
    colours = shade(seen[:, :3], seen[:, 3:], light, held)
    return masked_residual(colours, image, mask, held, epsilon=epsilon)


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
    """See ``mesh_photometric.mesh_photometric``; what a pixel sees is found on the CPU."""
    points = project(vertices, intrinsics)
    held = hold(points, topology, image.shape[2], image.shape[1], cull=cull)
    normals = vertex_normals(vertices, topology)
    return photometric(points, normals, albedo, light, image, mask, held, topology, epsilon=epsilon)


def antialias(
    image: Tensor, points: Tensor, held: Held, topology: Topology, *, cull: bool = True
) -> Tensor:
    """See ``antialias.antialias``; the pairs come from the same walk."""
    screen = points.detach().to("cpu", torch.float64).numpy()
    pairs = find_silhouettes(screen, topology, held.triangles_image(), cull=cull)
    batch, height, width = held.shape
    inside, outside = _index(pairs.inside, image), _index(pairs.outside, image)
    owner = torch.arange(batch).repeat_interleave(torch.from_numpy(np.diff(pairs.offsets)))
    ends = points[owner.to(image.device)[:, None], _index(pairs.ends, image), :2]
    vertical = torch.from_numpy(pairs.vertical).to(image.device)[:, None, None]
    # Columns: across the border, along it.
    ends = torch.where(vertical, ends.flip(-1), ends)
    rest = inside % (height * width)
    centre = torch.stack([rest % width, rest // width], dim=-1)
    centre = torch.where(vertical[:, 0], centre.flip(-1), centre).to(image)
    step = torch.where(outside > inside, 1.0, -1.0).to(image)
    span = ends[:, 1] - ends[:, 0]
    share = (centre[:, 1] - ends[:, 0, 1]) / span[:, 1]
    alpha = step * (ends[:, 0, 0] + share * span[:, 0] - centre[:, 0])
    flat = image.reshape(-1, image.shape[-1])
    difference = (alpha - 0.5)[:, None] * (flat[inside] - flat[outside])
    target = torch.where(alpha.detach() >= 0.5, outside, inside)
    return flat.index_add(0, target, difference).reshape(image.shape)


def _index(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(like.device)

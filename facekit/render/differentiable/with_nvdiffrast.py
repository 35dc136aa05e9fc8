"""The ``nvdiffrast`` package behind the renderer interface (CUDA, float32)."""

from __future__ import annotations

import torch
from torch import Tensor

from facekit.errors import InputError, MissingDependencyError
from facekit.render.differentiable import plain
from facekit.render.differentiable.renderer import (
    Rendering,
    check_scene,
    front_faces,
    with_coverage,
)
from facekit.render.differentiable.topology import Topology


class NvdiffrastRenderer:
    """Rasterises, interpolates and antialiases with nvdiffrast.

    Raises:
        MissingDependencyError: there is no CUDA device.
    """

    name = "nvdiffrast"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise MissingDependencyError(
                "renderer nvdiffrast needs a CUDA device and a CUDA build of PyTorch; "
                "use --renderer builtin"
            )
        import nvdiffrast.torch as ops

        self._ops = ops
        self._context = ops.RasterizeCudaContext()

    def render(
        self,
        vertices: Tensor,
        intrinsics: Tensor,
        attributes: Tensor,
        topology: Topology,
        width: int,
        height: int,
        *,
        background: Tensor | None = None,
        antialias: bool = True,
    ) -> Rendering:
        """See ``Renderer.render``.

        Raises:
            InputError: the tensors are not float32 on a CUDA device.
        """
        check_scene(vertices, intrinsics, attributes, topology)
        if vertices.device.type != "cuda" or vertices.dtype != torch.float32:
            raise InputError(
                f"renderer nvdiffrast: expected float32 on cuda, got {vertices.dtype} on "
                f"{vertices.device}"
            )
        points = plain.project(vertices, intrinsics)
        clip = clip_space(points, width, height)
        faces = torch.from_numpy(topology.faces).to(points.device)
        shape = (len(points), height, width)
        behind = with_coverage(background, attributes, shape)
        pictures, triangles = [], []
        for b, chosen in enumerate(front_faces(points, topology)):
            seen = faces[chosen].contiguous()
            raster, _ = self._ops.rasterize(self._context, clip[b : b + 1], seen, (height, width))
            ones = torch.ones_like(attributes[b : b + 1, :, :1])
            values = torch.cat([attributes[b : b + 1], ones], dim=-1).contiguous()
            picture, _ = self._ops.interpolate(values, raster, seen)
            number = raster[0, ..., 3].long() - 1
            if behind is not None:
                picture = torch.where((number >= 0)[None, ..., None], picture, behind[b])
            if antialias:
                picture = self._ops.antialias(picture, raster, clip[b : b + 1], seen)
            pictures.append(picture[0])
            triangles.append(torch.where(number >= 0, chosen[number.clamp(min=0)], -1))
        image = torch.stack(pictures)
        return Rendering(image[..., :-1], image[..., -1], torch.stack(triangles))


def clip_space(points: Tensor, width: int, height: int) -> Tensor:
    """Return clip-space positions (B, V, 4) of x, y in pixels and depth z.

    x / w and y / w span [-1, 1] over the picture's corners, y growing with the row (nvdiffrast's
    first row is at -1); z / w grows with depth from -1 at a little before the nearest vertex.
    """
    z = points[..., 2]
    near, far = 0.9 * z.detach().amin().clamp(min=1e-6), 1.1 * z.detach().amax()
    x = (2 * (points[..., 0] + 0.5) / width - 1) * z
    y = (2 * (points[..., 1] + 0.5) / height - 1) * z
    depth = ((far + near) * z - 2 * far * near) / (far - near)
    return torch.stack([x, y, depth, z], dim=-1)

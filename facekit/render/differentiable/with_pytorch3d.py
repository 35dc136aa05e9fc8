"""The ``pytorch3d`` package behind the renderer interface.

Its hard rasteriser gives gradients inside the surface only: silhouettes have none, and
``antialias`` adds facekit's own blend (on the CPU or a GPU) to its fragments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facekit.render.differentiable import plain
from facekit.render.differentiable.held import hold_triangles
from facekit.render.differentiable.renderer import (
    Rendering,
    check_scene,
    front_faces,
    with_coverage,
)
from facekit.render.differentiable.topology import Topology


class Pytorch3dRenderer:
    """Rasterises with ``pytorch3d.renderer.mesh.rasterize_meshes``."""

    name = "pytorch3d"

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
        """See ``Renderer.render``."""
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes

        check_scene(vertices, intrinsics, attributes, topology)
        points = plain.project(vertices, intrinsics)
        # NDC: +x left, +y up, the shorter side spans [-1, 1], pixels' corners on the border.
        half = min(width, height) / 2
        size = points.new_tensor([width / 2, height / 2])
        ndc = torch.cat([(size - 0.5 - points[..., :2]) / half, points[..., 2:]], dim=-1)
        chosen = front_faces(points, topology)
        faces = torch.from_numpy(topology.faces).to(points.device, torch.int64)
        meshes = Meshes(verts=list(ndc), faces=[faces[rows] for rows in chosen])
        packed, _, weights, _ = rasterize_meshes(
            meshes,
            image_size=(height, width),
            blur_radius=0.0,
            faces_per_pixel=1,
            perspective_correct=True,
            cull_backfaces=False,
        )
        number = torch.cat(chosen)[packed[..., 0].clamp(min=0)]
        triangle = torch.where(packed[..., 0] >= 0, number, -1)
        held = hold_triangles(triangle.to("cpu", torch.int32).numpy())
        inside = triangle >= 0
        image = torch.nonzero(inside)[:, 0]
        corners = attributes[image[:, None], faces[triangle[inside]]]
        values = (weights[..., 0, :][inside][..., None] * corners).sum(1)
        picture = held.to_image(
            torch.cat([values, torch.ones_like(values[:, :1])], dim=1),
            with_coverage(background, attributes, held.shape),
        )
        if antialias:
            picture = plain.antialias(picture, points, held, topology)
        return Rendering(picture[..., :-1], picture[..., -1], triangle)

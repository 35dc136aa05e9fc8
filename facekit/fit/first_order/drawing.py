"""The colour term of a first-order fit through each of the renderers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from facekit.errors import UsageError
from facekit.fit.first_order.config import RENDERERS
from facekit.fit.terms.image import photometric_loss
from facekit.render.differentiable import plain
from facekit.render.differentiable.mesh_photometric import mesh_photometric
from facekit.render.differentiable.renderer import Renderer, open_renderer
from facekit.render.differentiable.topology import Topology


class Drawn(Protocol):
    """Compares a shaded mesh with a photograph; batches of one face."""

    @property
    def device(self) -> str:
        """Where its tensors must be."""

    def residual(
        self,
        vertices: Tensor,
        albedo: Tensor,
        light: Tensor,
        intrinsics: Tensor,
        image: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Return the masked L2,1 colour difference; see ``fit.terms.image.photometric_loss``.

        Args:
            vertices: (1, V, 3) camera frame; albedo: (1, V, 3); light: (1, 9, 3).
            intrinsics: (1, 3, 3).
            image: (1, H, W, 3); mask: (1, H, W), which the mesh's coverage is multiplied to.
        """

    def picture(
        self, vertices: Tensor, albedo: Tensor, light: Tensor, intrinsics: Tensor, size: int
    ) -> Tensor:
        """Return the shaded mesh (1, size, size, 3) over black."""


def open_drawn(name: str, topology: Topology) -> Drawn:
    """Open a renderer of ``RENDERERS`` for one mesh.

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: its package or device is missing.
    """
    if name not in RENDERERS:
        raise UsageError(f"renderer: expected one of {', '.join(RENDERERS)}, got {name!r}")
    opened = open_renderer(RENDERERS[name])
    if name == "builtin":
        return _Fused(opened, topology)
    if name == "plain":
        return _Plain(opened, topology)
    return _Rendered(opened, topology)


class _Rendered:
    """Through ``Renderer.render``: normals and albedo are drawn, and shaded by the pixel."""

    def __init__(self, renderer: Renderer, topology: Topology) -> None:
        self._renderer, self.topology = renderer, topology
        self.device = "cuda" if renderer.name in ("triton", "nvdiffrast") else "cpu"

    def _shaded(
        self,
        vertices: Tensor,
        albedo: Tensor,
        light: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
    ) -> tuple[Tensor, Tensor]:
        normals = plain.vertex_normals(vertices, self.topology)
        drawn = self._renderer.render(
            vertices,
            intrinsics,
            torch.cat([normals, albedo], dim=-1),
            self.topology,
            width,
            height,
            antialias=False,
        )
        basis = plain.harmonics(plain.unit(drawn.attributes[..., :3]))
        colours = drawn.attributes[..., 3:] * torch.einsum("bhwk,bkc->bhwc", basis, light)
        return colours, drawn.coverage.detach()

    def residual(
        self,
        vertices: Tensor,
        albedo: Tensor,
        light: Tensor,
        intrinsics: Tensor,
        image: Tensor,
        mask: Tensor,
    ) -> Tensor:
        height, width = mask.shape[1:]
        colours, seen = self._shaded(vertices, albedo, light, intrinsics, width, height)
        return photometric_loss(colours, image, mask * seen)

    def picture(
        self, vertices: Tensor, albedo: Tensor, light: Tensor, intrinsics: Tensor, size: int
    ) -> Tensor:
        colours, seen = self._shaded(vertices, albedo, light, intrinsics, size, size)
        return colours * seen[..., None]


class _Fused(_Rendered):
    """Through the compiled kernels, which go from vertices to the residual without a picture."""

    def residual(
        self,
        vertices: Tensor,
        albedo: Tensor,
        light: Tensor,
        intrinsics: Tensor,
        image: Tensor,
        mask: Tensor,
    ) -> Tensor:
        return self._compare(vertices, intrinsics, albedo, light, image, mask, self.topology).sum()

    _compare = staticmethod(mesh_photometric)


class _Plain(_Fused):
    """Through the kernels' twins in plain torch operations."""

    _compare = staticmethod(plain.mesh_photometric)

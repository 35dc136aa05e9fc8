"""One interface to every differentiable renderer, opened by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from facekit.errors import InputError, MissingDependencyError, UsageError
from facekit.render.differentiable import plain
from facekit.render.differentiable.antialias import antialias as antialias_fused
from facekit.render.differentiable.held import Held, hold
from facekit.render.differentiable.interpolate import interpolate
from facekit.render.differentiable.project import project
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor
from facekit.render.differentiable.topology import Topology

NAMES = ("auto", "numba", "torch", "triton", "pytorch3d", "nvdiffrast")


class Rendering(NamedTuple):
    """A batch of pictures of vertex attributes.

    Attributes:
        attributes: (B, H, W, C), over the background.
        coverage: (B, H, W), the share of each pixel that the mesh covers, about in [0, 1].
        triangle: (B, H, W) int64, the face seen at each pixel's centre, -1 for none.
    """

    attributes: Tensor
    coverage: Tensor
    triangle: Tensor


class Renderer(Protocol):
    """Draws vertex attributes with gradients to vertices, intrinsics and attributes."""

    @property
    def name(self) -> str:
        """The name it is opened by."""

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
        """Draw a batch; faces seen from behind are left out.

        Args:
            vertices: (B, V, 3) in the OpenCV camera frame, z > 0, any unit.
            intrinsics: (B, 3, 3), pixels; (0, 0) is the CENTRE of the top-left pixel.
            attributes: (B, V, C), interpolated perspective-correct.
            topology: of the mesh.
            width, height: of the pictures.
            background: (B, H, W, C) or broadcast to it; None is zero.
            antialias: blend silhouettes, which gives them gradients. Without it the coverage is
                0 or 1 and has none.

        Raises:
            InputError: shapes, dtypes or devices do not fit.
        """


class _Raster(Protocol):
    def __call__(self, points: Tensor, topology: Topology, width: int, height: int) -> Held: ...


@dataclass(frozen=True)
class StagedRenderer:
    """Projects, rasterises, interpolates and antialiases with the functions it is given."""

    name: str
    project: Callable[[Tensor, Tensor], Tensor]
    hold: _Raster
    interpolate: Callable[[Tensor, Tensor, Held, Topology], Tensor]
    antialias: Callable[[Tensor, Tensor, Held, Topology], Tensor]

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
        check_scene(vertices, intrinsics, attributes, topology)
        points = self.project(vertices, intrinsics)
        held = self.hold(points.detach(), topology, width, height)
        values = self.interpolate(points, attributes, held, topology)
        image = held.to_image(
            torch.cat([values, torch.ones_like(values[:, :1])], dim=1),
            with_coverage(background, attributes, held.shape),
        )
        if antialias:
            image = self.antialias(image, points, held, topology)
        triangle = torch.from_numpy(held.triangles_image()).to(vertices.device, torch.int64)
        return Rendering(image[..., :-1], image[..., -1], triangle)


def check_scene(
    vertices: Tensor, intrinsics: Tensor, attributes: Tensor, topology: Topology
) -> None:
    """Raise InputError unless the tensors of ``Renderer.render`` fit each other."""
    check_tensor(vertices, "vertices", (None, topology.num_vertices, 3))
    check_tensor(intrinsics, "intrinsics", (len(vertices), 3, 3))
    check_tensor(attributes, "attributes", (*vertices.shape[:2], None))
    check_same_dtype(vertices=vertices, intrinsics=intrinsics, attributes=attributes)


def with_coverage(
    background: Tensor | None, attributes: Tensor, shape: tuple[int, int, int]
) -> Tensor | None:
    """Return the background (B, H, W, C + 1) with a last channel of no coverage.

    Raises:
        InputError: it does not broadcast to (B, H, W, C).
    """
    if background is None:
        return None
    wanted = (*shape, attributes.shape[2])
    try:
        full = background.to(attributes).expand(wanted)
    except RuntimeError as error:
        raise InputError(
            f"background: expected a shape that broadcasts to {wanted}, "
            f"got {tuple(background.shape)}"
        ) from error
    return torch.cat([full, torch.zeros_like(full[..., :1])], dim=-1)


def open_renderer(name: str = "auto") -> Renderer:
    """Open a differentiable renderer.

    Args:
        name: ``numba`` (compiled kernels, CPU), ``torch`` (the same in plain torch operations,
            slow; any device), ``triton`` (kernels for CUDA), ``pytorch3d`` or ``nvdiffrast``
            (those packages), ``auto`` (``triton`` where CUDA and Triton are there, else
            ``numba``).

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: the package or the device it needs is missing.
    """
    if name == "auto":
        name = "triton" if torch.cuda.is_available() and _has("triton") else "numba"
    if name == "numba":
        return StagedRenderer("numba", project, hold, interpolate, antialias_fused)
    if name == "torch":
        return StagedRenderer("torch", plain.project, hold, plain.interpolate, plain.antialias)
    if name == "triton":
        if not _has("triton"):
            raise MissingDependencyError(
                "renderer triton needs Triton, which comes with PyTorch's CUDA builds: "
                "pip install triton; on a CPU use --renderer builtin"
            )
        module = import_module("facekit.render.differentiable.triton_ops")
        return StagedRenderer(
            "triton", plain.project, module.hold, module.interpolate, plain.antialias
        )
    if name == "pytorch3d":
        if not _has("pytorch3d"):
            raise MissingDependencyError(
                "renderer pytorch3d needs the package, built from source: pip install "
                "'git+https://github.com/facebookresearch/pytorch3d.git'"
            )
        return import_module("facekit.render.differentiable.with_pytorch3d").Pytorch3dRenderer()
    if name == "nvdiffrast":
        if not _has("nvdiffrast"):
            raise MissingDependencyError(
                "renderer nvdiffrast needs the package and a CUDA device: pip install "
                "'git+https://github.com/NVlabs/nvdiffrast.git'"
            )
        return import_module("facekit.render.differentiable.with_nvdiffrast").NvdiffrastRenderer()
    raise UsageError(f"renderer: expected one of {', '.join(NAMES)}, got {name!r}")


def front_faces(points: Tensor, topology: Topology) -> list[Tensor]:
    """Return each image's numbers of the faces seen from outside, wholly before the camera.

    Adapters hand these alone to their package, whose own culling has other conventions.
    """
    faces = torch.from_numpy(topology.faces.astype(np.int64)).to(points.device)
    corners = points.detach()[:, faces]
    first, second = (corners[:, :, k, :2] - corners[:, :, 0, :2] for k in (1, 2))
    area = second[..., 0] * first[..., 1] - first[..., 0] * second[..., 1]
    seen = (area > 0) & (corners[..., 2] > 0).all(-1)
    return [torch.nonzero(row)[:, 0] for row in seen]


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None

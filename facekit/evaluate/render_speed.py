"""One forward and backward pass of the differentiable renderer, to be timed beside its twin."""

from __future__ import annotations

import numpy as np

from facekit import threads
from facekit.evaluate.speed import SpeedCase, Work
from facekit.geometry.cameras import to_camera
from facekit.morphable.builtin import load_builtin
from facekit.render.images import turned_camera

_WHAT = (
    "projection, rasterising, normals, interpolation, shading and colour residual of the built-in "
    "model at 224 x 224, and their gradient to vertices, albedo and light"
)


def render_cases() -> list[SpeedCase]:
    """Return the compiled renderer and its plain-torch twin, on all threads."""
    return [
        SpeedCase("render.224", _WHAT, lambda: render_step(224), threads=0, calls=5),
        SpeedCase(
            "render.224.torch",
            f"{_WHAT}; plain torch operations",
            lambda: render_step(224, plain=True),
            threads=0,
        ),
    ]


def render_step(size: int, *, plain: bool = False, batch: int = 1) -> Work:
    """Return work that renders the built-in model, compares it with a picture and takes gradients.

    Args:
        size: side of the square picture, pixels.
        plain: the plain-torch twin instead of the compiled kernels. Both use the numba
            rasteriser, and as many threads as the kernels may.
        batch: equal heads in one call.

    Returns:
        A function that returns the gradients at vertices, albedo and light.
    """
    import torch

    from facekit.render.differentiable import plain as twin
    from facekit.render.differentiable.mesh_photometric import mesh_photometric
    from facekit.render.differentiable.topology import Topology

    model = load_builtin()
    camera = turned_camera(model.mean, yaw_deg=20, width=size, height=size)
    topology = Topology(model.faces, len(model.mean))
    generator = torch.Generator().manual_seed(0)
    place = torch.from_numpy(to_camera(camera, model.mean.astype(np.float64)))
    vertices = place.float().repeat(batch, 1, 1).requires_grad_()
    intrinsics = torch.from_numpy(camera.intrinsics).float().repeat(batch, 1, 1)
    albedo = torch.rand(batch, len(model.mean), 3, generator=generator).requires_grad_()
    light = torch.rand(batch, 9, 3, generator=generator).requires_grad_()
    image = torch.rand(batch, size, size, 3, generator=generator)
    mask = torch.ones(batch, size, size)

    compare = twin.mesh_photometric if plain else mesh_photometric

    def work() -> tuple[torch.Tensor, ...]:
        torch.set_num_threads(threads.num_threads())
        value = compare(vertices, intrinsics, albedo, light, image, mask, topology)
        return torch.autograd.grad(value.sum(), (vertices, albedo, light))

    work()
    return work

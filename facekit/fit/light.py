"""Spherical-harmonics light of a photograph from its fitted face, in closed form."""

from __future__ import annotations

import numpy as np

from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.render.shade import sh_basis, srgb_to_linear
from facekit.types import Camera

_MOST_VERTICES = 3000
# Ridge weights by band, relative to the data: light from behind is not seen on a face, and
# without a prior its coefficients would be noise.
_BAND_RIDGE = np.repeat([1e-4, 3e-3, 3e-2], [1, 3, 5])


def estimate_light(
    image: np.ndarray, vertices: np.ndarray, model: MorphableModel, camera: Camera
) -> np.ndarray:
    """Return the light, (9, 3) float64 linear RGB, that best explains a face's colours.

    Minimises sum_v w_v |colour_v - albedo_v (Y(n_v) L)|^2 plus a small ridge on the higher bands,
    with Huber weights against hair, glasses and highlights. Normals are in the camera frame, as
    ``render.shade.sh_shading`` expects. The albedo is the model's mean, so its overall
    brightness is part of the light.

    Degenerate: with fewer than 30 visible skin vertices inside the image (a face at the border)
    the light is white and even, with shading 1.
    """
    chosen = _visible_skin(vertices, model, camera)
    light = np.zeros((9, 3))
    if len(chosen) < 30:
        light[0] = 1 / sh_basis(np.array([0.0, 0.0, -1.0]))[0]
        return light
    points = np.rint(project(camera, vertices[chosen])[:, :2]).astype(int)
    colours = srgb_to_linear(image[points[:, 1], points[:, 0]] / np.float32(255)).astype(float)
    normals = vertex_normals(vertices, model.faces)[chosen] @ camera.rotation.T
    basis = sh_basis(normals).astype(float)
    albedo = np.clip(model.albedo_mean[chosen].astype(float), 0.02, 1)
    for channel in range(3):
        rows = basis * albedo[:, channel : channel + 1]
        weight = np.ones(len(rows))
        scale = float((rows**2).sum())
        for _ in range(6):
            weighted = rows * weight[:, None]
            normal = weighted.T @ rows + np.diag(_BAND_RIDGE * scale)
            light[:, channel] = np.linalg.solve(normal, weighted.T @ colours[:, channel])
            residual = np.abs(colours[:, channel] - rows @ light[:, channel])
            spread = 1.4826 * np.median(residual) + 1e-4
            weight = np.minimum(1.0, 1.5 * spread / np.maximum(residual, 1e-9))
    return light


def _visible_skin(vertices: np.ndarray, model: MorphableModel, camera: Camera) -> np.ndarray:
    region = model.regions.get("face", np.ones(len(vertices), bool))
    if "skin" in model.regions:
        region = region & model.regions["skin"]
    normals = vertex_normals(vertices, model.faces) @ camera.rotation.T
    towards = vertices @ camera.rotation.T + camera.translation
    distance = np.linalg.norm(towards, axis=1)
    facing = -np.einsum("vd,vd->v", normals, towards) / distance
    points = project(camera, vertices)
    inside = (points[:, 0] > 0) & (points[:, 0] < camera.width - 1)
    inside &= (points[:, 1] > 0) & (points[:, 1] < camera.height - 1)
    chosen = np.flatnonzero(region & inside & (facing > 0.3))
    return chosen[:: max(1, len(chosen) // _MOST_VERTICES)]

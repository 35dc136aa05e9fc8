"""Spherical-harmonics light of a photograph from its fitted face, in closed form."""

from __future__ import annotations

import numpy as np

from facekit.fit.skin_light import solve_light
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.render.shade import sh_basis, srgb_to_linear
from facekit.types import Camera

_MOST_VERTICES = 3000


def estimate_light(
    image: np.ndarray, vertices: np.ndarray, model: MorphableModel, camera: Camera
) -> np.ndarray:
    """Return the light, (9, 3) float64 linear RGB, that best explains a face's colours.

    Minimises sum_v w_v |colour_v - albedo_v (Y(n_v) L)|^2 (see ``fit.skin_light``). Normals are in
    the camera frame, as ``render.shade.sh_shading`` expects. The albedo is the model's mean, so
    its overall brightness is part of the light.

    Degenerate: with fewer than 30 visible skin vertices inside the image (a face at the border)
    the light is white and even, with shading 1.
    """
    chosen = _visible_skin(vertices, model, camera)
    if len(chosen) < 30:
        light = np.zeros((9, 3))
        light[0] = 1 / sh_basis(np.array([0.0, 0.0, -1.0]))[0]
        return light
    points = np.rint(project(camera, vertices[chosen])[:, :2]).astype(int)
    colours = srgb_to_linear(image[points[:, 1], points[:, 0]] / np.float32(255)).astype(float)
    normals = vertex_normals(vertices, model.faces)[chosen] @ camera.rotation.T
    basis = sh_basis(normals).astype(float)
    albedo = np.clip(model.albedo_mean[chosen].astype(float), 0.02, 1)
    return solve_light(colours, basis, albedo, np.ones(len(chosen)))


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

"""What a photograph shows of a fitted face, vertex by vertex."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.fit.visibility import unhidden_vertices
from facekit.geometry.cameras import project, to_camera
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.render.shade import sh_basis, srgb_to_linear
from facekit.types import Camera

# Values from here on may be clipped highlights.
_BRIGHT = 250


class VertexColours(NamedTuple):
    """Colours of a face's vertices in a photograph.

    Attributes:
        colours: (V, 3) float32 linear RGB, whatever lies at the vertex' place.
        facing: (V,) float32 cosine between normal and view where the vertex is seen and not
            clipped, else 0.
        basis: (V, 9) float32 harmonics of the normals in the camera frame.
    """

    colours: np.ndarray
    facing: np.ndarray
    basis: np.ndarray


def vertex_colours(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    *,
    blur_mm: float = 0.8,
    least_facing: float = 0.25,
) -> VertexColours:
    """Read a photograph at the vertices of a face that was fitted to it.

    Args:
        image: (H, W, 3) uint8 sRGB.
        vertices: (V, 3) mm, head frame.
        faces: (F, 3) of the whole head, which hides what lies behind.
        camera: head frame to image.
        blur_mm: deviation of a blur on the face, at least half a pixel: light is averaged
            linearly.
        least_facing: cosine from which a vertex counts as seen.

    A vertex outside the image is not seen; its colour is that of the nearest border.
    """
    picture = check_array(image, "image", shape=("H", "W", 3), dtype="uint8")
    mesh = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    height, width = picture.shape[:2]
    normals = vertex_normals(mesh, faces) @ camera.rotation.T
    place = to_camera(camera, mesh)
    facing = -np.einsum("vd,vd->v", normals, place) / np.linalg.norm(place, axis=1)
    points = project(camera, mesh)
    seen = facing > least_facing
    seen &= unhidden_vertices(
        points,
        faces,
        np.arange(len(mesh)),
        facing,
        width=width,
        height=height,
        focal_px=float(camera.intrinsics[0, 0]),
    )
    pixel_mm = place[:, 2] / camera.intrinsics[0, 0]
    blur = max(0.5, blur_mm / float(np.median(pixel_mm)))
    light = cv2.GaussianBlur(srgb_to_linear(picture / np.float32(255)), (0, 0), blur)
    colours = sample_image(light, points[:, 0], points[:, 1])
    x, y = (
        np.clip(np.rint(points[:, k]).astype(int), 0, n - 1) for k, n in ((0, width), (1, height))
    )
    clipped = picture[y, x].max(axis=1) >= _BRIGHT
    return VertexColours(
        colours,
        np.where(seen & ~clipped, facing, 0).astype(np.float32),
        sh_basis(normals.astype(np.float32)),
    )

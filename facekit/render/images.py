"""Pictures of a mesh: clay, colours, texture, normals, depth; over a photograph or turned."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.cameras import project, to_camera
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.interpolate import interpolate, normal_map, sample_texture, unit
from facekit.render.rasterise import Fragments, rasterise
from facekit.render.shade import (
    ambient_sh,
    directional_light_sh,
    sh_shading,
    specular,
    srgb_to_linear,
    to_uint8,
)
from facekit.types import Camera, Mesh

# Unfired clay, linear RGB.
CLAY = np.array([0.56, 0.50, 0.46])


class Picture(NamedTuple):
    """A rendered mesh.

    Attributes:
        image: (H, W, 3) uint8 sRGB, black where there is no mesh; not multiplied by alpha.
        alpha: (H, W) float32 in [0, 1], the share of a pixel that the mesh covers.
    """

    image: np.ndarray
    alpha: np.ndarray

    def over(self, background: np.ndarray, *, opacity: float = 1.0) -> np.ndarray:
        """Return the picture put over a photograph (H, W, 3) uint8, blended in linear light.

        Args:
            background: of the picture's size; one colour (3,) uint8 fills.
            opacity: of the mesh, in [0, 1].

        Raises:
            InputError: the sizes differ.
        """
        behind = np.asarray(background)
        if behind.ndim == 1:
            behind = np.broadcast_to(behind, self.image.shape)
        if behind.shape != self.image.shape:
            raise InputError(
                f"overlay: expected a photograph of shape {self.image.shape}, got {behind.shape}"
            )
        amount = (opacity * self.alpha)[..., None]
        linear = srgb_to_linear(behind / 255)
        return to_uint8(linear + amount * (srgb_to_linear(self.image / 255) - linear))


def studio_light() -> np.ndarray:
    """Return the (9, 3) shading coefficients of the light that clay renders use.

    A warm key from the upper left, a cool fill from the right, a rim from behind and soft ambient
    light; camera frame.
    """
    light = ambient_sh(np.array([0.13, 0.135, 0.15]))
    for direction, colour in (
        ((-0.45, -0.65, -0.62), (0.95, 0.91, 0.85)),
        ((0.80, -0.15, -0.55), (0.16, 0.19, 0.24)),
        ((0.10, -0.75, 0.65), (0.16, 0.16, 0.18)),
    ):
        toward = np.array(direction) / np.linalg.norm(direction)
        light = light + directional_light_sh(toward, np.array(colour))
    return light


def render_shaded(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    *,
    albedo: np.ndarray | None = None,
    light: np.ndarray | None = None,
    gloss: float = 0.35,
    supersample: int = 2,
    cull: bool = True,
) -> Picture:
    """Render a mesh under a light.

    Args:
        vertices: (V, 3) mm in the frame that ``camera`` takes to its own.
        faces: (F, 3), counter-clockwise from outside.
        camera: where from, and the size of the picture.
        albedo: (V, 3) or (3,) linear RGB; None is clay.
        light: (9, 3) shading coefficients in the camera frame (``params.npz``'s ``light``); None
            is ``studio_light``, with a highlight of strength ``gloss``.
        gloss: of the studio light's highlight.
        supersample: samples per pixel and side.
        cull: leave out faces seen from behind; False shows both sides.
    """
    mesh = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    colour = np.asarray(CLAY if albedo is None else albedo, np.float32)
    colours = np.broadcast_to(colour, (len(mesh), 3))
    fine, fragments = _seen(mesh, faces, camera, supersample, cull)
    seen = interpolate(fragments, faces, np.hstack([colours, to_camera(fine, mesh)]))
    normals = _normals(mesh, faces, fine, fragments, seen[..., 3:])
    coefficients = studio_light() if light is None else light
    shaded = seen[..., :3] * np.maximum(sh_shading(normals, coefficients), 0)
    if light is None and gloss > 0:
        toward = np.array([-0.45, -0.65, -0.62])
        view = -unit(seen[..., 3:])
        shine = specular(normals, view, toward / np.linalg.norm(toward), roughness=0.5)
        shaded += np.minimum(gloss * np.pi * shine, 1.0)[..., None]
    if light is None:
        # A shoulder keeps highlights from clipping hard.
        over = np.maximum(shaded - 0.8, 0)
        shaded = np.minimum(shaded, 0.8) + 0.2 * (1 - np.exp(-over / 0.2))
    return _finish(shaded, fragments, supersample)


def render_textured(
    mesh: Mesh,
    texture: np.ndarray,
    camera: Camera,
    *,
    light: np.ndarray | None = None,
    supersample: int = 2,
    cull: bool = True,
) -> Picture:
    """Render a mesh with its texture (H, W, 3) uint8 sRGB; without a light as it is.

    Raises:
        InputError: the mesh has no uvs.
    """
    if mesh.uvs is None or mesh.face_uvs is None:
        raise InputError("render_textured: expected a mesh with uvs")
    vertices = mesh.vertices.astype(np.float64)
    fine, fragments = _seen(vertices, mesh.faces, camera, supersample, cull)
    uvs = interpolate(fragments, mesh.face_uvs, mesh.uvs)
    colour = np.zeros((*fragments.triangle.shape, 3), np.float32)
    covered = fragments.covered
    linear = srgb_to_linear(check_array(texture, "texture", shape=("H", "W", 3)) / 255)
    colour[covered] = sample_texture(linear, uvs[covered])
    if light is not None:
        places = interpolate(fragments, mesh.faces, to_camera(fine, vertices))
        normals = _normals(vertices, mesh.faces, fine, fragments, places)
        colour *= np.maximum(sh_shading(normals, light), 0)
    return _finish(colour, fragments, supersample)


def render_normals(vertices: np.ndarray, faces: np.ndarray, camera: Camera) -> Picture:
    """Render normals as colours: (n + 1) / 2 with x to image right, y up, z to the viewer."""
    mesh = np.asarray(vertices, np.float64)
    fine, fragments = _seen(mesh, faces, camera, 1, cull=True)
    places = interpolate(fragments, faces, to_camera(fine, mesh))
    normals = _normals(mesh, faces, fine, fragments, places) * np.array([1, -1, -1], np.float32)
    image = np.clip((normals + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    image[~fragments.covered] = 0
    return Picture(image, fragments.covered.astype(np.float32))


def render_depth(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera
) -> tuple[np.ndarray, Picture]:
    """Return depth (H, W) float32 in mm, 0 where there is no mesh, and its picture (near white)."""
    mesh = np.asarray(vertices, np.float64)
    points = project(camera, mesh)
    fragments = rasterise(points, faces, camera.width, camera.height)
    depth = fragments.depth(points, faces)
    covered = fragments.covered
    image = np.zeros((*depth.shape, 3), np.uint8)
    if covered.any():
        near, far = depth[covered].min(), depth[covered].max()
        level = 255 - 215 * (depth - near) / max(float(far - near), 1e-6)
        image[covered] = level[covered, None].astype(np.uint8)
    return depth, Picture(image, covered.astype(np.float32))


def render_overlay(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    *,
    albedo: np.ndarray | None = None,
    light: np.ndarray | None = None,
    opacity: float = 0.75,
    supersample: int = 2,
) -> np.ndarray:
    """Return a photograph (H, W, 3) uint8 with the mesh rendered over it; see ``render_shaded``."""
    picture = render_shaded(
        vertices, faces, camera, albedo=albedo, light=light, supersample=supersample
    )
    return picture.over(image, opacity=opacity)


def turned_camera(
    vertices: np.ndarray,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    width: int = 512,
    height: int = 512,
    distance_mm: float = 1600.0,
    margin: float = 0.06,
) -> Camera:
    """Return a camera that sees a head-frame mesh (V, 3), turned, filling the picture.

    Args:
        vertices: what shall be in the picture.
        yaw_deg, pitch_deg: how the head is turned (yaw > 0: nose to image right; pitch > 0: up).
        width, height: of the picture, pixels.
        distance_mm: from the middle of the mesh; far is a calm perspective.
        margin: free border over the picture's size.
    """
    mesh = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    if not len(mesh):
        raise InputError("turned_camera: expected at least one vertex")
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw_deg), np.radians(pitch_deg), 0.0)
    turned = mesh @ rotation.T
    turned[:, 2] += distance_mm - (turned[:, 2].max() + turned[:, 2].min()) / 2
    flat = turned[:, :2] / turned[:, 2:]
    low, high = flat.min(0), flat.max(0)
    room = (1 - 2 * margin) * np.array([width, height])
    focal = float((room / np.maximum(high - low, 1e-9)).min())
    middle = np.array([(width - 1) / 2, (height - 1) / 2]) - focal * (low + high) / 2
    intrinsics = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    depth = distance_mm - float((mesh @ rotation[2]).max() + (mesh @ rotation[2]).min()) / 2
    return Camera(intrinsics, rotation, np.array([0, 0, depth]), width, height)


def _seen(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera, supersample: int, cull: bool
) -> tuple[Camera, Fragments]:
    if supersample < 1:
        raise InputError(f"supersample: expected at least 1, got {supersample}")
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] *= supersample
    intrinsics[:2, 2] += (supersample - 1) / 2
    fine = Camera(
        intrinsics,
        camera.rotation,
        camera.translation,
        camera.width * supersample,
        camera.height * supersample,
        camera.distortion,
    )
    points = project(fine, vertices)
    return fine, rasterise(points, faces, fine.width, fine.height, cull=cull)


def _normals(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    fragments: Fragments,
    places: np.ndarray,
) -> np.ndarray:
    """Return normals in the camera frame, turned to the viewer where a back is seen."""
    normals = normal_map(fragments, faces, vertex_normals(vertices, faces) @ camera.rotation.T)
    away = np.einsum("hwc,hwc->hw", normals, places) > 0
    return np.where(away[..., None], -normals, normals).astype(np.float32)


def _finish(linear: np.ndarray, fragments: Fragments, supersample: int) -> Picture:
    """Average the samples; colours are weighted by coverage so that no border turns dark."""
    alpha = fragments.covered.astype(np.float32)
    linear = linear.astype(np.float32)
    linear[~fragments.covered] = 0
    if supersample > 1:
        size = (alpha.shape[1] // supersample, alpha.shape[0] // supersample)
        linear = cv2.resize(linear, size, interpolation=cv2.INTER_AREA)
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    colour = linear / np.maximum(alpha, 1e-6)[..., None]
    return Picture(to_uint8(colour), alpha)

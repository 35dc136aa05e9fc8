"""Pinhole projection and the one place where pixel-centre conventions are converted.

Convention: OpenCV camera frame (+x right, +y down, +z forward); pixel (0, 0) is the CENTRE of
the top-left pixel, so an image of width W spans x in [-0.5, W - 0.5].
"""

from __future__ import annotations

import numpy as np

from facekit.errors import InputError
from facekit.types import Camera

# Newton converges in four or five steps for any usable lens.
_NEWTON_STEPS = 12
# Where the top-left pixel's centre lies in each named format.
_CENTRE_OF_FIRST_PIXEL = {
    "facekit": 0.0,
    "opencv": 0.0,
    "colmap": 0.5,
    "opengl": 0.5,
    "gltf": 0.5,
    "nerf": 0.5,
}


def pixel_convention(points: np.ndarray, source: str, target: str) -> np.ndarray:
    """Convert pixel coordinates (..., 2), or a principal point, between named formats.

    ``facekit`` and ``opencv`` put (0, 0) at the centre of the top-left pixel; ``colmap``,
    ``opengl``, ``gltf`` and ``nerf`` put it at that pixel's corner (centre at 0.5, 0.5).

    Raises:
        InputError: an unknown format's name.
    """
    for name in (source, target):
        if name not in _CENTRE_OF_FIRST_PIXEL:
            known = ", ".join(sorted(_CENTRE_OF_FIRST_PIXEL))
            raise InputError(f"pixel convention: expected one of {known}, got {name!r}")
    return np.asarray(points) + (_CENTRE_OF_FIRST_PIXEL[target] - _CENTRE_OF_FIRST_PIXEL[source])


def to_camera(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Take world (or head) points (..., 3) to the camera frame: R x + t, millimetres."""
    return points @ camera.rotation.T + camera.translation


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Project world (or head) points (..., 3) to (..., 3): x, y in pixels and depth z in mm.

    Applies OpenCV's five distortion terms. Points with z <= 0 are behind the camera: their x, y
    are meaningless and the caller tests z.
    """
    cam = to_camera(camera, np.asarray(points, dtype=np.float64))
    z = cam[..., 2]
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    x, y = cam[..., 0] / safe, cam[..., 1] / safe
    k1, k2, p1, p2, k3 = camera.distortion
    if np.any(camera.distortion):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    K = camera.intrinsics
    u = K[0, 0] * x + K[0, 1] * y + K[0, 2]
    v = K[1, 1] * y + K[1, 2]
    return np.stack([u, v, z], axis=-1)


def intrinsics_from_fov(width: int, height: int, fov_deg: float) -> np.ndarray:
    """Return (3, 3) intrinsics whose LONGER image side spans ``fov_deg``, centred."""
    focal = max(width, height) / (2 * np.tan(np.radians(fov_deg) / 2))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def scale_intrinsics(intrinsics: np.ndarray, scale: float) -> np.ndarray:
    """Return the intrinsics after resizing the image by ``scale``: x' = s (x + 0.5) - 0.5."""
    scaled = intrinsics.copy()
    scaled[:2, :2] *= scale
    scaled[:2, 2] = scale * (intrinsics[:2, 2] + 0.5) - 0.5
    return scaled


def undistort(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Return the normalised coordinates (x / z, y / z) that pixels (N, 2) see, (N, 2) float64.

    Newton's method on OpenCV's five distortion terms, from the pixel's own coordinates: the
    inverse of ``project`` to rounding wherever the lens maps one to one.

    Degenerate: a pixel beyond the radius where the radial polynomial turns round has no ray; its
    result is the last iterate and does not project back.
    """
    K = camera.intrinsics
    where = np.asarray(pixels, np.float64)
    v = (where[:, 1] - K[1, 2]) / K[1, 1]
    u = (where[:, 0] - K[0, 2] - K[0, 1] * v) / K[0, 0]
    if not np.any(camera.distortion):
        return np.stack([u, v], axis=1)
    k1, k2, p1, p2, k3 = camera.distortion
    x, y = u.copy(), v.copy()
    for _ in range(_NEWTON_STEPS):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + 3 * r2 * k3))
        fx = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - u
        fy = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y - v
        if max(np.abs(fx).max(initial=0), np.abs(fy).max(initial=0)) < 1e-13:
            break
        a = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
        b = x * y * slope + 2 * p1 * x + 2 * p2 * y
        d = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
        determinant = a * d - b * b
        x -= (d * fx - b * fy) / determinant
        y -= (a * fy - b * fx) / determinant
    return np.stack([x, y], axis=1)

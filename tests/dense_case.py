"""Textured planes and balls seen by small cameras, with exact depth, for the dense stages."""

import numpy as np

from facekit.capture.views import make_view, ray_directions
from facekit.simulate.noise import solid_noise
from facekit.types import Camera


def ring(count=5, *, size=96, distance=600.0, step_deg=14.0, focal=400.0):
    """Return cameras on an arc about the origin, looking at it, +z towards the middle one."""
    cameras = []
    for k in range(count):
        angle = np.radians((k - (count - 1) / 2) * step_deg)
        tilt = np.radians(8.0 * (-1) ** k)
        out = np.array([np.sin(angle) * np.cos(tilt), np.sin(tilt), np.cos(angle) * np.cos(tilt)])
        forward = -out
        right = np.cross(forward, [0, 1, 0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
        cameras.append(Camera(K, rotation, -rotation @ (distance * out), size, size))
    return cameras


def _rays(camera):
    y, x = np.mgrid[: camera.height, : camera.width].astype(float)
    rays = ray_directions(camera, x.ravel(), y.ravel()) @ camera.rotation
    return -camera.rotation.T @ camera.translation, rays


def plane_depth(camera, normal, offset):
    """Return the depth z (H, W) of the plane normal . x = offset."""
    centre, rays = _rays(camera)
    return ((offset - centre @ normal) / (rays @ normal)).reshape(camera.height, camera.width)


def ball_depth(camera, radius):
    """Return the depth z (H, W) of the ball about the origin; 0 beside it."""
    centre, rays = _rays(camera)
    a, b, c = (rays**2).sum(1), rays @ centre, centre @ centre - radius**2
    root = b * b - a * c
    z = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    return z.reshape(camera.height, camera.width)


def paint(camera, depth, *, seed=0, size=12.0, noise=0.0):
    """Return a picture (H, W, 3) uint8 of a solid texture on a surface of known depth."""
    centre, rays = _rays(camera)
    points = centre + depth.reshape(-1, 1) * rays
    grey = 128 + 70 * solid_noise(points.astype(np.float32), size=size, seed=seed, octaves=2)
    grey = np.where(depth.ravel() > 0, grey, 20)
    if noise:
        grey = grey + np.random.default_rng(seed).normal(0, noise, grey.shape)
    picture = np.clip(np.rint(grey), 0, 255).astype(np.uint8).reshape(depth.shape)
    return np.repeat(picture[..., None], 3, axis=2)


def views_of(cameras, depths, **options):
    return [
        make_view(f"v{k}", paint(camera, depth, **options), camera)
        for k, (camera, depth) in enumerate(zip(cameras, depths, strict=True))
    ]


def exact_planes(depth):
    """Return inverse depth and its slopes (H, W, 3) float32 by central differences."""
    w = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)
    wy, wx = np.gradient(w)
    return np.ascontiguousarray(np.stack([w, wx, wy], -1), np.float32)

"""The cameras of a simulated capture stage: rings about a head, with lenses and sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.errors import InputError
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.types import Camera, Rig

# Focal length over the picture's side: 0.385 mm a pixel at 1 m and 1024 pixels.
_FOCAL = 2600 / 1024
# Elevations of one, two and three rings, degrees.
_ELEVATIONS = {1: (5.0,), 2: (-8.0, 22.0), 3: (-15.0, 10.0, 35.0)}


@dataclass(frozen=True)
class RigOptions:
    """How a stage is built.

    Attributes:
        cameras: how many.
        size: side of the pictures, pixels.
        azimuth_deg: the rings reach from minus to plus this; None: 81, or less where cameras of
            a ring would stand more than 30 degrees apart.
        distance_mm: from the cameras to the stage's middle.
        distortion: strength of the lens distortion, 1 typical (k1 about -0.08), 0 none.
        jitter: strength of what a builder does not get exact (place, aim, roll, focal length),
            1 typical, 0 none.
    """

    cameras: int = 30
    size: int = 1024
    azimuth_deg: float | None = None
    distance_mm: float = 1000.0
    distortion: float = 1.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        if self.cameras < 1 or self.cameras > 999:
            raise InputError(f"cameras: expected 1 to 999, got {self.cameras}")
        if self.size < 64 or self.size > 8192:
            raise InputError(f"size: expected 64 to 8192 pixels, got {self.size}")
        if self.distance_mm < 300:
            raise InputError(f"distance_mm: expected at least 300, got {self.distance_mm:g}")
        if self.azimuth_deg is not None and not 0 <= self.azimuth_deg <= 180:
            raise InputError(f"azimuth_deg: expected 0 to 180, got {self.azimuth_deg:g}")


def stage_rig(options: RigOptions, seed: int) -> Rig:
    """Return the stage's cameras, named ``cam00``, ..., in the stage's frame.

    The stage's frame is that of a head that looks straight ahead in its middle: +X to the
    person's left, +Y up, +Z out of the face, origin in the middle, mm. Three rings of cameras
    (two for fewer than nine, one for fewer than four) lie at elevations of -15, 10 and 35 degrees,
    evenly spread in azimuth; they look at the middle.
    """
    rng = np.random.default_rng([seed, 11])
    rings = 1 if options.cameras < 4 else 2 if options.cameras < 9 else 3
    cameras: dict[str, Camera] = {}
    for ring, numbers in enumerate(np.array_split(np.arange(options.cameras), rings)):
        count = len(numbers)
        reach = options.azimuth_deg
        if reach is None:
            reach = min(81.0, 15.0 * (count - 1))
        azimuths = np.linspace(-reach, reach, count) if count > 1 else np.zeros(1)
        for number, azimuth in zip(numbers, azimuths, strict=True):
            cameras[f"cam{number:02d}"] = _camera(
                options, np.radians(azimuth), np.radians(_ELEVATIONS[rings][ring]), rng
            )
    return Rig(cameras, frame="stage")


def _camera(
    options: RigOptions, azimuth: float, elevation: float, rng: np.random.Generator
) -> Camera:
    jitter = options.jitter
    toward = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    centre = options.distance_mm * toward + jitter * rng.normal(0, 8, 3)
    aim = jitter * rng.normal(0, 5, 3)
    forward = (aim - centre) / np.linalg.norm(aim - centre)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    rotation = rotvec_to_matrix(np.array([0, 0, jitter * rng.normal(0, 0.02)])) @ rotation
    size = options.size
    focal = _FOCAL * size * (1 + jitter * rng.normal(0, 0.006))
    middle = (size - 1) / 2 + jitter * rng.normal(0, 0.006, 2) * size
    aspect = 1 + jitter * rng.normal(0, 2e-4)
    intrinsics = np.array([[focal, 0, middle[0]], [0, focal * aspect, middle[1]], [0, 0, 1.0]])
    k1, k2 = rng.normal(-0.08, 0.012), rng.normal(0.03, 0.02)
    p1, p2 = rng.normal(0, 4e-4, 2)
    distortion = options.distortion * np.array([k1, k2, p1, p2, 0.0])
    return Camera(intrinsics, rotation, -rotation @ centre, size, size, distortion)

"""Pictures that a fit should do badly on, and should know it: the hard cases of ``eval truth``.

Each is a picture of ``eval truth`` made worse in one way: turned to profile, a third of the face
covered, coloured light, reduced to 40 pixels, or looked at in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from facekit.detect import Detector
from facekit.detect.faces import box_of_five
from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import UsageError
from facekit.evaluate.truth import PortraitOf
from facekit.simulate.light import Lighting
from facekit.simulate.look import Look
from facekit.simulate.occluders import OccluderStyle, draw_occluder, random_occluder
from facekit.types import Camera, DetectedFace

PLAIN = "plain"
HARD = ("profile", "small", "occluded", "coloured", "cropped")
CONDITIONS = (PLAIN, *HARD)
PROFILE_DEG = 75.0
# Longer side of a small face's box, and the part of a face that is covered.
SMALL_PX, COVERED = 40, 1 / 3
# Yaw of the other conditions' pictures, drawn per head.
_YAWS_DEG = (0.0, 22.0, 45.0)
# Filters before the lamps, linear RGB: red, blue, green, magenta, amber.
_FILTERS = ((1.0, 0.15, 0.1), (0.12, 0.3, 1.0), (0.2, 1.0, 0.3), (1.0, 0.2, 0.9), (1.0, 0.55, 0.1))
_FILTER_GAIN = 1.3


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture, what is true of it, and where a detector is told to look.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ibug68: (68, 2) the true landmarks.
        camera: the true one; vertices: (V, 3) mm, the head in its frame, with its expression.
        condition: one of ``CONDITIONS``; kind: for ``cropped``, which way.
        yaw_deg: of the head.
        started: a (wrong) box with five points, of which the detector places the landmarks; None
            lets it search.
    """

    image: np.ndarray
    ibug68: np.ndarray
    camera: Camera
    vertices: np.ndarray
    condition: str
    kind: str
    yaw_deg: float
    started: DetectedFace | None = None

    def faces(self, detector: Detector) -> list[DetectedFace]:
        """Return what a detector makes of the picture, largest face first."""
        complete = getattr(detector, "complete", None)
        if self.started is None or complete is None:
            return detector.detect(self.image)
        return [complete(self.image, self.started)]


def take_shot(
    portrait_of: PortraitOf, head: int, condition: str, *, seed: int, yaw_deg: float | None = None
) -> Shot:
    """Photograph a head under a condition; the same arguments give the same picture.

    Args:
        portrait_of: of ``truth.head_portraits``.
        head: its number.
        condition: one of ``CONDITIONS``. ``profile`` is seen at 75 degrees of yaw, the others at
            one of 0, 22 and 45. ``small``: the landmarks' box is 40 px. ``occluded``: a sheet
            covers a third of the seen face. ``coloured``: lamps behind saturated filters.
            ``cropped``: a quarter to a half of the face lies outside the picture, or the
            landmarks are placed from a box that is 0.3 to 0.8 faces away and 0.6 to 1.8 times too
            large, or from one in the background.
        seed: of what the condition draws.
        yaw_deg: instead of the drawn one.

    Raises:
        UsageError: no such condition.
    """
    check_condition(condition)
    rng = np.random.default_rng([seed, head, 51, CONDITIONS.index(condition)])
    yaw = PROFILE_DEG if condition == "profile" else float(rng.choice(_YAWS_DEG))
    yaw = yaw if yaw_deg is None else yaw_deg
    change: Callable[[Look], Look] | None = None
    if condition == "occluded":
        plain = portrait_of(head, yaw, None)
        cover = covering(plain.face_mask, plain.landmarks_2d, rng)

        def change(look: Look) -> Look:
            return replace(look, occluder=cover)

    elif condition == "coloured":

        def change(look: Look) -> Look:
            return replace(look, light=filtered(look.light, rng))

    portrait = portrait_of(head, yaw, change)
    shot = Shot(
        portrait.image,
        portrait.landmarks_2d.astype(np.float64),
        portrait.camera,
        portrait.subject.truth_vertices,
        condition,
        "",
        yaw,
    )
    if condition == "small":
        return reduced(shot, SMALL_PX)
    return _wrongly_cropped(shot, rng) if condition == "cropped" else shot


def check_condition(name: str) -> None:
    """Raise UsageError for a name that is none of ``CONDITIONS``."""
    if name not in CONDITIONS:
        raise UsageError(f"condition: expected one of {', '.join(CONDITIONS)}, got {name!r}")


def reduced(shot: Shot, side: float) -> Shot:
    """Return a shot scaled down so that the landmarks' box has a longer side of ``side`` px."""
    scale = min(1.0, side / float(np.ptp(shot.ibug68, axis=0).max()))
    height, width = shot.image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    ratio = np.array([size[0] / width, size[1] / height])
    image = cv2.resize(shot.image, size, interpolation=cv2.INTER_AREA)
    intrinsics = np.diag([*ratio, 1.0]) @ shot.camera.intrinsics
    intrinsics[:2, 2] += 0.5 * ratio - 0.5
    camera = replace(shot.camera, intrinsics=intrinsics, width=size[0], height=size[1])
    return replace(shot, image=image, ibug68=(shot.ibug68 + 0.5) * ratio - 0.5, camera=camera)


def covering(
    face: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, *, share: float = COVERED
) -> OccluderStyle:
    """Draw a sheet that covers a share of the seen face.

    Args:
        face: (H, W) bool, where the face is seen.
        landmarks: (68, 2) pixels.
        rng: source of its place, angle and colour.
        share: of the face's pixels.
    """
    style = replace(random_occluder(rng), kind="sheet")
    blank = np.zeros((*face.shape, 3), np.float32)
    total = max(int(face.sum()), 1)
    low, high = 0.05, 2.0
    for _ in range(10):
        style = replace(style, size=0.5 * (low + high))
        _, hidden = draw_occluder(blank, landmarks, style)
        if (hidden & face).sum() < share * total:
            low = style.size
        else:
            high = style.size
    return style


def filtered(light: Lighting, rng: np.random.Generator) -> Lighting:
    """Return a light with saturated filters before its lamps."""
    colours = np.array(_FILTERS)[rng.choice(len(_FILTERS), 2, replace=False)]
    # Filters swallow light, which a camera's exposure brings back in part.
    colours *= _FILTER_GAIN
    key, rest = colours
    return replace(
        light,
        ambient=light.ambient * rest,
        key_colour=light.key_colour * key,
        fill_colour=light.fill_colour * rest,
    )


def _wrongly_cropped(shot: Shot, rng: np.random.Generator) -> Shot:
    kind = str(rng.choice(["cut", "shifted", "elsewhere"]))
    shot = replace(shot, kind=kind)
    if kind == "cut":
        return _cut(shot, rng)
    points = shot.ibug68
    low, high = points.min(axis=0), points.max(axis=0)
    side, centre = float((high - low).max()), (low + high) / 2
    height, width = shot.image.shape[:2]
    if kind == "shifted":
        around = rng.uniform(0, 2 * np.pi)
        offset = rng.uniform(0.3, 0.8) * side * np.array([np.cos(around), np.sin(around)])
        scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.8))))
    else:
        corners = np.array([[x, y] for x in (0.12, 0.88) for y in (0.12, 0.88)])
        offset = corners[rng.integers(4)] * [width, height] - centre
        scale = float(rng.uniform(0.4, 0.7))
    five = ibug68_to_five(centre + offset + scale * (points - centre))
    started = DetectedFace(box_of_five(five), 1.0, five=five)
    return replace(shot, started=started)


def _cut(shot: Shot, rng: np.random.Generator) -> Shot:
    """Move an edge of the picture through the face."""
    points = shot.ibug68
    low, high = points.min(axis=0), points.max(axis=0)
    part = rng.uniform(0.25, 0.5)
    axis, upper = int(rng.integers(2)), bool(rng.integers(2))
    corner, end = np.zeros(2, int), np.array(shot.image.shape[1::-1])
    if upper:
        end[axis] = round(float(high[axis] - part * (high - low)[axis]))
    else:
        corner[axis] = round(float(low[axis] + part * (high - low)[axis]))
    end = np.maximum(end, corner + 16)
    image = np.ascontiguousarray(shot.image[corner[1] : end[1], corner[0] : end[0]])
    intrinsics = shot.camera.intrinsics.copy()
    intrinsics[:2, 2] -= corner
    width, height = (int(side) for side in end - corner)
    camera = replace(shot.camera, intrinsics=intrinsics, width=width, height=height)
    return replace(shot, image=image, ibug68=points - corner, camera=camera)

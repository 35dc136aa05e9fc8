"""One portrait: a subject, how it looks, where the camera is, and the picture with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.rasterise import rasterise
from facekit.simulate.background import random_background
from facekit.simulate.look import Look
from facekit.simulate.occluders import draw_occluder
from facekit.simulate.paint import shade_scene
from facekit.simulate.scene import Scene, build_scene
from facekit.simulate.sensor import expose
from facekit.simulate.subject import NOW7_ROWS, Subject
from facekit.types import Camera, LandmarkMap

# A landmark this far behind the seen surface is hidden, mm: labels of a turned head's outline
# lie just behind it.
_HIDDEN_MM = 6.0


@dataclass(frozen=True)
class View:
    """Where the head is and what lens looks at it.

    Attributes:
        yaw, pitch, roll: radians, the project's convention.
        distance_mm: from the camera to the middle of the head.
        focal_px: focal length in pixels.
        width, height: of the picture.
        shift_px: (2,) where the middle of the face lies against the picture's centre.
    """

    yaw: float
    pitch: float
    roll: float
    distance_mm: float
    focal_px: float
    width: int
    height: int
    shift_px: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A rendered portrait and everything that is known about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        subject, look, view: what was rendered.
        camera: head frame to picture.
        landmarks_2d: (68, 2) pixels; visible: (68,) bool, neither hidden nor outside.
        box: (4,) x, y, width, height of the 68 points' bounding box.
        depth_mm: (H, W) float32 depth of the seen scene, 0 for the background.
        face_mask: (H, W) bool: the face itself is seen (no hair, glasses, neck or occluder).
    """

    image: np.ndarray
    subject: Subject
    look: Look
    view: View
    camera: Camera
    landmarks_2d: np.ndarray
    visible: np.ndarray
    box: np.ndarray
    depth_mm: np.ndarray
    face_mask: np.ndarray
    occluded: np.ndarray | None = None

    @property
    def pose_deg(self) -> tuple[float, float, float]:
        """(yaw, pitch, roll) in degrees."""
        yaw, pitch, roll = np.degrees([self.view.yaw, self.view.pitch, self.view.roll])
        return float(yaw), float(pitch), float(roll)

    def points(self, marks: LandmarkMap) -> tuple[np.ndarray, np.ndarray]:
        """Return any landmark set's points in the picture, (N, 2), and which are seen, (N,) bool.

        Args:
            marks: a map on the subject's rendered faces (a model's own maps for a model's head).
        """
        spots = project(self.camera, self.subject.points(self.subject.vertices, marks))
        return spots[:, :2], landmark_visibility(spots, self.depth_mm, self.occluded)

    @cached_property
    def neutral_now7(self) -> np.ndarray:
        """(7, 3) NoW's points on the neutral head, head frame, mm."""
        return self.subject.neutral_landmarks[list(NOW7_ROWS)]


def view_camera(view: View, centre: np.ndarray) -> Camera:
    """Return the camera of a view; ``centre`` (3,) of the head frame is what it looks at."""
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(view.yaw, view.pitch, view.roll)
    middle = np.array([(view.width - 1) / 2, (view.height - 1) / 2])
    intrinsics = np.array([[view.focal_px, 0, middle[0]], [0, view.focal_px, middle[1]], [0, 0, 1]])
    offset = np.array(view.shift_px) * view.distance_mm / view.focal_px
    translation = np.array([*offset, view.distance_mm]) - rotation @ centre
    return Camera(intrinsics, rotation, translation, view.width, view.height)


def face_centre(subject: Subject) -> np.ndarray:
    """Return the point (3,) of the head frame that cameras look at: inside, behind the nose."""
    scale, origin = subject.standard
    return np.asarray(origin, np.float64) + np.array([0.0, -25.0, -40.0]) / scale


def render_portrait(
    subject: Subject, look: Look, view: View, *, supersample: int = 2, scene: Scene | None = None
) -> Portrait:
    """Render a portrait with its truth.

    The picture is the same for the same arguments, whatever the number of threads.

    Args:
        subject: whose head.
        look: skin, eyes, hair, clothes, light, background and camera flaws.
        view: pose, lens and size.
        supersample: samples per pixel and side.
        scene: of ``build_scene(subject, look, view)``'s subject and look, to use again for other
            views; None builds it.
    """
    rng = np.random.default_rng(look.seed)
    camera = view_camera(view, face_centre(subject))
    world = build_scene(subject, look) if scene is None else scene
    factor = supersample
    fine = _enlarged(camera, factor)
    placed = world.placed(view, fine)
    width, height = view.width * factor, view.height * factor
    fragments = rasterise(placed.points, world.faces, width, height, cull=False, near=10.0)
    shaded = shade_scene(world, placed, fragments, view, camera.rotation, look)
    picture = random_background(rng, view.width, view.height) * look.backdrop
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    picture.reshape(-1, 3)[shaded.pixels] = shaded.colours
    picture = cv2.resize(picture, (view.width, view.height), interpolation=cv2.INTER_AREA)
    if factor == 1:
        depth = np.zeros((height, width), np.float32)
        depth.reshape(-1)[shaded.pixels] = shaded.depths
        seen = fragments
    else:
        # The truth is of the pixels' own centres.
        points = placed.points.copy()
        points[:, :2] = (points[:, :2] - (factor - 1) / 2) / factor
        seen = rasterise(points, world.faces, view.width, view.height, cull=False, near=10.0)
        depth = seen.depth(points, world.faces)
    face = world.face_mask[seen.triangle]
    occluded = np.zeros((view.height, view.width), bool)
    marks = project(camera, subject.points(subject.vertices))
    if look.occluder is not None:
        picture, occluded = draw_occluder(picture, marks[:, :2], look.occluder)
        face &= ~occluded
    image = expose(picture, look.sensor, rng)
    low, high = marks[:, :2].min(0), marks[:, :2].max(0)
    return Portrait(
        image=image,
        subject=subject,
        look=look,
        view=view,
        camera=camera,
        landmarks_2d=marks[:, :2].astype(np.float32),
        visible=landmark_visibility(marks, depth, occluded),
        box=np.concatenate([low, high - low]).astype(np.float32),
        depth_mm=depth,
        face_mask=face,
        occluded=occluded,
    )


def landmark_visibility(
    points: np.ndarray, depth: np.ndarray, occluded: np.ndarray | None
) -> np.ndarray:
    """Return which projected points (N, 3) are seen, by a depth map (H, W) of what is seen.

    A point is seen when it lies in the picture, is not occluded, and no surface within a pixel of
    it leaves it more than 6 mm behind (the farthest surface of the nine pixels counts).
    """
    height, width = depth.shape
    x, y = np.rint(points[:, 0]).astype(int), np.rint(points[:, 1]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    reach = cv2.dilate(np.where(depth > 0, depth, 0).astype(np.float32), np.ones((3, 3), np.uint8))
    seen = inside & (points[:, 2] < reach[y, x] + _HIDDEN_MM) & (reach[y, x] > 0)
    if occluded is not None:
        seen &= ~occluded[y, x]
    return seen


def _enlarged(camera: Camera, factor: int) -> Camera:
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] *= factor
    intrinsics[:2, 2] += (factor - 1) / 2
    return Camera(
        intrinsics,
        camera.rotation,
        camera.translation,
        camera.width * factor,
        camera.height * factor,
    )

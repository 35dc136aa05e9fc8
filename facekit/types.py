"""Data that crosses subpackages: frozen dataclasses, validated on construction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh in millimetres.

    Attributes:
        vertices: (V, 3) float.
        faces: (F, 3) int32, counter-clockwise from outside.
        uvs: (T, 2) float in [0, 1], origin at the texture's lower left, or None.
        face_uvs: (F, 3) int32 rows of ``uvs``; None with ``uvs`` given means one row a vertex.
        colours: (V, 3) float in [0, 1], sRGB, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray | None = None
    face_uvs: np.ndarray | None = None
    colours: np.ndarray | None = None

    def __post_init__(self) -> None:
        vertices = check_array(self.vertices, "vertices", shape=("V", 3), dtype="float")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", check_faces(self.faces, len(vertices)))
        if self.uvs is not None:
            object.__setattr__(self, "uvs", check_array(self.uvs, "uvs", shape=("T", 2)))
            if self.face_uvs is None:
                object.__setattr__(self, "face_uvs", self.faces)
            face_uvs = check_faces(self.face_uvs, len(self.uvs), "face_uvs")
            if face_uvs.shape != self.faces.shape:
                raise InputError(
                    f"face_uvs: expected shape {self.faces.shape} like faces, got {face_uvs.shape}"
                )
            object.__setattr__(self, "face_uvs", face_uvs)
        if self.colours is not None:
            check_array(self.colours, "colours", shape=(len(vertices), 3), dtype="float")


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera, OpenCV frame (+x right, +y down, +z forward).

    A point x of the world (or head) frame is ``rotation @ x + translation`` in the camera frame.
    Pixel (0, 0) is the CENTRE of the top-left pixel.

    Attributes:
        intrinsics: (3, 3) float64, pixels.
        rotation: (3, 3) float64, proper.
        translation: (3,) float64, millimetres.
        width, height: image size in pixels.
        distortion: (5,) OpenCV k1 k2 p1 p2 k3.
    """

    intrinsics: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    width: int
    height: int
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))

    def __post_init__(self) -> None:
        for name, shape in (
            ("intrinsics", (3, 3)),
            ("rotation", (3, 3)),
            ("translation", (3,)),
            ("distortion", (5,)),
        ):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, check_array(value, f"camera {name}", shape=shape))
        if np.linalg.det(self.rotation) < 0.5:
            raise InputError(
                "camera rotation: expected a proper rotation (det +1), got det "
                f"{np.linalg.det(self.rotation):.3f}; a mirrored frame needs a sign flip first"
            )


@dataclass(frozen=True, eq=False)
class Rig:
    """Calibrated cameras of one capture, all in one world frame, millimetres.

    Attributes:
        cameras: by name, in the order of the file.
        frame: what the world frame is, in words, e.g. "camera cam00" or "head".
        rms_px: reprojection error of each camera that has one, pixels.
        covariance: (14, 14) of each camera that has one, in the order of ``RIG_PARAMETERS``.
    """

    cameras: dict[str, Camera]
    frame: str = "world"
    rms_px: dict[str, float] = field(default_factory=dict)
    covariance: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, known in (("rms_px", self.rms_px), ("covariance", self.covariance)):
            for name in known:
                if name not in self.cameras:
                    raise InputError(f"rig {kind}: there is no camera {name!r}")
        for name, matrix in self.covariance.items():
            size = len(RIG_PARAMETERS)
            value = check_array(matrix, f"covariance of {name}", shape=(size, size))
            self.covariance[name] = value.astype(np.float64)

    def centres(self) -> np.ndarray:
        """Return the cameras' positions in the world, (N, 3) mm, in the order of ``cameras``."""
        return np.array([-c.rotation.T @ c.translation for c in self.cameras.values()])


# What a camera's covariance is of: pixels; none; radians (a rotation vector applied on the left of
# the camera's rotation) and the translation in mm.
RIG_PARAMETERS = (
    "fx",
    "fy",
    "cx",
    "cy",
    "k1",
    "k2",
    "p1",
    "p2",
    "rx",
    "ry",
    "rz",
    "tx",
    "ty",
    "tz",
)


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face found in an image; all points in pixels of the full image.

    Attributes:
        box: (4,) x, y, width, height.
        score: probability that this is a face, in [0, 1].
        five: (5, 2) right eye, left eye, nose tip, right and left mouth corner (the person's
            right first), or None.
        ibug68: (68, 2) or None.
        iris: (2, 2) iris centres, the person's right first, or None.
        dense478: (478, 2) MediaPipe's point set, or None.
        confidence: (68,) in [0, 1], or None.
        visible: (68,) bool, or None.
        yaw_deg, pitch_deg, roll_deg: head pose, NaN when unknown.
        jaw_on_outline: what the labeller's jaw points (iBUG 0 to 16) are: on the face's outline in
            the image, as annotators of single images draw them, or (False) fixed points of the
            surface, which may be hidden.
    """

    box: np.ndarray
    score: float
    five: np.ndarray | None = None
    ibug68: np.ndarray | None = None
    iris: np.ndarray | None = None
    dense478: np.ndarray | None = None
    confidence: np.ndarray | None = None
    visible: np.ndarray | None = None
    yaw_deg: float = float("nan")
    pitch_deg: float = float("nan")
    roll_deg: float = float("nan")
    jaw_on_outline: bool = True

    def __post_init__(self) -> None:
        for name, shape in (
            ("box", (4,)),
            ("five", (5, 2)),
            ("ibug68", (68, 2)),
            ("iris", (2, 2)),
            ("dense478", (478, 2)),
            ("confidence", (68,)),
            ("visible", (68,)),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_array(value, f"face {name}", shape=shape))

    def rescaled(self, scale: float) -> DetectedFace:
        """Return the face in the pixels of an image resized by ``scale``."""
        values: dict[str, Any] = {
            name: scale * (np.asarray(getattr(self, name)) + 0.5) - 0.5
            for name in ("five", "ibug68", "iris", "dense478")
            if getattr(self, name) is not None
        }
        corner = scale * (np.asarray(self.box[:2]) + 0.5) - 0.5
        box = np.concatenate([corner, scale * np.asarray(self.box[2:])])
        return replace(self, box=box, **values)


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """Where a named landmark set lies on a model's surface.

    Attributes:
        faces: (N,) int32 triangle of each point.
        barycentric: (N, 3) float32 weights, rows sum to 1.
        covariance_mm2: (N, 2, 2) float32 or None: spread of a labeller's points about the mapped
            ones, in mm^2 in the image plane of a frontal view (x to image right, y down).
    """

    faces: np.ndarray
    barycentric: np.ndarray
    covariance_mm2: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_array(self.faces, "landmark faces", shape=("N",), dtype="int")
        n = len(self.faces)
        weights = check_array(self.barycentric, "landmark barycentric", shape=(n, 3))
        if n and np.abs(weights.sum(1) - 1).max() > 1e-3:
            raise InputError("landmark barycentric: expected rows that sum to 1")
        if self.covariance_mm2 is not None:
            check_array(self.covariance_mm2, "landmark covariance_mm2", shape=(n, 2, 2))

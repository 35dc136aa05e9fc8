"""One face of one photograph to a head in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facekit.errors import ItemError
from facekit.fit.landmark import LandmarkFit, LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import LandmarkBasis, build_landmark_basis
from facekit.fit.light import estimate_light
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.morphable.model import MorphableModel
from facekit.types import Camera, DetectedFace

if TYPE_CHECKING:
    from facekit.fit.photometric import PhotometricFitter

# Points of the face that the photometric fit compares.
_SAMPLES = 800

# Without a known focal length the subject is taken to be at least this far away: closer, the
# face's own perspective would be strong, and crops of portraits would be taken for close-ups.
NEAREST_SUBJECT_MM = 700.0
# Focal length over the longer image side of an ordinary uncropped photograph (about 43 mm on
# a 36 mm wide film).
TYPICAL_FOCAL = 1.2
# Distance between the outer eye corners of an average adult, for the rule above.
_EYE_DISTANCE_MM = 90.0


class FaceFit(NamedTuple):
    """A fitted face.

    Attributes:
        face: the detection it was fitted to.
        fit: coefficients, pose and posterior.
        camera: head frame to image.
        vertices: (V, 3) float32 identity and expression, head frame, mm.
        neutral: (V, 3) float32 identity alone.
        light: (9, 3) spherical-harmonics light, linear RGB.
        vertex_std_mm: (V,) float32 posterior deviation along the normal, what the model cannot
            express included.
        scale_std: relative deviation of the overall size.
        quality: in [0, 1]; see ``FaceFitter``.
        landmark_error: rms distance of the model's to the labelled landmarks (jaw excluded)
            over the distance of the outer eye corners in 3D, projected.
    """

    face: DetectedFace
    fit: LandmarkFit
    camera: Camera
    vertices: np.ndarray
    neutral: np.ndarray
    light: np.ndarray
    vertex_std_mm: np.ndarray
    scale_std: float
    quality: float
    landmark_error: float


@dataclass
class FaceFitter:
    """Fits one morphable model to faces; holds what is computed once.

    The quality score is the detection score times ``exp(-(e / 0.06)^2 / 2)`` with e the landmark
    error in outer-eye distances: it is near 1 where the model explains the landmarks and falls
    when they are inconsistent with a face.

    Attributes:
        model: the morphable model.
        config: settings of the landmark fit.
        focal_px: known focal length in pixels of the full image, or None for a rule.
        photometric: also fit the pixels, starting from the landmarks; see ``fit.photometric``.
    """

    model: MorphableModel
    config: LandmarkFitConfig
    focal_px: float | None = None
    photometric: bool = False

    @cached_property
    def basis(self) -> LandmarkBasis:
        """The model's landmark rows."""
        return build_landmark_basis(self.model)

    @cached_property
    def pixels(self) -> PhotometricFitter:
        """What fits the pixels."""
        # Imported here: its kernels would lengthen every start.
        from facekit.fit.patch import build_patch
        from facekit.fit.photometric import PhotometricFitter

        patch = build_patch(self.model, count=_SAMPLES)
        return PhotometricFitter(self.model, self.basis, patch, self.config)

    def fit(
        self, image: np.ndarray, face: DetectedFace, *, focal_px: float | None = None
    ) -> FaceFit:
        """Fit one detected face.

        Args:
            image: (H, W, 3) uint8 RGB, the image the detection's pixels refer to.
            face: a detection with ``ibug68``.
            focal_px: focal length of this photograph, when known (EXIF).

        Raises:
            ItemError: the detection has no 68 landmarks, they fit no head, or too little skin is
                seen for the pixels.
        """
        if face.ibug68 is None:
            raise ItemError("the face has a box but no 68 landmarks; use another --landmarks")
        height, width = image.shape[:2]
        focal = self.focal_px or focal_px or assumed_focal(face.ibug68, width, height)
        intrinsics = np.array(
            [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]]
        )
        fit = fit_landmarks(
            self.basis,
            self.model,
            face.ibug68,
            intrinsics=intrinsics,
            confidence=face.confidence,
            config=self.config,
        )
        intrinsics[[0, 1], [0, 1]] = fit.focal
        if self.photometric:
            fit = self.pixels.fit(image, face, fit, intrinsics).fit
        camera = Camera(intrinsics, fit.rotation, fit.translation, width, height)
        vertices = self.model.shape(fit.identity, fit.expression)
        error = self._landmark_error(fit)
        light = estimate_light(image, vertices, self.model, camera)
        return FaceFit(
            face,
            fit,
            camera,
            vertices,
            self.model.shape(fit.identity),
            light,
            self._vertex_std(fit, vertices),
            self._scale_std(fit),
            float(np.clip(face.score, 0, 1) * np.exp(-0.5 * (error / 0.06) ** 2)),
            error,
        )

    def _landmark_error(self, fit: LandmarkFit) -> float:
        rows = self.basis.points(np.concatenate([fit.identity, fit.expression]))
        eye_mm = np.linalg.norm(rows[36] - rows[45])
        eye_px = eye_mm * fit.focal / fit.translation[2]
        return float(np.sqrt((fit.residuals_px[17:] ** 2).sum(1).mean()) / eye_px)

    def _identity_factor(self, fit: LandmarkFit) -> np.ndarray:
        K = self.basis.num_identity
        return np.linalg.cholesky(fit.covariance[:K, :K])

    def _vertex_std(self, fit: LandmarkFit, vertices: np.ndarray) -> np.ndarray:
        normals = vertex_normals(vertices, self.model.faces).astype(np.float32)
        along = np.einsum("kvd,vd->vk", self.model.identity_modes, normals, optimize=True)
        spread = along @ self._identity_factor(fit).astype(np.float32)
        variance = (spread**2).sum(1) + np.float32(self.config.discrepancy_mm**2)
        return np.sqrt(variance)

    def _scale_std(self, fit: LandmarkFit) -> float:
        # The size of a head seen once is what the outer eye corners' distance says under the
        # posterior: the pose takes up every other change of size.
        K = self.basis.num_identity
        rows = self.basis.mean[[36, 45]] + self.basis.modes[[36, 45], :, :K] @ fit.identity
        axis = rows[1] - rows[0]
        distance = np.linalg.norm(axis)
        change = (self.basis.modes[45, :, :K] - self.basis.modes[36, :, :K]).T @ (axis / distance)
        return float(np.linalg.norm(change @ self._identity_factor(fit)) / distance)

    def params(self, result: FaceFit) -> dict[str, Any]:
        """Return the arrays of ``params.npz`` (see ``facekit.io.params``) for a fit."""
        marks = self.basis.points(np.concatenate([result.fit.identity, result.fit.expression]))
        outline = result.fit.rows
        neutral = result.neutral
        now7 = "now7" if "now7" in self.model.landmarks else None
        seven = (
            self.model.landmark_points(now7, neutral)
            if now7
            else self.model.landmark_points("ibug68", neutral)[[36, 39, 42, 45, 33, 48, 54]]
        )
        size = np.array([result.camera.width, result.camera.height], np.int32)
        return {
            "identity": result.fit.identity,
            "expression": result.fit.expression,
            "albedo": np.zeros(self.model.num_albedo, np.float32),
            "rotation": result.fit.rotation,
            "translation_mm": result.fit.translation,
            "intrinsics": result.camera.intrinsics,
            "distortion": result.camera.distortion,
            "light": result.light,
            "image_size": size,
            "landmarks_2d": result.face.ibug68,
            "landmarks_3d_mm": marks[outline],
            "now7": seven,
            "scale_std": np.float32(result.scale_std),
            "quality": np.float32(result.quality),
            "vertex_std_mm": result.vertex_std_mm,
            "covariance_factor": self._identity_factor(result.fit),
        }

    def facts(self, result: FaceFit) -> dict[str, Any]:
        """Return what a summary says of a fit, rounded for reading."""
        yaw, pitch, roll = camera_rotation_to_euler_deg(result.fit.rotation)
        x, y, w, h = (round(float(v), 1) for v in result.face.box)
        return {
            "quality": round(result.quality, 3),
            "score": round(float(result.face.score), 3),
            "landmark_error_percent": round(100 * result.landmark_error, 2),
            "yaw_deg": round(yaw, 1),
            "pitch_deg": round(pitch, 1),
            "roll_deg": round(roll, 1),
            "distance_mm": round(float(np.linalg.norm(result.fit.translation))),
            "focal_px": round(result.fit.focal, 1),
            "scale_std_percent": round(100 * result.scale_std, 1),
            "box_x": x,
            "box_y": y,
            "box_width": w,
            "box_height": h,
        }


def assumed_focal(ibug68: np.ndarray, width: int, height: int) -> float:
    """Return a focal length in pixels for a photograph that says none.

    An ordinary lens for the image's size, or longer when that would put the face nearer than
    0.7 m: photographs that show little but a face are nearly always crops or made with a longer
    lens. The eye distance is measured with the face's height, so that a turned head counts whole.
    """
    points = np.asarray(ibug68, np.float64)
    eyes = np.linalg.norm(points[45] - points[36])
    # Bridge to chin is about 1.2 outer-eye distances; it does not shrink as the head turns.
    upright = np.linalg.norm(points[8] - points[27]) / 1.2
    px_per_mm = max(eyes, upright) / _EYE_DISTANCE_MM
    return max(TYPICAL_FOCAL * max(width, height), NEAREST_SUBJECT_MM * float(px_per_mm))

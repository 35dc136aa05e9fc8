"""One face of one photograph to a head in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.parameters import ParameterReader
from facekit.errors import ItemError
from facekit.fit.landmark import LandmarkFit, LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import LandmarkBasis, build_landmark_basis
from facekit.fit.light import estimate_light
from facekit.fit.network_prior import hold, let_go, network_prior
from facekit.fit.posterior import SurfacePosterior
from facekit.fit.prior import FacePrior
from facekit.fit.quality import fit_quality
from facekit.fit.scale import (
    Distance,
    FocalPrior,
    ScaleCue,
    apply_cue,
    disagreement,
    face_distance,
    film_focal_mm,
    focal_prior,
    iris_cue,
    scale_source,
    size_std,
    with_focal_variance,
)
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.morphable.model import MorphableModel
from facekit.types import Camera, DetectedFace

if TYPE_CHECKING:
    from facekit.fit.first_order.fitter import FirstOrderFitter
    from facekit.fit.photometric import PhotometricFitter

# Points of the face that the photometric fit compares.
_SAMPLES = 800
# Deviations from the expected beyond which a measured iris, or a told distance, cannot be right.
_IRIS_LIMIT, _DISTANCE_LIMIT = 3.0, 5.0
# Below this the parameter network sees no face in its crop, so that it knows nothing of it.
_LEAST_PRESENCE = 0.5


class Setting(NamedTuple):
    """What is known of how a photograph was made.

    Attributes:
        focal_px: focal length in pixels of the image that is fitted, or None.
        exif_px: what the file says of it, or None.
        distance_mm: camera to the bridge between the eyes, or None.
        distance_std: relative deviation of that distance.
    """

    focal_px: float | None = None
    exif_px: float | None = None
    distance_mm: float | None = None
    distance_std: float = 0.02


class FaceFit(NamedTuple):
    """A fitted face.

    Attributes:
        face: the detection it was fitted to.
        fit: coefficients, pose and posterior.
        camera: head frame to image.
        vertices: (V, 3) float32 identity and expression, head frame, mm.
        neutral: (V, 3) float32 identity alone.
        light: (9, 3) spherical-harmonics light, linear RGB.
        vertex_std_mm: (V,) float32 deviation of the neutral head along its normals, what the
            model cannot express included; see ``fit.posterior``.
        scale_source: ``prior``, ``focal``, ``iris`` or ``stage``; see ``fit.scale``.
        scale_std: relative deviation of the overall size.
        focal: what was known of the focal length.
        distance: of the bridge between the eyes from the camera, with its interval.
        quality: in [0, 1]; see ``fit.quality``.
        landmark_error: rms distance of the model's to the labelled landmarks (jaw excluded)
            over the distance of the outer eye corners in 3D, projected.
        albedo: (A,) standard deviations, or None where skin colour was not fitted.
    """

    face: DetectedFace
    fit: LandmarkFit
    camera: Camera
    vertices: np.ndarray
    neutral: np.ndarray
    light: np.ndarray
    vertex_std_mm: np.ndarray
    scale_source: str
    scale_std: float
    focal: FocalPrior
    distance: Distance
    quality: float
    landmark_error: float
    albedo: np.ndarray | None = None


def centred_intrinsics(focal_px: float, width: int, height: int) -> np.ndarray:
    """Return a pinhole camera (3, 3) whose principal point is the picture's middle."""
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1.0]])


@dataclass
class FaceFitter:
    """Fits one morphable model to faces; holds what is computed once.

    Attributes:
        model: the morphable model.
        config: settings of the landmark fit; the focal length's freedom comes from the photograph.
        focal_px: known focal length in pixels of every photograph, or None.
        photometric: also fit the pixels, starting from the landmarks; see ``fit.photometric``.
        first_order: a published schedule of ``first_order.config.SCHEDULES`` instead, or empty.
        renderer: that it draws through; one of ``first_order.config.RENDERERS``.
        network: says what a face looks like before landmarks and pixels are fitted, or None.
    """

    model: MorphableModel
    config: LandmarkFitConfig
    focal_px: float | None = None
    photometric: bool = False
    first_order: str = ""
    renderer: str = "builtin"
    network: ParameterReader | None = None

    @cached_property
    def basis(self) -> LandmarkBasis:
        """The model's landmark rows."""
        return build_landmark_basis(self.model)

    @cached_property
    def surface(self) -> SurfacePosterior:
        """What turns a fit's posterior into deviations of the surface."""
        return SurfacePosterior(self.model)

    @cached_property
    def pixels(self) -> PhotometricFitter:
        """What fits the pixels."""
        # Imported here: its kernels would lengthen every start.
        from facekit.fit.patch import build_patch
        from facekit.fit.photometric import PhotometricFitter

        patch = build_patch(self.model, count=_SAMPLES)
        return PhotometricFitter(self.model, self.basis, patch, self.config)

    @cached_property
    def adam(self) -> FirstOrderFitter:
        """What runs the published schedule; imports torch."""
        from facekit.fit.first_order.fitter import open_first_order

        return open_first_order(
            self.model, self.basis, self.first_order, self.renderer, self.config
        )

    def fit(
        self,
        image: np.ndarray,
        face: DetectedFace,
        *,
        setting: Setting | None = None,
        mask: np.ndarray | None = None,
    ) -> FaceFit:
        """Fit one detected face.

        Args:
            image: (H, W, 3) uint8 RGB, the image the detection's pixels refer to.
            face: a detection with ``ibug68``.
            setting: what is known of the camera, in this image's pixels.
            mask: (H, W) weights in [0, 1] of the image's pixels, where pixels are fitted.

        Raises:
            ItemError: the detection has no 68 landmarks, they fit no head, or too little skin is
                seen for the pixels, or the known distance is that of no head of this size.
            InputError: a focal length or distance that is not positive.
        """
        if face.ibug68 is None:
            raise ItemError("the face has a box but no 68 landmarks; use another --landmarks")
        known = setting or Setting()
        focal = self.focal(image, face, known)
        intrinsics = centred_intrinsics(focal.focal_px, image.shape[1], image.shape[0])
        albedo: np.ndarray | None = None
        cues: list[ScaleCue] = []
        if self.first_order:
            # The published fits know no focal length but the given one, and no measured lengths.
            found = self.adam.fit(image, face, intrinsics, mask=mask)
            fit, albedo = found.fit, found.albedo
        else:
            belief, K = self.belief(image, face), self.basis.num_identity
            prior = None if belief is None else hold(belief, K)
            fit = fit_landmarks(
                self.basis,
                self.model,
                face.ibug68,
                intrinsics=intrinsics,
                confidence=face.confidence,
                config=replace(self.config, log_focal_std=focal.log_std),
                prior=prior,
                outline=face.jaw_on_outline,
            )
            intrinsics[[0, 1], [0, 1]] = fit.focal
            if self.photometric:
                pixels = self.pixels.fit(image, face, fit, intrinsics, prior=prior, mask=mask).fit
                fit = with_focal_variance(pixels, fit, self.basis.modes.shape[2] + 6)
            if belief is not None:
                fit = let_go(fit, belief, K)
            fit, cues = self._measured(fit, face, known, intrinsics)
        return self.complete(image, face, fit, focal, cues=cues, albedo=albedo)

    def focal(self, image: np.ndarray, face: DetectedFace, setting: Setting) -> FocalPrior:
        """Return what is known of a photograph's focal length, a face in it seen.

        Raises:
            ItemError: the detection has no 68 landmarks.
            InputError: a focal length or distance that is not positive.
        """
        if face.ibug68 is None:
            raise ItemError("the face has a box but no 68 landmarks; use another --landmarks")
        return focal_prior(
            face.ibug68,
            image.shape[1],
            image.shape[0],
            given_px=setting.focal_px or self.focal_px,
            exif_px=setting.exif_px,
            distance_mm=setting.distance_mm,
        )

    def complete(
        self,
        image: np.ndarray,
        face: DetectedFace,
        fit: LandmarkFit,
        focal: FocalPrior,
        *,
        cues: Sequence[ScaleCue] = (),
        albedo: np.ndarray | None = None,
    ) -> FaceFit:
        """Return everything a result says of a fit: surfaces, light, uncertainty, quality.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: the detection.
            fit: to its landmarks, and pixels where they were looked at.
            focal: what was known of the focal length.
            cues: measured lengths that counted.
            albedo: (A,) coefficients, where they were fitted.
        """
        height, width = image.shape[:2]
        intrinsics = centred_intrinsics(fit.focal, width, height)
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
            self.surface.neutral_std(fit),
            scale_source(focal, list(cues)),
            size_std(fit, self.basis),
            focal,
            face_distance(fit, self.basis, focal),
            fit_quality(face, error, fit.weights),
            error,
            albedo,
        )

    def belief(self, image: np.ndarray, face: DetectedFace) -> FacePrior | None:
        """What the network sees; None where it sees no face, and the model's own prior holds."""
        if self.network is None or face.ibug68 is None:
            return None
        reading = self.network.read(image, ibug68_to_five(face.ibug68))
        if reading.presence < _LEAST_PRESENCE:
            return None
        return network_prior(self.model, reading, spread=self.network.identity_spread)

    def _measured(
        self, fit: LandmarkFit, face: DetectedFace, known: Setting, intrinsics: np.ndarray
    ) -> tuple[LandmarkFit, list[ScaleCue]]:
        """The fit after the lengths that were measured, and those that counted."""
        used = []
        iris = iris_cue(face)
        # A ring of another size than any eye's is a mistake of the labeller's.
        if iris is not None and disagreement(fit, self.basis, iris) < _IRIS_LIMIT:
            fit = apply_cue(fit, self.basis, intrinsics, iris)
            used.append(iris)
        if known.distance_mm is not None:
            told = ScaleCue("distance", known.distance_mm, known.distance_std)
            if disagreement(fit, self.basis, told) > _DISTANCE_LIMIT:
                expected = face_distance(fit, self.basis)
                raise ItemError(
                    f"no head is this large at {known.distance_mm:.0f} mm; expected "
                    f"{expected.low:.0f} to {expected.high:.0f} mm under a focal length of "
                    f"{fit.focal:.0f} px: check the distance and the focal length"
                )
            fit = apply_cue(fit, self.basis, intrinsics, told)
            used.append(told)
        return fit, used

    def _landmark_error(self, fit: LandmarkFit) -> float:
        rows = self.basis.points(np.concatenate([fit.identity, fit.expression]))
        eye_mm = np.linalg.norm(rows[36] - rows[45])
        eye_px = eye_mm * fit.focal / fit.translation[2]
        return float(np.sqrt((fit.residuals_px[17:] ** 2).sum(1).mean()) / eye_px)

    def _identity_factor(self, fit: LandmarkFit) -> np.ndarray:
        K = self.basis.num_identity
        return np.linalg.cholesky(fit.covariance[:K, :K])

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
            "albedo": (
                np.zeros(self.model.num_albedo, np.float32)
                if result.albedo is None
                else result.albedo
            ),
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
            "face_std_mm": self.surface.face_std(result.fit),
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
            "distance_mm": round(result.distance.mm),
            "distance_low_mm": round(result.distance.low),
            "distance_high_mm": round(result.distance.high),
            "focal_px": round(result.fit.focal, 1),
            "focal_35mm": round(
                film_focal_mm(result.fit.focal, result.camera.width, result.camera.height), 1
            ),
            "focal_source": result.focal.source,
            "scale_source": result.scale_source,
            "scale_std_percent": round(100 * result.scale_std, 1),
            "box_x": x,
            "box_y": y,
            "box_width": w,
            "box_height": h,
        }

"""Where a photograph's millimetres come from: focal length, distance, and the size of the head.

One photograph of a head of unknown size shows shape and perspective, no size. The size comes from
the model's prior of heads, or is measured: by the irises, which hardly differ between people, or
by a known distance under a known focal length. The distance follows from the size and the focal
length; where that is unknown, the face's perspective tells it nearby, and further away a wide
prior stands, which the stated interval says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_problem import LandmarkFit
from facekit.geometry.rotations import rotvec_to_matrix, skew
from facekit.types import DetectedFace

# Diagonal of the 36 x 24 mm frame over which equivalent focal lengths are stated.
FILM_DIAGONAL_MM = float(np.hypot(36, 24))
# Horizontal visible iris diameter of adults: mean and deviation between people.
IRIS_MM, IRIS_STD_MM = 11.7, 0.5

# An ordinary lens in 35 mm equivalents, and the distance at which a face that fills much of its
# picture is photographed: such pictures are selfies from 0.3 m or crops from several metres.
_TYPICAL_35MM = 43.0
_TYPICAL_MM = 1000.0
# Deviation of the logarithm of the focal length when nothing is known; when EXIF says it (it is
# rounded to millimetres, and changes with focus); when only the distance is known.
_UNKNOWN_STD, _EXIF_STD, _DISTANCE_STD = 1.0, 0.05, 0.15
# Distance between the outer eye corners of an average adult.
_EYE_DISTANCE_MM = 90.0
# A labelled ring scatters by this share of its diameter and by this many pixels; smaller
# irises than the least are blots.
_RING_SHARE, _RING_PX, _LEAST_IRIS_PX = 0.04, 0.5, 10.0
# Row of the basis whose distance from the camera is stated: the bridge between the eyes.
BRIDGE_ROW = 27
# Half width of a 90 % interval in deviations.
_NINETY = 1.645


class FocalPrior(NamedTuple):
    """What is known of a focal length.

    Attributes:
        focal_px: pixels of the image that is fitted.
        log_std: deviation of its logarithm; 0 keeps it fixed.
        source: ``given``, ``exif``, ``distance`` or ``estimated``.
    """

    focal_px: float
    log_std: float
    source: str

    @property
    def known(self) -> bool:
        """Whether the photograph did not have to tell it."""
        return self.source in ("given", "exif")


class ScaleCue(NamedTuple):
    """A measured length.

    Attributes:
        kind: ``iris`` (its diameter in pixels) or ``distance`` (camera to bridge, mm).
        value: what was measured.
        log_std: deviation of its logarithm, what people differ by included.
    """

    kind: str
    value: float
    log_std: float


class Distance(NamedTuple):
    """How far the bridge between the eyes is from the camera, mm, with a 90 % interval."""

    mm: float
    low: float
    high: float


def film_focal_px(focal_35mm: float, width: int, height: int) -> float:
    """Return a 35 mm equivalent focal length in pixels, over the image's diagonal."""
    return focal_35mm / FILM_DIAGONAL_MM * float(np.hypot(width, height))


def film_focal_mm(focal_px: float, width: int, height: int) -> float:
    """Return a focal length in pixels as its 35 mm equivalent."""
    return focal_px * FILM_DIAGONAL_MM / float(np.hypot(width, height))


def focal_prior(
    ibug68: np.ndarray,
    width: int,
    height: int,
    *,
    given_px: float | None = None,
    exif_px: float | None = None,
    distance_mm: float | None = None,
) -> FocalPrior:
    """Return what is known of a photograph's focal length.

    With nothing given, a log-normal prior about an ordinary lens (43 mm in 35 mm equivalents), or
    about the longer one that puts the face at 1 m: photographs that show little but a face are
    selfies, portraits with longer lenses, or crops. Its deviation of 1 spans a factor of 5 to
    either side at 90 %.

    Args:
        ibug68: (68, 2) landmarks.
        width, height: of the image, pixels.
        given_px: what the user says, in pixels of this image; fixed.
        exif_px: what the file says, 5 %.
        distance_mm: camera to face, when only that is known.

    Raises:
        InputError: a focal length or distance that is not positive.
    """
    for name, value in (("focal length", given_px), ("focal length", exif_px)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: expected a positive number of pixels, got {value}")
    if given_px is not None:
        return FocalPrior(given_px, 0.0, "given")
    if exif_px is not None:
        return FocalPrior(exif_px, _EXIF_STD, "exif")
    px_per_mm = face_px_per_mm(ibug68)
    if distance_mm is not None:
        if not (np.isfinite(distance_mm) and distance_mm > 0):
            raise InputError(f"distance: expected positive millimetres, got {distance_mm}")
        return FocalPrior(px_per_mm * distance_mm, _DISTANCE_STD, "distance")
    typical = film_focal_px(_TYPICAL_35MM, width, height)
    return FocalPrior(max(typical, _TYPICAL_MM * px_per_mm), _UNKNOWN_STD, "estimated")


def face_px_per_mm(ibug68: np.ndarray) -> float:
    """Return the pixels per millimetre of an average adult's face.

    The eye distance is measured with the face's height, so that a turned head counts whole.
    """
    points = check_array(ibug68, "ibug68", shape=(68, 2)).astype(np.float64)
    eyes = np.linalg.norm(points[45] - points[36])
    # Bridge to chin is about 1.2 outer-eye distances; it does not shrink as the head turns.
    upright = np.linalg.norm(points[8] - points[27]) / 1.2
    return float(max(eyes, upright)) / _EYE_DISTANCE_MM


def iris_cue(face: DetectedFace) -> ScaleCue | None:
    """Return the irises' mean diameter, or None when no ring of points says it.

    Of each of MediaPipe's rings the larger axis counts, since a turned head and lids only shorten;
    of the two irises their mean.
    Source: J. Wang et al., How large is a human iris? (HVID 11.7 +- 0.5 mm), as used by
    A. Ablavatski et al., Real-time pupil tracking from monocular video, 2020.
    """
    if face.dense478 is None:
        return None
    dense = np.asarray(face.dense478, np.float64)
    axes = [(469, 471), (470, 472), (474, 476), (475, 477)]
    lengths = np.array([np.linalg.norm(dense[a] - dense[b]) for a, b in axes])
    diameter = float(lengths.reshape(2, 2).max(axis=1).mean())
    if diameter < _LEAST_IRIS_PX:
        return None
    spread = np.hypot(IRIS_STD_MM / IRIS_MM, np.hypot(_RING_SHARE, _RING_PX / diameter))
    return ScaleCue("iris", diameter, float(spread))


def apply_cue(
    fit: LandmarkFit, basis: LandmarkBasis, intrinsics: np.ndarray, cue: ScaleCue
) -> LandmarkFit:
    """Return a fit and its posterior after a measured length (a Kalman update).

    Every length that the measurement says something of follows: size, distance, and where it is
    free the focal length; the face's place in the image stays. Expression weights are not moved.

    Args:
        fit: with its Laplace posterior.
        basis: the model's landmark rows.
        intrinsics: (3, 3), of the principal point.
        cue: the measurement.

    Raises:
        InputError: an unknown kind, or a value or deviation that is not positive.
    """
    if cue.kind not in ("iris", "distance") or not (cue.value > 0 and cue.log_std > 0):
        raise InputError(
            "scale cue: expected an 'iris' or 'distance' with a positive value and deviation, "
            f"got {cue}"
        )
    predicted, gradient = _predict(fit, basis, cue.kind)
    # Expression weights have bounds, and none of them says how large a head is: they are held.
    K, C = basis.num_identity, basis.modes.shape[2]
    through = _given(fit.covariance, slice(K, C)) @ gradient
    gain = through / (gradient @ through + cue.log_std**2)
    step = gain * (np.log(cue.value) - predicted)
    zoom = float(step[C + 6]) if len(step) > C + 6 else 0.0
    change = np.eye(len(gain)) - np.outer(gain, gradient)
    # Joseph's form holds for any gain.
    covariance = change @ fit.covariance @ change.T + cue.log_std**2 * np.outer(gain, gain)
    moved = replace(
        fit.with_covariance(0.5 * (covariance + covariance.T)),
        identity=fit.identity + step[:K],
        rotation=rotvec_to_matrix(step[C : C + 3]) @ fit.rotation,
        translation=(fit.translation + step[C + 3 : C + 6]) * np.exp(zoom),
        focal=fit.focal * float(np.exp(zoom)),
    )
    before = _projected(fit, basis, intrinsics)
    # A long step is no straight one: the face stays where it lies in the picture.
    aside = (_projected(moved, basis, intrinsics) - before)[17:].mean(axis=0)
    aside = np.append(aside * moved.translation[2] / moved.focal, 0.0)
    moved = replace(moved, translation=moved.translation - aside)
    shift = _projected(moved, basis, intrinsics) - before
    return replace(moved, residuals_px=fit.residuals_px + shift)


def disagreement(fit: LandmarkFit, basis: LandmarkBasis, cue: ScaleCue) -> float:
    """Return how many deviations a measured length lies from what the fit expects."""
    predicted, gradient = _predict(fit, basis, cue.kind)
    variance = gradient @ fit.covariance @ gradient + cue.log_std**2
    return float(abs(np.log(cue.value) - predicted) / np.sqrt(variance))


def face_distance(
    fit: LandmarkFit, basis: LandmarkBasis, prior: FocalPrior | None = None
) -> Distance:
    """Return the distance from the camera to the bridge between the eyes, with its interval.

    Perspective is all but linear in the inverse distance, so that is where the landmarks'
    likelihood is normal; the prior is in the logarithm. Their product is integrated on a grid:
    a normal in the logarithm would end far too early on the far side.

    Args:
        fit: with its Laplace posterior.
        basis: the model's landmark rows.
        prior: of the focal length, where that was free.
    """
    log_distance, gradient = _predict(fit, basis, "distance")
    mm = float(np.exp(log_distance))
    variance = float(gradient @ fit.covariance @ gradient)
    free = len(gradient) > basis.modes.shape[2] + 6
    if not free or prior is None or prior.log_std <= 0:
        half = _NINETY * float(np.sqrt(max(variance, 0.0)))
        return Distance(mm, mm * float(np.exp(-half)), mm * float(np.exp(half)))
    # What the focal length does not explain (the head's size) spreads the result further.
    through = fit.covariance @ gradient
    focal_variance = float(fit.covariance[-1, -1])
    slope = float(through[-1]) / focal_variance
    rest = max(variance - slope**2 * focal_variance, 0.0)
    offset = float(np.log(fit.focal / prior.focal_px))
    precision = max(1 / focal_variance - prior.log_std**-2.0, 1e-9)
    zoom = np.linspace(-3, 4, 1401)
    # Inverse distance over the fit's own, 1 there; the posterior's mode fixes the likelihood's.
    inverse = np.exp(-zoom)
    expected = 1 - offset / prior.log_std**2 / precision
    log_density = -0.5 * precision * (inverse - expected) ** 2
    log_density -= 0.5 * ((offset + zoom) / prior.log_std) ** 2
    density = np.exp(log_density - log_density.max())
    share = np.cumsum(density) / density.sum()
    ends = slope * np.interp([0.05, 0.95], share, zoom)
    middle = slope * float(np.interp(0.5, share, zoom))
    spread = np.hypot(ends - middle, _NINETY * np.sqrt(rest))
    return Distance(
        mm,
        min(mm, mm * float(np.exp(middle - spread[0]))),
        max(mm, mm * float(np.exp(middle + spread[1]))),
    )


def size_std(fit: LandmarkFit, basis: LandmarkBasis) -> float:
    """Return the relative deviation of a head's size: that of its outer eye corners' distance.

    The pose takes up every other change of size.
    """
    K = basis.num_identity
    ends = basis.mean[[36, 45]] + basis.modes[[36, 45], :, :K] @ fit.identity
    axis = ends[1] - ends[0]
    distance = np.linalg.norm(axis)
    change = (basis.modes[45, :, :K] - basis.modes[36, :, :K]).T @ (axis / distance)
    return float(np.sqrt(max(change @ fit.covariance[:K, :K] @ change, 0.0)) / distance)


def scale_source(focal: FocalPrior, cues: list[ScaleCue]) -> str:
    """Return where the millimetres come from.

    ``stage``: a known distance under a known focal length; ``iris``: the irises' size; ``focal``:
    the prior of head sizes under a known focal length, so that distances hold as well as sizes;
    ``prior``: the same prior, and perspective under a prior of focal lengths.
    """
    kinds = {cue.kind for cue in cues}
    if "distance" in kinds and focal.known:
        return "stage"
    if "iris" in kinds:
        return "iris"
    return "focal" if focal.known else "prior"


def with_focal_variance(fit: LandmarkFit, other: LandmarkFit, size: int) -> LandmarkFit:
    """Give a fit under a fixed focal length the uncertainty of it that an earlier fit found.

    Args:
        fit: posterior over ``size`` variables.
        other: posterior with the log focal length as its last variable, or without.
        size: number of variables without the focal length.
    """
    if len(other.covariance) == size:
        return fit
    variance = float(other.covariance[size, size])
    # What moves with the focal length so that the landmarks stay: above all the distance.
    along = other.covariance[:size, size] / variance
    covariance = np.empty((size + 1, size + 1))
    covariance[:size, :size] = fit.covariance + variance * np.outer(along, along)
    covariance[:size, size] = covariance[size, :size] = variance * along
    covariance[size, size] = variance
    return fit.with_covariance(covariance)


def _given(covariance: np.ndarray, known: slice) -> np.ndarray:
    """Return a covariance given that some variables are known, 0 in their rows and columns."""
    across = covariance[:, known]
    left = covariance - across @ np.linalg.solve(covariance[known, known], across.T)
    left[known] = 0
    left[:, known] = 0
    return left


def _predict(fit: LandmarkFit, basis: LandmarkBasis, kind: str) -> tuple[float, np.ndarray]:
    """Logarithm of a predicted measurement, and its gradient for the posterior's variables."""
    C = basis.modes.shape[2]
    rows = [BRIDGE_ROW] if kind == "distance" else list(range(36, 48))
    coefficients = np.concatenate([fit.identity, fit.expression])
    modes = basis.modes[rows].mean(axis=0)
    turned = fit.rotation @ (basis.mean[rows].mean(axis=0) + modes @ coefficients)
    point = turned + fit.translation
    if kind == "distance":
        length = float(np.linalg.norm(point))
        direction, sign, zooms = point / length, 1.0, 0.0
    else:
        length = float(point[2])
        direction, sign, zooms = np.array([0.0, 0.0, 1.0]), -1.0, 1.0
    slope = sign * direction / length
    gradient = np.zeros(len(fit.covariance))
    gradient[:C] = slope @ fit.rotation @ modes
    gradient[C : C + 3] = -slope @ skew(turned)
    gradient[C + 3 : C + 6] = slope
    if len(gradient) > C + 6:
        gradient[C + 6] = slope @ fit.translation + zooms
    if kind == "distance":
        return float(np.log(length)), gradient
    return float(np.log(IRIS_MM * fit.focal / length)), gradient


def _projected(fit: LandmarkFit, basis: LandmarkBasis, intrinsics: np.ndarray) -> np.ndarray:
    points = basis.points(np.concatenate([fit.identity, fit.expression]))[fit.rows]
    camera = points @ fit.rotation.T + fit.translation
    return fit.focal * camera[:, :2] / camera[:, 2:] + intrinsics[:2, 2]

"""Landmark errors: normalised mean error, failure rate, area under the curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError


class LandmarkScore(NamedTuple):
    """Errors of N images, as fractions of each image's normaliser.

    Attributes:
        per_image: (N,) mean over the points; NaN where the image was missed.
        per_point: (P,) mean over the images found; NaN if none was.
        mean: mean of ``per_image`` over the images found; NaN if none was.
        failure_rate: fraction of ALL images above ``threshold``; a miss is a failure.
        auc: area under the cumulative curve of all images up to ``threshold``, 1 is perfect; a
            miss counts as an infinite error.
        misses: images without a prediction.
        threshold: the limit that ``failure_rate`` and ``auc`` use.
    """

    per_image: np.ndarray
    per_point: np.ndarray
    mean: float
    failure_rate: float
    auc: float
    misses: int
    threshold: float


def landmark_score(
    predicted: np.ndarray,
    truth: np.ndarray,
    normaliser: np.ndarray,
    *,
    threshold: float = 0.10,
) -> LandmarkScore:
    """Score predicted points against the truth.

    An image's error is the mean over its points of |p - q| / normaliser.

    Args:
        predicted: (N, P, D) pixels; an image without a prediction is NaN throughout.
        truth: (N, P, D) pixels.
        normaliser: (N,) pixels, e.g. the distance of the outer eye corners.
        threshold: the failure limit, a fraction of the normaliser.

    Raises:
        InputError: bad shapes, a normaliser that is not positive, or an image that is NaN in
            part.
    """
    points = check_array(predicted, "predicted", shape=("N", "P", "D"), finite=False)
    expected = check_array(truth, "truth", shape=points.shape).astype(np.float64)
    length = check_array(normaliser, "normaliser", shape=(len(points),)).astype(np.float64)
    if threshold <= 0:
        raise InputError(f"threshold: expected a positive fraction, got {threshold}")
    if np.any(length <= 0):
        raise InputError(
            f"normaliser: expected positive lengths, got {length.min():.3g} "
            f"for image {int(length.argmin())}"
        )
    finite = np.isfinite(points)
    found = finite.all(axis=(1, 2))
    partial = finite.any(axis=(1, 2)) & ~found
    if partial.any():
        raise InputError(
            f"predicted: image {int(partial.argmax())} has points that are not finite; "
            "an image is missed as a whole or not at all"
        )
    errors = np.linalg.norm(points.astype(np.float64) - expected, axis=-1) / length[:, None]
    per_image = errors.mean(axis=1)
    worst = np.where(found, per_image, np.inf)
    return LandmarkScore(
        per_image=per_image,
        per_point=errors[found].mean(axis=0) if found.any() else np.full(points.shape[1], np.nan),
        mean=float(per_image[found].mean()) if found.any() else float("nan"),
        failure_rate=float((worst > threshold).mean()) if len(worst) else float("nan"),
        # The area under an empirical distribution up to a limit is the mean of what each value
        # leaves of that limit.
        auc=float(np.maximum(0, 1 - worst / threshold).mean()) if len(worst) else float("nan"),
        misses=int((~found).sum()),
        threshold=threshold,
    )

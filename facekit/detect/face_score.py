"""How probable it is that a candidate shows a face, once its points have been placed.

The search sees a whole photograph at low resolution; the landmark network sees the face at close
quarters. Where there is no face, or another than the box says, its points are uncertain and end
elsewhere.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

# Of the search's log-odds, of the log-odds of the points' mean confidence, of the overlap between
# the search's box and the points' own, and a constant. Logistic regression on collages of
# validation persons: docs/measure_face_scores.py.
WEIGHTS = (0.57, 2.81, 1.91, -2.12)


def face_features(scores: np.ndarray, confidence: np.ndarray, agreement: np.ndarray) -> np.ndarray:
    """Return what is known of candidates, (N, 4): a column for each of ``WEIGHTS``.

    Args:
        scores: (N,) probabilities of the search.
        confidence: (N, 68) of the points.
        agreement: (N,) intersections over unions of the search's box and the points' bounding
            rectangle.
    """
    sure = np.clip(confidence.mean(axis=1), 1e-6, 1 - 1e-6)
    odds = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    return np.column_stack([odds, logit(sure), agreement, np.ones(len(odds))])


def face_scores(features: np.ndarray) -> np.ndarray:
    """Return the (N,) probabilities that candidates of ``face_features`` (N, 4) show faces."""
    return expit(features @ np.array(WEIGHTS))

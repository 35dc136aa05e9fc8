"""How probable it is that a candidate shows a face, once its points have been placed.

The search sees a whole photograph at low resolution; the landmark network sees the face at close
quarters, and where there is none its points are uncertain.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

# Of the search's log-odds, of the log-odds of the points' mean confidence, and a constant.
# Logistic regression on collages of validation persons: docs/measure_face_scores.py.
WEIGHTS = (0.56, 3.18, -0.16)


def face_features(scores: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return what is known of candidates, (N, 3): a column for each of ``WEIGHTS``.

    Args:
        scores: (N,) probabilities of the search.
        confidence: (N, 68) of the points.
    """
    sure = logit(np.clip(confidence.mean(axis=1), 1e-6, 1 - 1e-6))
    odds = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    return np.column_stack([odds, sure, np.ones(len(odds))])


def face_scores(features: np.ndarray) -> np.ndarray:
    """Return the (N,) probabilities that candidates of ``face_features`` (N, 3) show faces."""
    return expit(features @ np.array(WEIGHTS))

"""Noise of several photographs of one person that err alike: ``fit.image_set`` says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facekit.fit.landmark_problem import LandmarkFitConfig


def louder(config: LandmarkFitConfig, count: int) -> LandmarkFitConfig:
    """Return settings whose noise has ``count`` times the variance.

    The labeller's covariance belongs to the ``LandmarkBasis`` and is not in them.
    """
    factor = float(np.sqrt(count))
    return replace(
        config,
        discrepancy_mm=factor * config.discrepancy_mm,
        label_noise_px=factor * config.label_noise_px,
    )

"""Noise of several photographs of one person that err alike: ``fit.image_set`` says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facekit.fit.colour_noise import ColourNoise
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


def louder_colours(noise: ColourNoise, count: int) -> ColourNoise:
    """Return colour noise of ``count`` times the variance."""
    factor = float(np.sqrt(count))
    return replace(
        noise,
        broad=factor * noise.broad,
        fine=factor * noise.fine,
        white=factor * noise.white,
        edge_mm=factor * noise.edge_mm,
        relief=tuple((factor * deviation, length) for deviation, length in noise.relief),
    )

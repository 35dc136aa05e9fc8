"""Points of a face in passes: a crop of its box, crops of the points found, views of those."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.detect.faces import CROP_MARGIN, dense_crop, roll_of_dense, roll_of_five
from facekit.detect.landmark_sets import FLIP68, FLIP478
from facekit.detect.session import Network
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import points_crop, square_crop, warp

# Crops about the box, then about the points found so far; the network knows aligned crops.
PASSES = 3
# The last pass' views of a face: scale of the crop, further roll in degrees, and shift along and
# across the eyes in face sizes. Chosen on validation persons: four are 4 % better than one.
VIEWS = (
    (1.03, 2.0, 0.015, 0.015),
    (0.97, -2.0, -0.015, -0.015),
    (1.03, -2.0, -0.015, 0.015),
    (0.97, 2.0, 0.015, -0.015),
)
# ``confidence`` is the probability that a point lies within this distance, crop sides.
TOLERANCE = 0.025


class Candidate(NamedTuple):
    """A box (x, y, width, height), its probability, and five points (5, 2), image pixels."""

    box: np.ndarray
    score: float
    five: np.ndarray


class PointNetwork:
    """A landmark network with the crops it was trained on.

    Attributes:
        size: side of its crops, pixels.
        margin: of its crops over the points' bounding square.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.size = int(network.metadata.get("facekit.size", "128"))
        self.margin = float(network.metadata.get("facekit.margin", str(CROP_MARGIN)))

    def __call__(
        self, image: np.ndarray, crops: list[SimilarityTransform], *, mirrored: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network on crops of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            crops: image to crop, of the network's size.
            mirrored: show it the crops' mirror images; the answer is mirrored back.

        Returns:
            points (N, 478, 2) in image pixels, confidence (N, 68), presence (N,), both in
            [0, 1].
        """
        pictures = np.stack([warp(image, c, size=self.size) for c in crops])
        return self.look(pictures, crops, mirrored=mirrored)

    def look(
        self, pictures: np.ndarray, crops: list[SimilarityTransform], *, mirrored: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network on pictures (N, S, S, 3) that were taken by crops; see calling it."""
        size = self.size
        if mirrored:
            pictures = np.ascontiguousarray(pictures[:, :, ::-1])
        result = self._network(image=pictures)
        pixels = (result["points"].astype(np.float64) + 0.5) * size - 0.5
        if mirrored:
            pixels[..., 0] = size - 1 - pixels[..., 0]
            pixels = pixels[:, FLIP478]
        points = np.stack([c.inverse().apply(p) for c, p in zip(crops, pixels, strict=True)])
        # The distance from the truth is modelled as exponential with mean sigma, crop sides.
        sigma = np.exp(result["log_sigma"].astype(np.float64)) * self.margin / CROP_MARGIN
        confidence = 1 - np.exp(-TOLERANCE / sigma)
        if mirrored:
            confidence = confidence[:, FLIP68]
        return points, confidence, result["presence"][:, 0].astype(np.float64)

    def box_crop(self, candidate: Candidate) -> SimilarityTransform:
        """Return the crop of a face known by its box and five points."""
        centre = candidate.box[:2] + candidate.box[2:] / 2
        side = self.margin * float(candidate.box[2:].max())
        return square_crop(centre, side, size=self.size, roll=roll_of_five(candidate.five))

    def views(self, points: np.ndarray) -> list[SimilarityTransform]:
        """Return the ``VIEWS`` of a face known by its dense points (478, 2)."""
        roll = roll_of_dense(points)
        along = np.array([np.cos(roll), np.sin(roll)])
        across = np.array([-along[1], along[0]])
        extent = float(np.ptp(points, axis=0).max())
        return [
            points_crop(
                points + extent * (x * along + y * across),
                roll=roll + np.radians(turn),
                size=self.size,
                margin=self.margin * scale,
            )
            for scale, turn, x, y in VIEWS
        ]

    def approach(
        self, image: np.ndarray, candidates: list[Candidate]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points, confidence and presence of candidates after ``PASSES`` crops of each."""
        crops = [self.box_crop(candidate) for candidate in candidates]
        found = self(image, crops)
        for _ in range(PASSES - 1):
            crops = [dense_crop(p, size=self.size, margin=self.margin) for p in found[0]]
            found = self(image, crops)
        return found

    def average(
        self, image: np.ndarray, dense: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points, confidence and presence as the ``VIEWS`` of faces have them on average.

        Args:
            image: (H, W, 3) uint8 RGB.
            dense: (N, 478, 2) where ``approach`` has placed the points; N at least 1.
        """
        views = [crop for points in dense for crop in self.views(points)]
        # The mean over views and their mirror images: they err differently, and a face is one
        # whichever way it is looked at.
        straight = self(image, views)
        mirrored = self(image, views, mirrored=True)
        points, confidence, presence = (
            (0.5 * (a + b)).reshape(len(dense), len(VIEWS), *a.shape[1:]).mean(axis=1)
            for a, b in zip(straight, mirrored, strict=True)
        )
        return points, confidence, presence

    def place(
        self, image: np.ndarray, candidates: list[Candidate]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points, confidence and presence of candidates, approached and averaged."""
        return self.average(image, self.approach(image, candidates)[0])

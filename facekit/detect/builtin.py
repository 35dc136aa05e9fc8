"""facekit's own networks: boxes and five points, then 478 points in roll-aligned passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.detect.face_score import face_features, face_scores
from facekit.detect.faces import box_of_points, face_from_dense, largest_first
from facekit.detect.passes import Candidate, PointNetwork
from facekit.detect.session import Network, open_asset
from facekit.detect.tiles import tile_scales, tiles, whole_in_tile
from facekit.errors import InputError, ItemError
from facekit.types import DetectedFace

STRIDES = (8, 16, 32)
# The search runs at this longest side; smaller images are searched as they are.
SEARCH_SIDE = 640
SMALL_SIDE = 224
# Of a face's probability. Chosen on collages of validation persons: from a half to this, a third of
# the false faces stay, and two of a thousand faces of 48 pixels and more are lost.
THRESHOLD = 0.75
# Of a box's probability, where boxes alone are wanted.
BOX_THRESHOLD = 0.5
# The search finds faces from about this side; tiles share what the coarser scale may have missed.
SEARCHED_FACE = 24.0
TILE_OVERLAP = 96
# What the search holds for less likely than this is not looked at closely.
LEAST_CANDIDATE = 0.03
# What is less likely a face than this after three crops is looked at no more.
LEAST_LIKELY = 0.1
# Boxes that overlap by more (intersection over union) are one face; so is a box within another of
# less than 1 / NESTED times its area.
SAME_FACE, NESTED = 0.4, 0.4


class Examined(NamedTuple):
    """Candidates of an image: what may be faces.

    Attributes:
        dense: (N, 478, 2) points, pixels.
        confidence: (N, 68).
        boxes: (N, 4) bounding rectangles of the points.
        features: (N, 3) see ``face_score``.
    """

    dense: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    features: np.ndarray


class BuiltinDetector:
    """Boxes and dense landmarks by facekit's own networks; onnxruntime only.

    Args:
        threshold: least probability of a face.
        threads: of each network; None takes facekit's own setting.
        search_side: longest side of the searched image in pixels.
        least_face: side in pixels of the smallest face looked for; smaller ones than the whole
            view shows (24 px in ``search_side``) are found in tiles, which take longer. None
            reads no tiles.
        detector, landmarks: other networks than the shipped ones.
    """

    name = "builtin"

    def __init__(
        self,
        *,
        threshold: float = THRESHOLD,
        threads: int | None = None,
        search_side: int = SEARCH_SIDE,
        least_face: float | None = None,
        detector: Network | None = None,
        landmarks: Network | None = None,
    ) -> None:
        self._detector = detector or open_asset("detector", threads=threads)
        self._landmarks = landmarks or open_asset("landmarks", threads=threads)
        self._points = PointNetwork(self._landmarks)
        self._threshold = threshold
        self._side = search_side
        if least_face is not None and not least_face >= 1:
            raise InputError(f"least_face: expected at least 1 pixel, got {least_face}")
        self._least = least_face

    @property
    def fingerprint(self) -> str:
        """The hashes of both networks, and how closely they look."""
        closely = "" if self._least is None else f":{self._least:g}"
        return f"builtin:{self._detector.sha256[:16]}+{self._landmarks.sha256[:16]}{closely}"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the faces of an RGB uint8 image (H, W, 3), largest first.

        Args:
            image: any size from 1 x 1.
            path: not used.
        """
        del path
        image = check_array(image, "image", shape=("H", "W", 3), dtype="uint8")
        seen = self.examine(image, least=min(LEAST_CANDIDATE, self._threshold))
        scores = face_scores(seen.features)
        found = scores >= self._threshold
        # Two boxes that differ can end on one face.
        kept = [i for i in suppress(seen.boxes, np.where(found, scores, 0)) if found[i]]
        return largest_first(
            [
                face_from_dense(seen.dense[i], score=scores[i], confidence=seen.confidence[i])
                for i in kept
            ]
        )

    def examine(self, image: np.ndarray, *, least: float = LEAST_CANDIDATE) -> Examined:
        """Return the candidates of an image with their points, before any is called a face.

        Those that a few crops show to be unlikely are dropped before they are looked at closely,
        which takes six times as long.

        Args:
            image: (H, W, 3) uint8 RGB.
            least: probability below which the search's boxes are not looked at.
        """
        candidates = self.boxes(image, threshold=least)
        if candidates:
            dense, confidence, _ = self._points.approach(image, candidates)
            scores = np.array([candidate.score for candidate in candidates])
            likely = face_scores(face_features(scores, confidence)) >= min(
                LEAST_LIKELY, self._threshold
            )
            if likely.any():
                dense, confidence, _ = self._points.average(image, dense[likely])
                boxes = np.stack([box_of_points(points) for points in dense])
                features = face_features(scores[likely], confidence)
                return Examined(dense, confidence, boxes, features)
        return Examined(
            np.zeros((0, 478, 2)), np.zeros((0, 68)), np.zeros((0, 4)), np.zeros((0, 3))
        )

    def complete(self, image: np.ndarray, face: DetectedFace) -> DetectedFace:
        """Return a face known by its box and five points with every point placed.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: with ``five``; its five points and score are kept.

        Raises:
            ItemError: the face has no five points.
        """
        if face.five is None:
            raise ItemError("landmarks: expected a face with five points to start from, got none")
        candidate = Candidate(np.asarray(face.box, float), face.score, np.asarray(face.five, float))
        dense, confidence, _ = self._points.place(image, [candidate])
        placed = face_from_dense(dense[0], score=face.score, confidence=confidence[0])
        return replace(placed, five=face.five)

    def boxes(self, image: np.ndarray, *, threshold: float = BOX_THRESHOLD) -> list[Candidate]:
        """Return boxes and five points, best first, after non-maximum suppression.

        Args:
            image: (H, W, 3) uint8 RGB.
            threshold: least probability of a box, by the search alone.
        """
        longest = max(image.shape[:2])
        sides = [min(self._side, longest)]
        # The network knows faces up to about 256 pixels: larger ones are found in a small copy.
        if sides[0] > SMALL_SIDE * 1.25:
            sides.append(SMALL_SIDE)
        found = [self._search(image, side, threshold) for side in sides]
        if self._least is not None:
            finest = min(1.0, SEARCHED_FACE / self._least)
            for scale in tile_scales(longest, side=self._side, least=finest):
                found += self._search_tiles(image, scale, threshold)
        boxes, scores, five = (np.concatenate(column) for column in zip(*found, strict=True))
        return [Candidate(boxes[i], float(scores[i]), five[i]) for i in suppress(boxes, scores)]

    def _search(
        self, image: np.ndarray, side: int, least: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        ratio = np.array([width / size[0], height / size[1]])
        return _enlarged(*self._look(small, least), ratio)

    def _search_tiles(
        self, image: np.ndarray, scale: float, least: float
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        height, width = image.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        ratio = np.array([width / size[0], height / size[1]])
        found = []
        for tile in tiles(*size, side=self._side, overlap=TILE_OVERLAP):
            part = small[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
            boxes, scores, five = self._look(part, least)
            # A face that an edge cuts is whole in the neighbour, or was seen at a coarser scale.
            whole = whole_in_tile(boxes, tile, size, margin=2.0)
            corner = np.array([tile.x, tile.y])
            boxes[:, :2] += corner
            found.append(_enlarged(boxes[whole], scores[whole], five[whole] + corner, ratio))
        return found

    def _look(self, picture: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = picture.shape[:2]
        padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.uint8)
        padded[:height, :width] = picture
        maps = self._detector(image=padded[None])
        return decode([maps[f"stride{s}"][0] for s in STRIDES], threshold=least)


def _enlarged(
    boxes: np.ndarray, scores: np.ndarray, five: np.ndarray, ratio: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes and points of a reduced copy in the pixels of its original."""
    boxes = np.hstack([(boxes[:, :2] + 0.5) * ratio - 0.5, boxes[:, 2:] * ratio])
    return boxes, scores, (five + 0.5) * ratio - 0.5


def decode(
    maps: list[np.ndarray], *, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (M, 4) x y w h, scores (M,) and five points (M, 5, 2) of cells above a score.

    Args:
        maps: (15, H / s, W / s) per stride, see ``networks.detector``.
        threshold: least probability.
    """
    least = float(np.log(threshold / (1 - threshold)))
    rows = []
    for stride, grid in zip(STRIDES, maps, strict=True):
        y, x = np.nonzero(grid[0] >= least)
        if not len(x):
            continue
        values = grid[:, y, x].T.astype(np.float64)
        unit = 4 * stride
        middle = np.column_stack([x, y]) * stride + (stride - 1) / 2
        centre = middle + unit * values[:, 1:3]
        # A wild network must not overflow: e^5 units are far beyond any image.
        extent = unit * np.exp(np.clip(values[:, 3:5], -5, 5))
        five = middle[:, None] + unit * values[:, 5:].reshape(-1, 5, 2)
        score = 1 / (1 + np.exp(-np.clip(values[:, 0], -50, 50)))
        rows.append((np.hstack([centre - extent / 2, extent]), score, five))
    if not rows:
        return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
    boxes, scores, five = (np.concatenate(column) for column in zip(*rows, strict=True))
    return boxes, scores, five


def suppress(boxes: np.ndarray, scores: np.ndarray, *, overlap: float = SAME_FACE) -> list[int]:
    """Return the rows that non-maximum suppression keeps, best first.

    A box goes when its intersection over union with a better one exceeds ``overlap``, or when
    80 % of one lies inside the other and their areas differ by less than a factor of 2.5: parts of
    a face look like a face, but another face may be before it.
    """
    order = np.argsort(-scores, kind="stable")
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    alive = np.ones(len(boxes), bool)
    for i in order:
        if not alive[i]:
            continue
        kept.append(int(i))
        extent = np.minimum(high[i], high) - np.maximum(low[i], low)
        shared = np.clip(extent, 0, None).prod(1)
        union = np.maximum(area + area[i] - shared, 1e-12)
        smaller, larger = np.minimum(area, area[i]), np.maximum(area, area[i])
        nested = (shared > 0.8 * smaller) & (smaller > NESTED * larger)
        alive &= (shared / union <= overlap) & ~nested
    return kept

"""Which cameras have moved, by what they see: matched features against the rig's epipolar lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekit.capture.board_check import LIMIT_PX, CameraCheck
from facekit.errors import ItemError
from facekit.geometry.cameras import undistort
from facekit.geometry.rotations import skew
from facekit.io.images import read_image
from facekit.types import Camera, Rig

# Cameras whose views differ by more than this match too few features, degrees.
_WIDEST_DEG = 40.0
_NEIGHBOURS = 4
# Matches farther than this from their line are mistaken, pixels; a moved camera stays within.
_FARTHEST_PX = 40.0
_LEAST_MATCHES = 25
_RATIO = 0.8
_FEATURES = 4000


def check_features(
    rig: Rig,
    views: Mapping[str, Path],
    *,
    limit_px: float = LIMIT_PX,
    progress: Callable[[int, int], None] | None = None,
) -> list[CameraCheck]:
    """Match features between neighbouring cameras and measure how far they are from their lines.

    A pair's error is the median distance (Sampson's, in pixels) of its matches; a camera's is the
    median over its pairs. While the worst camera is over the limit it is set aside and the others
    are judged without it. The error across the lines only is seen, so neighbours in different
    directions are taken.

    Args:
        rig: as calibrated.
        views: one picture for each camera, taken at one moment.
        limit_px: more than this is moved.
        progress: called with pictures read and their number.

    Raises:
        ItemError: no two cameras see enough features in common.
    """
    features = {}
    for number, (name, path) in enumerate(views.items()):
        features[name] = _features(path)
        if progress is not None:
            progress(number + 1, len(views))
    matches = {
        (one, other): _matches(features[one][1], features[other][1])
        for one, other in _pairs(rig, list(views))
    }
    pixels = {name: found[0] for name, found in features.items()}
    return judge_matches(rig, pixels, matches, limit_px=limit_px)


def judge_matches(
    rig: Rig,
    pixels: Mapping[str, np.ndarray],
    matches: Mapping[tuple[str, str], np.ndarray],
    *,
    limit_px: float = LIMIT_PX,
) -> list[CameraCheck]:
    """Judge cameras by matches that are there already; see ``check_features``.

    Args:
        rig: as calibrated.
        pixels: (N, 2) places of each camera's features in its photograph.
        matches: (M, 2) rows of two cameras' features.
        limit_px: more than this is moved.

    Raises:
        ItemError: no two cameras have enough matches.
    """
    plain = {
        name: undistort(rig.cameras[name], found) if len(found) else np.zeros((0, 2))
        for name, found in pixels.items()
    }
    errors: dict[tuple[str, str], float] = {}
    for (one, other), rows in matches.items():
        first, second = plain[one][rows[:, 0]], plain[other][rows[:, 1]]
        distances = _distances(rig.cameras[one], rig.cameras[other], first, second)
        if len(distances) >= _LEAST_MATCHES:
            errors[one, other] = float(np.median(distances))
    if not errors:
        raise ItemError("check: no two cameras of the rig see enough features in common")
    moved: set[str] = set()
    while True:
        scores = {name: _score(name, errors, moved) for name in pixels}
        left = {n: s for n, s in scores.items() if n not in moved and np.isfinite(s)}
        if not left or max(left.values()) <= limit_px or len(left) <= 2:
            break
        moved.add(max(left, key=lambda name: left[name]))
    checks = []
    for name in rig.cameras:
        pairs = sum(name in pair for pair in errors)
        score = _score(name, errors, moved - {name}) if name in pixels else float("nan")
        checks.append(CameraCheck(name, pairs, score, name in moved and score > limit_px))
    return checks


def _features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    finder: Any = getattr(cv2, "SIFT_create")(nfeatures=_FEATURES, contrastThreshold=0.01)  # noqa: B009
    points, descriptors = finder.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    pixels = np.array([point.pt for point in points], np.float64)
    # RootSIFT (Arandjelovic and Zisserman, 2012).
    descriptors = np.sqrt(descriptors / (np.abs(descriptors).sum(1, keepdims=True) + 1e-9))
    return pixels, descriptors.astype(np.float32)


def _pairs(rig: Rig, names: list[str]) -> list[tuple[str, str]]:
    """Return each camera with its nearest views."""
    axes = np.array([rig.cameras[name].rotation[2] for name in names])
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1, 1)))
    np.fill_diagonal(angles, np.inf)
    pairs = set()
    for row in range(len(names)):
        for column in np.argsort(angles[row])[:_NEIGHBOURS]:
            if angles[row, column] < _WIDEST_DEG:
                pairs.add((min(row, int(column)), max(row, int(column))))
    return [(names[i], names[j]) for i, j in sorted(pairs)]


def _matches(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (M, 2) rows of descriptors that are each other's best and distinct."""
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), int)
    similar = first @ second.T
    best = similar.argmax(axis=1)
    rows = np.arange(len(best))
    back = similar.argmax(axis=0)
    top = similar[rows, best]
    similar[rows, best] = -1
    # Distances of unit vectors: d^2 = 2 - 2 s.
    distinct = np.sqrt(np.maximum(2 - 2 * top, 0)) < _RATIO * np.sqrt(
        np.maximum(2 - 2 * similar.max(axis=1), 0)
    )
    kept = distinct & (back[best] == rows)
    return np.column_stack([rows[kept], best[kept]])


def _distances(one: Camera, other: Camera, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distances of matches (M, 2) from their epipolar lines, pixels."""
    ones = np.ones(len(first))
    x, y = np.column_stack([first, ones]), np.column_stack([second, ones])
    rotation = other.rotation @ one.rotation.T
    translation = other.translation - rotation @ one.translation
    essential = skew(translation / np.linalg.norm(translation)) @ rotation
    line, line_back = x @ essential.T, y @ essential
    algebraic = np.einsum("ni,ni->n", y, line)
    f_one, f_other = one.intrinsics[0, 0], other.intrinsics[0, 0]
    # In pixels of each picture: normalised gradients divided by the focal lengths.
    slope = (line[:, :2] ** 2).sum(1) / f_other**2 + (line_back[:, :2] ** 2).sum(1) / f_one**2
    distance = np.abs(algebraic) / np.sqrt(np.maximum(slope, 1e-24))
    return distance[distance < _FARTHEST_PX]


def _score(name: str, errors: Mapping[tuple[str, str], float], without: set[str]) -> float:
    mine = [
        error
        for pair, error in errors.items()
        if name in pair and not (set(pair) - {name}) & without
    ]
    return float(np.median(mine)) if mine else float("nan")

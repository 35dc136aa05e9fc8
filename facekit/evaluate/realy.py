"""The REALY benchmark (v1): shape errors of four face regions, each aligned on its own.

Protocol of Z. Chai et al., REALY: Rethinking the evaluation of 3D face reconstruction, ECCV 2022:
a global similarity from seven key points, a rigid ICP of each region, and a non-rigid ICP that
finds which point of the prediction stands for each point of the scan. Lengths are the benchmark's
normalised unit until a person's metrical scale turns them into mm. This is an independent
implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from facekit.checks import check_array
from facekit.errors import ItemError
from facekit.evaluate.nonrigid import KeyTargets, deform_to_points
from facekit.geometry.closest_point import build_tree, closest_points

REGIONS = ("nose", "mouth", "forehead", "cheek")
SEVEN = (36, 39, 42, 45, 33, 48, 54)
_MOUTH = (*range(48, 61), 64)
_NOSE = tuple(range(27, 36))
# Key points of the rigid and of the non-rigid alignment (0-based rows of the 85).
RIGID_KEYS: Mapping[str, tuple[int, ...]] = {
    "nose": (*_NOSE, 70, 71),
    "mouth": _MOUTH,
    "forehead": (*range(36, 48), *range(17, 27)),
    "cheek": (*_MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
DENSE_KEYS: Mapping[str, tuple[int, ...] | None] = {
    "nose": _NOSE,
    "mouth": _MOUTH,
    "forehead": RIGID_KEYS["forehead"],
    "cheek": None,
}
_ICP_TOLERANCE = 1e-6
_ICP_ITERATIONS = 100


class Region(NamedTuple):
    """A region of a scan: vertices (N, 3) and faces (F, 3), as in its file."""

    vertices: np.ndarray
    faces: np.ndarray


class RealyPrediction(NamedTuple):
    """A predicted face.

    Attributes:
        vertices: (V, 3) any unit and pose.
        faces: (F, 3).
        keypoints: (85, 3) on it.
        scored: (F,) bool faces that errors are measured to, or None for all.
    """

    vertices: np.ndarray
    faces: np.ndarray
    keypoints: np.ndarray
    scored: np.ndarray | None = None


class LooseSimilarity(NamedTuple):
    """x -> s R x + t as the benchmark fits it; R mirrors when ``reflected``."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray
    reflected: bool

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 3)."""
        return self.scale * points @ self.rotation.T + self.translation


class RegionScore(NamedTuple):
    """The result of one region.

    Attributes:
        error: the benchmark's NMSE (a mean Euclidean distance in spite of its name).
        vertices: (n, 3) the scan region's merged vertices; faces: (F, 3).
        distances: (n,) of those vertices.
        icp_steps: moves of the rigid ICP; solves: systems of the non-rigid one.
    """

    error: float
    vertices: np.ndarray
    faces: np.ndarray
    distances: np.ndarray
    icp_steps: int
    solves: int


def loose_similarity(
    source: np.ndarray, target: np.ndarray, *, with_scale: bool
) -> LooseSimilarity:
    """Fit corresponding points (N, 3) as the benchmark does.

    The rotation is Kabsch's without the determinant's correction, so it may mirror; the scale is
    the ratio of the sums of absolute coordinates about the means, not the least-squares one.
    """
    x = check_array(source, "source", shape=("N", 3)).astype(np.float64)
    y = check_array(target, "target", shape=x.shape).astype(np.float64)
    x0, y0 = x - x.mean(axis=0), y - y.mean(axis=0)
    u, _, vt = np.linalg.svd(y0.T @ x0)
    rotation = u @ vt
    turned = np.abs(x0 @ rotation.T).sum()
    if with_scale and not turned > 0:
        raise ItemError("realy: the prediction's key points are all equal")
    scale = float(np.abs(y0).sum() / turned) if with_scale else 1.0
    translation = (y - scale * x @ rotation.T).mean(axis=0)
    return LooseSimilarity(scale, rotation, translation, bool(np.linalg.det(rotation) < 0))


def align_globally(prediction: RealyPrediction, keypoints: np.ndarray) -> LooseSimilarity:
    """Return the similarity of the seven key points to the scan's (85, 3)."""
    rows = list(SEVEN)
    return loose_similarity(prediction.keypoints[rows], keypoints[rows], with_scale=True)


def align_region(
    prediction: RealyPrediction, region: Region, keypoints: np.ndarray, name: str
) -> tuple[RealyPrediction, int]:
    """Move a globally aligned prediction rigidly to one region.

    Every vertex of the region is paired with its closest point of the whole prediction; the
    region's key points count as often as all vertices together (the cheek's a quarter of that).
    Ends when the mean squared error changes by less than 1e-6, or after 100 moves.

    Returns:
        the moved prediction (vertices rounded to float32, as the benchmark keeps them) and the
        number of moves.
    """
    rows = list(RIGID_KEYS[name])
    scan = np.asarray(region.vertices, np.float64)
    repeats = int(len(scan) / len(rows) / (4 if name == "cheek" else 1))
    target = np.vstack([scan, *[keypoints[rows]] * repeats])
    vertices, marks = prediction.vertices, prediction.keypoints
    before, start = 0.0, None
    for step in range(_ICP_ITERATIONS + 1):
        found = closest_points(build_tree(vertices, prediction.faces), scan, start=start)
        start = found.triangle
        corners = vertices[prediction.faces[found.triangle]]
        closest = np.einsum("nk,nkd->nd", found.barycentric, corners)
        source = np.vstack([closest, *[marks[rows]] * repeats])
        fit = loose_similarity(source, target, with_scale=False)
        error = float(((fit.apply(source).astype(np.float32) - target) ** 2).sum(axis=1).mean())
        if abs(error - before) < _ICP_TOLERANCE or step == _ICP_ITERATIONS:
            break
        before = error
        vertices = fit.apply(vertices).astype(np.float32).astype(np.float64)
        marks = fit.apply(marks)
    return prediction._replace(vertices=vertices, keypoints=marks), step


def merge_vertices(region: Region) -> Region:
    """Join equal vertices (to 1e-8) and drop those of no face."""
    used = np.zeros(len(region.vertices), dtype=bool)
    used[region.faces.ravel()] = True
    rows = np.flatnonzero(used)
    keys = np.round(np.asarray(region.vertices, np.float64)[rows] * 1e8).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    number = np.zeros(len(used), dtype=np.int64)
    number[rows] = inverse.ravel()
    return Region(region.vertices[rows[first]], number[region.faces].astype(np.int32))


def score_region(
    prediction: RealyPrediction, region: Region, keypoints: np.ndarray, name: str
) -> RegionScore:
    """Score one region of a globally aligned prediction.

    After ``align_region`` the region's vertices are deformed towards their closest points on the
    prediction (``deform_to_points``, with key points except at the cheek); the error of a vertex
    is from its own place to the closest point of where it was deformed to.

    Args:
        prediction: after ``align_globally``.
        region: of the scan.
        keypoints: (85, 3) of the scan.
        name: one of ``REGIONS``.

    Raises:
        ItemError: the region is empty, or its deformation is not determined.
    """
    if not len(region.faces):
        raise ItemError(f"realy: the scan's region {name} has no faces")
    moved, steps = align_region(prediction, region, keypoints, name)
    scan = merge_vertices(region)
    faces = moved.faces if moved.scored is None else moved.faces[moved.scored]
    if not len(faces):
        raise ItemError("realy: the template mask leaves no face of the prediction")
    tree = build_tree(moved.vertices, faces)

    def onto(points: np.ndarray) -> np.ndarray:
        found = closest_points(tree, points)
        corners = tree.vertices[tree.faces[found.triangle]]
        return np.einsum("nk,nkd->nd", found.barycentric, corners)

    rows = DENSE_KEYS[name]
    keys = None
    if rows is not None:
        nearest = cKDTree(scan.vertices).query(keypoints[list(rows)])[1]
        keys = KeyTargets(nearest, moved.keypoints[list(rows)])
    deformed = deform_to_points(scan.vertices, scan.faces, onto(scan.vertices), keys=keys)
    distances = np.linalg.norm(onto(deformed.vertices) - scan.vertices, axis=1)
    return RegionScore(
        float(distances.mean()), scan.vertices, scan.faces, distances, steps, deformed.solves
    )


def score_realy(
    prediction: RealyPrediction, regions: Mapping[str, Region], keypoints: np.ndarray
) -> tuple[dict[str, RegionScore], LooseSimilarity]:
    """Score all four regions of a prediction in its own frame.

    Args:
        prediction: any pose and scale.
        regions: by name, the scan's.
        keypoints: (85, 3) of the scan.

    Returns:
        the regions' scores, and the global similarity.

    Raises:
        InputError: key points of another shape.
        ItemError: see ``score_region``.
    """
    check_array(prediction.keypoints, "prediction key points", shape=(85, 3))
    marks = check_array(keypoints, "scan key points", shape=(85, 3)).astype(np.float64)
    fit = align_globally(prediction, marks)
    aligned = prediction._replace(
        vertices=fit.apply(np.asarray(prediction.vertices, np.float64)),
        keypoints=fit.apply(np.asarray(prediction.keypoints, np.float64)),
    )
    scores = {name: score_region(aligned, regions[name], marks, name) for name in REGIONS}
    return scores, fit

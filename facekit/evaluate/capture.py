"""A reconstructed scan against the true surface: accuracy, completeness, on the visible face."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError, ItemError
from facekit.evaluate.icp import IcpOptions, align_surface
from facekit.geometry.alignment import SimilarityTransform, align_similarity
from facekit.geometry.closest_point import TriangleTree, build_tree, closest_points
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.surface import Surface
from facekit.io.atomic import read_json
from facekit.io.meshes import read_mesh
from facekit.io.npz import read_npz
from facekit.io.rig import read_rig
from facekit.render.visibility import seen_vertices
from facekit.simulate.subject import SKIN
from facekit.types import Mesh, Rig

SCHEMA = "facekit.eval.scan/1"
COMPLETE_MM = 1.0
_SAMPLES = 60_000
# Of the visible face: seen by this many cameras, at no more than this from the normal.
_LEAST_CAMERAS, _GRAZING_DEG = 3, 75.0


class ScanTruth(NamedTuple):
    """The true surface of a capture.

    Attributes:
        mesh: mm.
        region: (V,) bool, the vertices that count.
        landmarks: (68, 3) in the mesh's frame, or None.
    """

    mesh: Mesh
    region: np.ndarray
    landmarks: np.ndarray | None


def read_truth(path: Path) -> ScanTruth:
    """Read a truth: a mesh file, or a subject's folder in the truth of ``simulate stage``.

    For a folder, the region is the visible face: from the ears forward, from the chin to 70 mm
    above the brows, skin (no eyes), seen by at least three cameras at up to 75 degrees from its
    normal. For a mesh file it is everything.

    Raises:
        InputError: no such file, or a folder without ``truth.npz``.
    """
    if not path.is_dir():
        mesh = read_mesh(path)
        return ScanTruth(mesh, np.ones(len(mesh.vertices), bool), None)
    data = read_npz(path / "truth.npz", what="a stage's truth")
    mesh = Mesh(data["vertices"].astype(np.float64), data["faces"])
    marks = data.get("landmarks_3d_mm")
    region = np.ones(len(mesh.vertices), bool)
    if marks is not None:
        region &= _face_region(mesh.vertices, marks)
    if "material" in data:
        skin = np.zeros(len(mesh.vertices), bool)
        skin[data["faces"][data["material"] == SKIN]] = True
        region &= skin
    rig_path = path.parent / "cameras.json"
    if rig_path.is_file():
        region &= visible_vertices(mesh, read_rig(rig_path))
    if not region.any():
        raise InputError(f"{path}: no vertex of the truth's face is seen by three cameras")
    return ScanTruth(mesh, region, marks)


def visible_vertices(mesh: Mesh, rig: Rig) -> np.ndarray:
    """Say of every vertex (V,) whether three cameras see it within 75 degrees of its normal."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    least = float(np.cos(np.radians(_GRAZING_DEG)))
    count = np.zeros(len(mesh.vertices), int)
    for camera in rig.cameras.values():
        count[seen_vertices(mesh, normals, camera, least_facing=least).rows] += 1
    return count >= _LEAST_CAMERAS


def _face_region(vertices: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return vertices between the ears, the chin and the forehead, by the 68 landmarks."""
    right = marks[45] - marks[36]
    right = right / np.linalg.norm(right)
    up = marks[27] - marks[8]
    up = up - (up @ right) * right
    up /= np.linalg.norm(up)
    front = np.cross(right, up)
    ears, brows, chin = marks[[0, 16]].mean(0), marks[17:27].mean(0), marks[8]
    return (
        ((vertices - ears) @ front > 0)
        & ((vertices - brows) @ up < 70)
        & ((vertices - chin) @ up > -3)
    )


class Distances(NamedTuple):
    """Distances in mm of points to the truth within its region, and back; see ``measure``."""

    accuracy: np.ndarray
    completeness: np.ndarray


def measure(mesh: Mesh, truth: ScanTruth, *, seed: int = 0) -> Distances:
    """Measure an aligned scan.

    Accuracy: from the scan's vertices to the truth, those whose nearest truth lies in the region.
    Completeness: from the region's vertices to the scan. At most 60,000 of each, drawn evenly.

    Args:
        mesh: the scan, in the truth's frame; without faces its points are measured both ways.
        truth: the truth.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    points = _draw(mesh.vertices, rng)
    found = closest_points(build_tree(truth.mesh.vertices, truth.mesh.faces), points)
    inside = truth.region[truth.mesh.faces[found.triangle]].all(axis=1)
    accuracy = np.sqrt(found.squared_distance[inside])
    wanted = _draw(truth.mesh.vertices[truth.region], rng)
    back = np.sqrt(closest_points(_tree(mesh), wanted).squared_distance)
    return Distances(accuracy, back)


def align_scan(
    mesh: Mesh, landmarks: np.ndarray | None, truth: ScanTruth, *, with_scale: bool
) -> SimilarityTransform:
    """Find the rigid motion (or similarity) that takes a scan onto the truth's region.

    Landmarks start it, where both have them, and point-to-plane ICP ends it.

    Raises:
        ItemError: the surfaces do not come together.
    """
    start = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    if landmarks is not None and truth.landmarks is not None:
        known = np.isfinite(landmarks).all(1)
        known[:17] = False
        if known.sum() >= 6:
            start = align_similarity(
                landmarks[known], truth.landmarks[known], with_scale=with_scale
            )
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(truth.region)
    rows = rows[rng.permutation(len(rows))[:8000]]
    normals = vertex_normals(truth.mesh.vertices, truth.mesh.faces)
    surface = Surface(mesh.vertices, mesh.faces)
    transform = start
    for reach in (10.0, 2.0, 0.5):
        result = align_surface(
            truth.mesh.vertices[rows],
            normals[rows],
            surface,
            transform,
            options=IcpOptions(with_scale=with_scale, max_distance_mm=reach, iterations=40),
        )
        transform = result.transform
    return transform


def evaluate_scan(scan: Path, truth: ScanTruth, *, align: bool = True) -> dict[str, Any]:
    """Measure a scan's folder (of ``facekit sfm``) or mesh file against a truth.

    Returns:
        JSON values: ``accuracy_*`` and ``completeness_*`` in mm and percent of the mesh, and of
        the points (``points_accuracy_*``) where the folder has ``dense.ply``.

    Raises:
        InputError, ItemError: a file is missing, or the scan cannot be aligned.
    """
    folder = scan if scan.is_dir() else None
    mesh = read_mesh(scan / "mesh.ply" if folder else scan)
    landmarks, with_scale = None, False
    if folder is not None:
        report = read_json(folder / "report.json")
        with_scale = report.get("scale") != "metric"
        if (folder / "landmarks.json").is_file():
            document = read_json(folder / "landmarks.json")["points"]["ibug68"]
            landmarks = np.array([p or [np.nan] * 3 for p in document], np.float64)
    move = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    if align:
        move = align_scan(mesh, landmarks, truth, with_scale=with_scale)
    placed = Mesh(move.apply(mesh.vertices), mesh.faces)
    values = summary(measure(placed, truth))
    if folder is not None and (folder / "dense.ply").is_file():
        cloud = read_mesh(folder / "dense.ply")
        rng = np.random.default_rng(0)
        points = _draw(move.apply(cloud.vertices), rng)
        tree = build_tree(truth.mesh.vertices, truth.mesh.faces)
        found = closest_points(tree, points)
        inside = truth.region[truth.mesh.faces[found.triangle]].all(axis=1)
        distance = np.sqrt(found.squared_distance[inside])
        values["points_accuracy_median"] = _quantile(distance, 0.5)
        values["points_accuracy_p95"] = _quantile(distance, 0.95)
    if landmarks is not None and truth.landmarks is not None:
        known = np.isfinite(landmarks).all(1) & (np.arange(68) >= 17)
        gaps = move.apply(landmarks[known]) - truth.landmarks[known]
        values["landmarks_mean"] = float(np.linalg.norm(gaps, axis=1).mean())
    values["scale"] = float(move.scale)
    return values


def summary(distances: Distances) -> dict[str, Any]:
    """Return the statistics of ``measure``: mm, and percent within half and one millimetre."""
    accuracy, completeness = distances
    if not len(accuracy):
        raise ItemError("no point of the scan lies on the truth's region")
    return {
        "accuracy_median": _quantile(accuracy, 0.5),
        "accuracy_mean": float(accuracy.mean()),
        "accuracy_p95": _quantile(accuracy, 0.95),
        "accuracy_within_half_mm": 100 * float((accuracy < 0.5).mean()),
        "completeness_median": _quantile(completeness, 0.5),
        "completeness_within_mm": 100 * float((completeness < COMPLETE_MM).mean()),
        "count": len(accuracy),
    }


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")


def _draw(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return points[rng.permutation(len(points))[:_SAMPLES]].astype(np.float64)


def _tree(mesh: Mesh) -> TriangleTree:
    if len(mesh.faces):
        return build_tree(mesh.vertices, mesh.faces)
    rows = np.arange(len(mesh.vertices), dtype=np.int32)
    return build_tree(mesh.vertices, np.stack([rows, rows, rows], axis=1))

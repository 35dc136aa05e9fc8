"""Calibrate a model's landmark maps to a labeller: render heads, label, back-project, average.

A labeller's points are not where an anatomist would put them; what matters to a fit is which
surface point each stands for, and how much it scatters. Both are measured on rendered heads of
known geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from facekit.basis.symmetry import symmetric_map
from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.cameras import to_camera
from facekit.geometry.closest_point import TriangleTree, build_tree, closest_points
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.types import Camera, LandmarkMap

# Of a point's labels, this share furthest from their median is left out of mean and covariance.
_TRIM = 0.1
# Ridge of a point's move, relative to what one picture tells of it.
_RIDGE = 0.01
_LONGEST_STEP_MM = 8.0
# Lips apart, so that the closest surface to a lip's mean point is that lip.
_OPEN = {"jawOpen": 0.4}


class LabelledHead(NamedTuple):
    """A rendered head and where a labeller put its points.

    Attributes:
        vertices: (V, 3) in the head frame, mm.
        camera: of the picture.
        points: (N, 2) labels in pixels.
    """

    vertices: np.ndarray
    camera: Camera
    points: np.ndarray


class Calibration(NamedTuple):
    """A calibrated map and what was measured.

    Attributes:
        marks: with covariances.
        bias_mm: (N,) length of the mean label minus mapped point, in the image plane.
        scatter_mm: (N,) root of the covariance's trace.
        num_heads: how many pictures were labelled.
    """

    marks: LandmarkMap
    bias_mm: np.ndarray
    scatter_mm: np.ndarray
    num_heads: int


def calibrate_landmarks(
    model: MorphableModel,
    heads: list[LabelledHead],
    *,
    partner: np.ndarray,
    allowed: np.ndarray,
    rounds: int = 10,
) -> Calibration:
    """Find the surface point of the model that each label stands for.

    Each label is cast onto its head's surface; the surface points, expressed in the model's
    topology, are averaged on one head and put back on its surface. From there the point moves
    over the surface to where it explains the labels of all pictures best (least squares).

    Args:
        model: whose faces the heads have.
        heads: at least 2, labelled with the same N points.
        partner: (N,) index of each point's mirror image; the map is made symmetric.
        allowed: (F,) bool faces that points may lie on.
        rounds: of moving the points.

    Raises:
        InputError: too few heads, or a head of another topology.
    """
    if len(heads) < 2:
        raise InputError(f"calibration: expected at least 2 labelled heads, got {len(heads)}")
    count = len(heads[0].points)
    partner = check_array(partner, "partner", shape=(count,), dtype="int")
    names = [n for n in _OPEN if n in model.expression_names]
    weights = np.zeros(model.num_expression, np.float32)
    weights[[model.expression_names.index(n) for n in names]] = [_OPEN[n] for n in names]
    base = model.shape(expression=weights).astype(np.float64)
    hits = np.empty((len(heads), count, 3))
    for i, head in enumerate(heads):
        check_array(head.points, "labels", shape=(count, 2))
        check_array(head.vertices, "head vertices", shape=base.shape)
        hit = back_project(head, model.faces, allowed)
        hits[i] = _on(base, model.faces, hit)
    normals = vertex_normals(base, model.faces).astype(np.float64)
    rows = np.flatnonzero(allowed)
    tree = build_tree(base, model.faces[rows])
    marks = _closest(tree, rows, _symmetric(trimmed_mean(hits), partner))
    for _ in range(rounds):
        residuals = residuals_mm(model, heads, marks)
        step = _best_step(heads, residuals, _on(normals, model.faces, marks))
        step = _symmetric(step, partner)
        marks = _closest(tree, rows, _on(base, model.faces, marks) + step)
    if model.mirror is not None:
        marks = symmetric_map(model.mean, model.faces, model.mirror, marks, partner)
    residuals = residuals_mm(model, heads, marks)
    mean = trimmed_mean(residuals)
    covariance = _trimmed_covariance(residuals)
    covariance = 0.5 * (covariance + covariance[partner] * [[1, -1], [-1, 1]])
    return Calibration(
        LandmarkMap(marks.faces, marks.barycentric, covariance.astype(np.float32)),
        np.linalg.norm(mean, axis=1),
        np.sqrt(np.trace(covariance, axis1=1, axis2=2)),
        len(heads),
    )


def _best_step(heads: list[LabelledHead], residuals: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the moves (N, 3) along the surface, head frame, that explain residuals best.

    Least squares over the pictures: a point that moves by d shifts by the first two rows of the
    head's rotation times d. Heads seen from different sides thus tell where on a slope a point
    lies, even where a label's ray passes beside the head.
    """
    views = np.array([head.camera.rotation[:2] for head in heads])
    helper = np.where(np.abs(normals[:, 1:2]) < 0.8, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    first = np.cross(normals, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    tangents = np.stack([first, np.cross(normals, first)], axis=1)
    seen = np.einsum("hki,nti->hnkt", views, tangents)
    keep = _keep(residuals)
    normal = np.einsum("hn,hnks,hnkt->nst", keep, seen, seen)
    right = np.einsum("hn,hnkt,hnk->nt", keep, seen, residuals)
    # A ridge bounds the move along a slope that every picture sees edge on.
    ridge = _RIDGE * keep.sum(axis=0)[:, None, None] * np.eye(2)
    along = np.linalg.solve(normal + ridge, right[..., None])[..., 0]
    step = np.einsum("nt,nti->ni", along, tangents)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return step * np.minimum(1, _LONGEST_STEP_MM / np.maximum(length, 1e-9))


def back_project(head: LabelledHead, faces: np.ndarray, allowed: np.ndarray) -> LandmarkMap:
    """Return the surface points that a head's labels show.

    Each label's ray is intersected with the allowed faces that look at the camera; the nearest
    hit counts. A ray that misses takes the vertex of such a face nearest to it in the picture.
    """
    camera = head.camera
    if np.any(camera.distortion):
        raise InputError("calibration: expected pictures without lens distortion")
    cam = to_camera(camera, head.vertices.astype(np.float64))
    flat = cam[:, :2] / cam[:, 2:]
    K = camera.intrinsics
    rays = (head.points - K[:2, 2]) / [K[0, 0], K[1, 1]]
    corners = flat[faces]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    # y points down in the picture, so a face seen from outside has a negative area.
    rows = np.flatnonzero(allowed & (area < 0))
    corners, area = corners[rows], area[rows]
    out_faces = np.empty(len(rays), np.int32)
    out_weights = np.zeros((len(rays), 3))
    for i, ray in enumerate(rays):
        d = corners - ray
        w0 = d[:, 1, 0] * d[:, 2, 1] - d[:, 1, 1] * d[:, 2, 0]
        w1 = d[:, 2, 0] * d[:, 0, 1] - d[:, 2, 1] * d[:, 0, 0]
        w = np.stack([w0, w1, area - w0 - w1], axis=1) / area[:, None]
        inside = np.flatnonzero((w >= -1e-9).all(axis=1))
        if len(inside):
            # Perspective-correct weights: those in the picture over each corner's depth.
            depth = cam[faces[rows[inside]], 2]
            share = w[inside] / depth
            nearest = int(np.argmin(1 / share.sum(axis=1)))
            out_faces[i] = rows[inside[nearest]]
            out_weights[i] = share[nearest] / share[nearest].sum()
        else:
            square = (d**2).sum(axis=2)
            face, corner = np.unravel_index(int(np.argmin(square)), square.shape)
            out_faces[i] = rows[face]
            out_weights[i, corner] = 1.0
    return LandmarkMap(out_faces, np.clip(out_weights, 0, 1).astype(np.float32))


def label_heads(
    render: Callable[[int], tuple[np.ndarray, np.ndarray, Camera]],
    label: Callable[[np.ndarray], np.ndarray | None],
    count: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[LabelledHead]:
    """Render and label ``count`` heads; pictures in which the labeller finds no face drop out.

    Args:
        render: index -> (image (H, W, 3) uint8, vertices (V, 3) head frame, camera).
        label: image -> (N, 2) pixels or None.
        count: pictures to make.
        progress: called with (done, total).
    """
    heads = []
    for i in range(count):
        image, vertices, camera = render(i)
        points = label(image)
        if points is not None:
            heads.append(LabelledHead(vertices, camera, np.asarray(points, np.float64)))
        if progress:
            progress(i + 1, count)
    return heads


def residuals_mm(
    model: MorphableModel, heads: list[LabelledHead], marks: LandmarkMap
) -> np.ndarray:
    """Return labels minus projected points (H, N, 2): mm at the point's depth, image axes."""
    out = np.zeros((len(heads), len(marks.faces), 2))
    for i, head in enumerate(heads):
        points = _on(head.vertices.astype(np.float64), model.faces, marks)
        cam = to_camera(head.camera, points)
        K = head.camera.intrinsics
        focal = np.array([K[0, 0], K[1, 1]])
        seen = cam[:, :2] / cam[:, 2:] * focal + K[:2, 2]
        out[i] = (head.points - seen) / focal * cam[:, 2:]
    return out


def trimmed_mean(samples: np.ndarray) -> np.ndarray:
    """Return the mean over axis 0 without the samples furthest from the median, point by point."""
    keep = _keep(samples)
    return (samples * keep[..., None]).sum(axis=0) / keep.sum(axis=0)[:, None]


def _trimmed_covariance(samples: np.ndarray) -> np.ndarray:
    """Return the second moment about zero, (N, 2, 2), of the kept samples."""
    keep = _keep(samples)
    moment = np.einsum("hn,hni,hnj->nij", keep, samples, samples)
    return moment / keep.sum(axis=0)[:, None, None]


def _keep(samples: np.ndarray) -> np.ndarray:
    off = np.linalg.norm(samples - np.median(samples, axis=0), axis=-1)
    limit = np.quantile(off, 1 - _TRIM, axis=0)
    return (off <= limit).astype(np.float64)


def _symmetric(points: np.ndarray, partner: np.ndarray) -> np.ndarray:
    return 0.5 * (points + points[partner] * [-1, 1, 1])


def _on(vertices: np.ndarray, faces: np.ndarray, marks: LandmarkMap) -> np.ndarray:
    return np.einsum("nk,nkd->nd", marks.barycentric, vertices[faces[marks.faces]])


def _closest(tree: TriangleTree, rows: np.ndarray, points: np.ndarray) -> LandmarkMap:
    hit = closest_points(tree, points)
    return LandmarkMap(rows[hit.triangle].astype(np.int32), hit.barycentric.astype(np.float32))

"""Bases compared on heads that none of them was built from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.basis.assemble import alignment_weights, read_heads
from facekit.basis.template_model import template_of_model
from facekit.errors import InputError
from facekit.evaluate.heads import model_prediction
from facekit.evaluate.heads import read_heads as read_foreign_heads
from facekit.evaluate.now import score_scan
from facekit.evaluate.projection import project_shape
from facekit.geometry.alignment import align_similarity
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.morphable.model import MorphableModel

_ROUNDS = 6


class HeadError(NamedTuple):
    """How close a model comes to one head, mm.

    Attributes:
        head: its name.
        corresponded_mm: mean distance of corresponding vertices; NaN where none are known.
        surface_mm: mean distance of the head's points to the model's surface.
        now_median_mm: NoW's median; NaN for registered heads.
    """

    head: str
    corresponded_mm: float
    surface_mm: float
    now_median_mm: float


def registered_errors(
    model: MorphableModel,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[HeadError]:
    """Return how close all modes come to the registered neutral heads of a folder.

    On the outer face, by least squares over coefficients without a prior and a rigid motion. The
    head ``source_mean`` of sampled folders is left out.

    Args:
        model: of the heads' topology.
        folder: with ``index.csv``.
        progress: called with (done, total).

    Raises:
        InputError: no heads, or of another topology.
    """
    template = template_of_model(model)
    heads = read_heads(folder, template)
    rows = np.flatnonzero(alignment_weights(template) > 0)
    modes = model.identity_modes[:, rows].reshape(model.num_identity, -1).astype(np.float64)
    mean = model.mean[rows].astype(np.float64)
    local = _local_faces(model.faces, rows, model.num_vertices)
    found = []
    for i, (name, shape) in enumerate(zip(heads.subjects, heads.shapes, strict=True)):
        if name != "source_mean":
            truth = shape[rows].astype(np.float64)
            moved, current = _project(truth, mean, modes)
            near = closest_points(build_tree(current, local), moved)
            found.append(
                HeadError(
                    name,
                    float(np.linalg.norm(moved - current, axis=1).mean()),
                    float(np.sqrt(near.squared_distance).mean()),
                    float("nan"),
                )
            )
        if progress:
            progress(i + 1, len(heads.subjects))
    return found


def foreign_errors(
    model: MorphableModel,
    path: Path,
    *,
    count: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[HeadError]:
    """Return the best projection of all modes onto heads of another topology, scored as NoW does.

    Args:
        model: with landmark set ``now7``.
        path: an ``.npz`` of heads (``evaluate.heads``).
        count: use the first so many heads; None uses all.
        progress: called with (done, total).
    """
    heads = read_foreign_heads(path)
    total = len(heads) if count is None else min(count, len(heads))
    found = []
    for head in range(total):
        scan, marks = heads.scan(head)
        mean = score_scan(scan, marks, model_prediction(model, model.mean))
        start = align_similarity(
            model.mean, mean.align(model.mean.astype(np.float64)), with_scale=True
        )
        best = project_shape(model, scan[mean.crop], start)
        score = score_scan(scan, marks, model_prediction(model, best.vertices))
        surface = float(score.distances.mean())
        median = float(np.median(score.distances))
        found.append(HeadError(f"{path.stem} {head:03d}", float("nan"), surface, median))
        if progress:
            progress(head + 1, total)
    return found


def compare_bases(
    models: dict[str, MorphableModel],
    heads: Path,
    *,
    count: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the JSON document of several models on the same heads.

    Args:
        models: by name.
        heads: a folder of registered heads, or an ``.npz`` of heads of another topology.
        count: see ``foreign_errors``.
        progress: called with (done, total).

    Raises:
        InputError: nothing to compare on.
    """
    document: dict[str, Any] = {"schema": "facekit.bases/1", "heads": str(heads), "models": {}}
    for name, model in models.items():
        if heads.is_dir():
            items = registered_errors(model, heads, progress=progress)
        else:
            items = foreign_errors(model, heads, count=count, progress=progress)
        if not items:
            raise InputError(f"{heads}: expected at least one head to compare on")
        document["models"][name] = {
            "modes": model.num_identity,
            "count": len(items),
            "metrics": {
                key: _mean([getattr(item, key) for item in items])
                for key in ("corresponded_mm", "surface_mm", "now_median_mm")
            },
            "items": [item._asdict() for item in items],
        }
    return document


def _project(
    truth: np.ndarray, mean: np.ndarray, modes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 3) each: the truth moved rigidly, and the model's shape closest to it.

    Gauss-Newton over coefficients and motion together; in turns they would creep where modes turn
    or shift the face.
    """
    moved = align_similarity(truth, mean, with_scale=False).apply(truth)
    current = mean
    for _ in range(_ROUNDS):
        turns = np.cross(np.eye(3)[:, None], moved[None]).reshape(3, -1)
        shifts = np.tile(np.eye(3)[:, None], (1, len(moved), 1)).reshape(3, -1)
        rows = np.concatenate([modes, -turns, -shifts])
        system = rows @ rows.T
        system[np.diag_indices_from(system)] += 1e-9 * np.trace(system) / len(system)
        found = np.linalg.solve(system, rows @ (moved - mean).ravel())
        current = mean + (found[:-6] @ modes).reshape(-1, 3)
        moved = moved @ rotvec_to_matrix(found[-6:-3]).T + found[-3:]
    return moved, current


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(known)), 5) if known else None


def _local_faces(faces: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    number = np.full(count, -1, np.int32)
    number[rows] = np.arange(len(rows))
    local = number[faces]
    return local[(local >= 0).all(axis=1)]

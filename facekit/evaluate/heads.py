"""Shape accuracy on heads of known shape: predictions from renders, and what they compare with.

A head is rendered with its expression; a method predicts the NEUTRAL shape from the picture; the
truth is the head's neutral outer skin, scored by the NoW protocol. Every run also scores the
controls that a number needs to mean anything: the model's mean face, and the best projection of
the true shape onto the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError, ItemError
from facekit.evaluate.now import NowItem as Item
from facekit.evaluate.now import NowPrediction, aggregate, item_details, score_scan
from facekit.evaluate.projection import Projection, corresponded_error, project_shape
from facekit.geometry.alignment import align_similarity
from facekit.io.npz import read_npz
from facekit.metrics.statistics import paired_bootstrap
from facekit.morphable.model import MorphableModel

SCHEMA = "facekit.eval/1"
MEAN_FACE = "mean_face"
# Modes of the controls' projections besides all of them.
PROJECTION_MODES = 40


class Picture(NamedTuple):
    """A rendered head.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ibug68: (68, 2) true landmarks in its pixels, or None; only oracles may look at them.
        name: its file's stem where it is written.
    """

    image: np.ndarray
    ibug68: np.ndarray | None = None
    name: str = ""


Predict = Callable[[Picture], NowPrediction | None]
Given = TypeVar("Given")
Found = TypeVar("Found")
Rest = ParamSpec("Rest")
Render = Callable[[int, float], Picture]


@dataclass(frozen=True, eq=False)
class HeadSet:
    """Heads of one topology with a known neutral shape, mm, +Y up, +Z out of the face.

    Attributes:
        neutral: (N, V, 3) float32.
        scan_faces: (F, 3) int32, the outer visible skin.
        landmark_vertices: (7, 3) int32 and landmark_weights (7, 3): the NoW landmarks as
            weighted vertices.
    """

    neutral: np.ndarray
    scan_faces: np.ndarray
    landmark_vertices: np.ndarray
    landmark_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.neutral)

    def scan(self, head: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a head's skin vertices (n, 3) and NoW landmarks (7, 3)."""
        vertices = self.neutral[head]
        corners = vertices[self.landmark_vertices]
        points = np.einsum("nk,nkd->nd", self.landmark_weights, corners)
        return vertices[np.unique(self.scan_faces)], points


class HeadScore(NamedTuple):
    """One method on one head from one view; ``distances`` None when it gave nothing.

    ``distances`` are NoW's, ``corresponded`` those between points that stand for one place (None
    for a prediction of another topology than the model's): both (n,) mm of the scan's crop.
    """

    head: int
    yaw_deg: float
    method: str
    distances: np.ndarray | None
    details: dict[str, Any]
    corresponded: np.ndarray | None = None


def once_each(
    work: Callable[Concatenate[Given, Rest], Found],
) -> Callable[Concatenate[Given, Rest], Found]:
    """Return ``work`` with its last result kept: methods ask one after the other for one picture.

    It is kept for the first argument, the object itself and not one that equals it.
    """
    last: list[tuple[Given, Found]] = []

    def once(given: Given, /, *rest: Rest.args, **named: Rest.kwargs) -> Found:
        if not last or last[0][0] is not given:
            last[:] = [(given, work(given, *rest, **named))]
        return last[0][1]

    return once


def read_heads(path: Path) -> HeadSet:
    """Read heads from a ``.npz``.

    Keys: ``neutral`` (N, V, 3), times ``quantum_mm`` when that is there; ``scan_faces`` (F, 3);
    ``landmark_vertices`` and ``landmark_weights`` (L, 3), of which ``now7_rows`` (7,) are NoW's.

    Raises:
        InputError: no such file, a key is missing, or arrays do not fit together.
    """
    values = read_npz(path, what="heads of known shape")
    needed = ("neutral", "scan_faces", "landmark_vertices", "landmark_weights", "now7_rows")
    missing = [key for key in needed if key not in values]
    if missing:
        raise InputError(f"{path}: an .npz of heads needs {', '.join(missing)}")
    neutral = check_array(values["neutral"], "neutral", shape=("N", "V", 3))
    neutral = neutral.astype(np.float32) * np.float32(values.get("quantum_mm", 1.0))
    rows = check_array(values["now7_rows"], "now7_rows", shape=(7,), dtype="int")
    count = neutral.shape[1]
    corners = check_faces(values["landmark_vertices"], count, "landmark_vertices")
    weights = check_array(values["landmark_weights"], "landmark_weights", shape=corners.shape)
    if rows.size and (rows.min() < 0 or rows.max() >= len(corners)):
        raise InputError(f"{path}: expected now7_rows in [0, {len(corners)})")
    scan_faces = check_faces(values["scan_faces"], count, "scan_faces")
    if not len(scan_faces) or not len(neutral):
        raise InputError(f"{path}: expected at least one head and one scan face")
    return HeadSet(neutral, scan_faces, corners[rows], weights[rows].astype(np.float64))


def choose_heads(count: int, total: int, seed: int) -> list[int]:
    """Draw ``count`` different heads of ``total``, in ascending order; all when count is 0.

    Raises:
        InputError: more heads than there are.
    """
    if count < 0 or count > total:
        raise InputError(f"count: expected 0 (all) to {total} heads, got {count}")
    if count == 0 or count == total:
        return list(range(total))
    drawn = np.random.default_rng(seed).permutation(total)[:count]
    return sorted(int(i) for i in drawn)


def model_prediction(model: MorphableModel, vertices: np.ndarray) -> NowPrediction:
    """Return vertices (V, 3) of a model's topology with its NoW landmarks."""
    return NowPrediction(vertices, model.faces, model.landmark_points("now7", vertices))


def score_heads(
    heads: HeadSet,
    model: MorphableModel,
    *,
    render: Render,
    methods: Mapping[str, Predict],
    chosen: Sequence[int],
    yaws_deg: Sequence[float],
    progress: Callable[[int, int], None] | None = None,
) -> list[HeadScore]:
    """Render the chosen heads, run the methods, and score them and the controls.

    Args:
        heads: the truth.
        model: the model of the controls.
        render: the picture of (head, yaw in degrees).
        methods: each takes a picture and returns its predicted neutral shape, or None (or
            raises ItemError) when it found no face. Predictions in the model's topology also
            get ``corresponded_mean``: the mean error against corresponding points, mm.
        chosen: heads to use.
        yaws_deg: views of each.
        progress: called with pictures done and their number.
    """
    scores: list[HeadScore] = []
    total = len(chosen) * len(yaws_deg)
    for number, head in enumerate(chosen):
        scan, landmarks = heads.scan(head)
        controls, projection, crop = _controls(model, scan, landmarks)
        for view, yaw in enumerate(yaws_deg):
            # The controls do not see the picture: they stand once for every view, so that all
            # medians are over the same heads with the same weights.
            scores += [HeadScore(head, yaw, name, *outcome) for name, outcome in controls.items()]
            picture = render(head, yaw)
            for name, predict in methods.items():
                outcome = _predict_and_score(predict, picture, scan, landmarks)
                prediction, distances, details = outcome
                error = None
                if prediction is not None and len(prediction.vertices) == model.num_vertices:
                    error = corresponded_error(
                        projection, model.faces, prediction.vertices, scan[crop]
                    )
                    details["corresponded_mean"] = float(error.mean())
                scores.append(HeadScore(head, yaw, name, distances, details, error))
            if progress is not None:
                progress(number * len(yaws_deg) + view + 1, total)
    return scores


def heads_report(
    scores: Sequence[HeadScore], *, main: str, seed: int, protocol: dict[str, Any]
) -> dict[str, Any]:
    """Return the JSON document: the main method's numbers, every method, each view, each item.

    ``comparisons`` has, for each method, the median over its pictures of the difference of its
    NoW median to the mean face's on the same head, with a 95 % bootstrap interval that draws
    whole heads, and the relative change of the pooled median.

    Raises:
        InputError: there is no score of ``main``.
    """
    names = list(dict.fromkeys(score.method for score in scores))
    if main not in names:
        raise InputError(f"report: expected scores of {main!r}, got {', '.join(names) or 'none'}")
    yaws = sorted({score.yaw_deg for score in scores})

    def numbers(method: str, yaw: float | None = None) -> dict[str, Any]:
        mine = [s for s in scores if s.method == method and (yaw is None or s.yaw_deg == yaw)]
        result = aggregate([Item(str(s.head), method, s.distances, {}) for s in mine])
        errors = [s.details[_CORRESPONDED] for s in mine if _CORRESPONDED in s.details]
        result[_CORRESPONDED] = float(np.mean(errors)) if errors else None
        return result

    return {
        "schema": SCHEMA,
        "protocol": {"name": "truth", "main": main, "seed": seed, **protocol},
        "metrics": numbers(main),
        "methods": {name: numbers(name) for name in names},
        "views": {f"{yaw:g}": {name: numbers(name, yaw) for name in names} for yaw in yaws},
        "comparisons": {name: _compare(scores, name, seed) for name in names if name != MEAN_FACE},
        "items": [
            {
                "image": f"head {s.head:03d}, yaw {s.yaw_deg:g}",
                "head": s.head,
                "yaw_deg": s.yaw_deg,
                "method": s.method,
                "missing": s.distances is None,
                **s.details,
            }
            for s in scores
        ],
    }


_CORRESPONDED = "corresponded_mean"
# A control's distances, details and corresponded errors.
_Control = tuple[np.ndarray, dict[str, Any], np.ndarray | None]


def _controls(
    model: MorphableModel, scan: np.ndarray, landmarks: np.ndarray
) -> tuple[dict[str, _Control], Projection, np.ndarray]:
    """Score the mean face and the best projections; also return the projection on all modes."""
    mean = score_scan(scan, landmarks, model_prediction(model, model.mean))
    start = align_similarity(model.mean, mean.align(model.mean.astype(np.float64)), with_scale=True)
    controls: dict[str, _Control] = {MEAN_FACE: (mean.distances, item_details(mean), None)}
    points = scan[mean.crop]
    counts = sorted({min(PROJECTION_MODES, model.num_identity), model.num_identity})
    projection = project_shape(model, points, start, num_modes=counts[0])
    for count in counts:
        if count != counts[0]:
            projection = project_shape(model, points, start, num_modes=count)
        score = score_scan(scan, landmarks, model_prediction(model, projection.vertices))
        name = "projection_all" if count == model.num_identity else f"projection_{count}"
        details = item_details(score) | {"largest_coefficient": _largest(projection.identity)}
        controls[name] = (score.distances, details, None)
    for name, vertices in ((MEAN_FACE, model.mean), ("projection_all", projection.vertices)):
        error = corresponded_error(projection, model.faces, vertices, points)
        controls[name][1][_CORRESPONDED] = float(error.mean())
        controls[name] = (*controls[name][:2], error)
    return controls, projection, mean.crop


def _largest(coefficients: np.ndarray) -> float:
    return float(np.abs(coefficients).max(initial=0.0))


def _predict_and_score(
    predict: Predict, picture: Picture, scan: np.ndarray, landmarks: np.ndarray
) -> tuple[NowPrediction | None, np.ndarray | None, dict[str, Any]]:
    try:
        prediction = predict(picture)
        if prediction is None:
            raise ItemError("no face was found")
        score = score_scan(scan, landmarks, prediction)
    except (ItemError, InputError) as error:
        return None, None, {"error": str(error)}
    return prediction, score.distances, item_details(score)


def _compare(scores: Sequence[HeadScore], method: str, seed: int) -> dict[str, Any] | None:
    mean = {(s.head, s.yaw_deg): s for s in scores if s.method == MEAN_FACE}
    pairs = [
        (s.details["median"], mean[s.head, s.yaw_deg].details["median"], s.head)
        for s in scores
        if s.method == method and s.distances is not None
    ]
    if not pairs:
        return None
    mine, base, groups = (np.array(column) for column in zip(*pairs, strict=True))
    interval = paired_bootstrap(mine, base, groups=groups, statistic="median", seed=seed)
    own = np.concatenate(
        [s.distances for s in scores if s.method == method and s.distances is not None]
    )
    found = {(s.head, s.yaw_deg) for s in scores if s.method == method and s.distances is not None}
    reference = np.concatenate(
        [s.distances for key, s in mean.items() if key in found and s.distances is not None]
    )
    return {
        "than": MEAN_FACE,
        "median_difference_mm": interval.estimate,
        "low_mm": interval.low,
        "high_mm": interval.high,
        "level": interval.level,
        "relative_percent": 100 * float(np.median(own) / np.median(reference) - 1),
        "pictures": len(pairs),
        "heads": len(np.unique(groups)),
        "better_on_percent": 100 * float((mine < base).mean()),
    }

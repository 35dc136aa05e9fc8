from typing import NamedTuple

import numpy as np
import pytest
from now_twin import surface
from realy_case import UNIT, face_units, keypoints, regions, snapped
from scan_case import closest_twin, egg
from scipy.spatial.transform import Rotation

from facekit.errors import InputError, ItemError
from facekit.evaluate.nonrigid import KeyTargets, deform_to_points
from facekit.evaluate.realy import (
    DENSE_KEYS,
    REGIONS,
    RIGID_KEYS,
    SEVEN,
    RealyPrediction,
    Region,
    align_globally,
    align_region,
    loose_similarity,
    merge_vertices,
    score_realy,
    score_region,
)
from facekit.geometry.mesh import vertex_normals

# The benchmark's key points, written out from its description and not taken from the code.
TWIN_RIGID = {
    "nose": [27, 28, 29, 30, 31, 32, 33, 34, 35, 70, 71],
    "mouth": [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 64],
    "forehead": [36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47]
    + [17, 18, 19, 20, 21, 22, 23, 24, 25, 26],
    "cheek": [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 64]
    + [76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9],
}
TWIN_DENSE = {
    "nose": [27, 28, 29, 30, 31, 32, 33, 34, 35],
    "mouth": TWIN_RIGID["mouth"],
    "forehead": TWIN_RIGID["forehead"],
    "cheek": None,
}


class TwinKeys(NamedTuple):
    vertices: np.ndarray
    points: np.ndarray


def deform_twin(vertices, faces, targets, keys):
    """Dense least squares over the stacked rows, one row an edge coordinate or a vertex."""
    n = len(vertices)
    edges = sorted({tuple(sorted((f[k], f[(k + 1) % 3]))) for f in faces for k in range(3)})
    current, X, previous, solves = vertices.copy(), np.ones((4 * n, 3)), np.zeros((4 * n, 3)), 0

    def smooth(alpha, balance):
        rows = np.zeros((4 * len(edges), 4 * n))
        for e, (i, j) in enumerate(edges):
            for k in range(4):
                rows[4 * e + k, 4 * i + k] = alpha * balance[k]
                rows[4 * e + k, 4 * j + k] = -alpha * balance[k]
        return rows

    def data(weights, places):
        rows = np.zeros((n, 4 * n))
        for i in range(n):
            rows[i, 4 * i : 4 * i + 4] = weights[i] * np.append(current[i], 1)
        return rows, weights[:, None] * places

    def key_data(weight):
        weights, places = np.zeros(n), np.zeros((n, 3))
        for v, p in zip(keys.vertices, keys.points, strict=True):
            weights[v], places[v] = weight, p
        return data(weights, places)

    def solve(parts):
        A = np.vstack([a for a, _ in parts])
        B = np.vstack([b for _, b in parts])
        return np.linalg.lstsq(A, B, rcond=None)[0]

    def moved(X):
        return np.stack([np.append(current[i], 1) @ X[4 * i : 4 * i + 4] for i in range(n)])

    if keys is not None:
        A = smooth(150.0, [2, 2, 3, 2])
        previous, X = X, solve([(A, np.zeros((len(A), 3))), key_data(50.0)])
        current, solves = moved(X), 1
    for stage in range(3):
        A = smooth(50 * np.exp(-0.5 * stage), [1, 1, 1, 1])
        step = 0
        while np.linalg.norm(X - previous) > 0.5**stage and not (keys is not None and step == 11):
            previous = X
            gaps = np.linalg.norm(current[:, None] - targets[None], axis=-1)
            weights = (gaps.min(1) < max(2 * gaps.min(1).mean(), 1)).astype(float)
            parts = [(A, np.zeros((len(A), 3))), data(weights, targets[gaps.argmin(1)])]
            if keys is not None:
                parts.append(key_data(5 * np.exp(-0.9 * solves)))
            X = solve(parts)
            current = moved(X)
            step, solves = step + 1, solves + 1
    return current, solves


def kabsch_twin(source, target):
    x, y = source - source.mean(0), target - target.mean(0)
    U, _, V = np.linalg.svd(y.T @ x)
    return U @ V, target.mean(0) - U @ V @ source.mean(0)


def region_twin(prediction, region, keys, name):
    """The whole of one region with brute-force closest points."""
    vertices, marks = prediction.vertices, prediction.keypoints
    rows = TWIN_RIGID[name]
    times = int(len(region.vertices) / len(rows) / (4 if name == "cheek" else 1))
    before = 0.0
    for _ in range(101):
        where, *_ = closest_twin(region.vertices, vertices, prediction.faces)
        source = np.vstack([where] + [marks[rows]] * times)
        target = np.vstack([region.vertices] + [keys[rows]] * times)
        R, t = kabsch_twin(source, target)
        error = ((source @ R.T + t - target) ** 2).sum(1).mean()
        if abs(error - before) < 1e-6:
            break
        before = error
        vertices = (vertices @ R.T + t).astype(np.float32).astype(float)
        marks = marks @ R.T + t
    where, *_ = closest_twin(region.vertices, vertices, prediction.faces)
    targets = None
    if TWIN_DENSE[name] is not None:
        dense = TWIN_DENSE[name]
        gaps = np.linalg.norm(keys[dense][:, None] - region.vertices[None], axis=-1)
        targets = TwinKeys(gaps.argmin(1), marks[dense])
    deformed, _ = deform_twin(region.vertices, region.faces, where, targets)
    where, *_ = closest_twin(deformed, vertices, prediction.faces)
    return np.linalg.norm(where - region.vertices, axis=1)


def global_twin(vertices, marks, keys):
    """The similarity of seven key points: a rotation that may mirror, an L1 ratio of sizes."""
    seven = [36, 39, 42, 45, 33, 48, 54]
    x, y = marks[seven], keys[seven]
    turn, _ = kabsch_twin(x, y)
    turned = (x - x.mean(0)) @ turn.T
    scale = np.abs(y - y.mean(0)).sum() / np.abs(turned).sum()
    shift = np.mean([y[i] - scale * turn @ x[i] for i in range(7)], axis=0)
    return scale * vertices @ turn.T + shift, scale * marks @ turn.T + shift


def test_all_regions_of_a_face_agree_with_the_slow_twin():
    """From files' coordinates to the four numbers of the table, in another pose and unit."""
    keys, scan = keypoints(), regions(12, 16)
    vertices, faces = face_units(9, 11, seed=2, noise=1.2)
    turn = 40 * Rotation.from_rotvec([0.4, -0.9, 0.3]).as_matrix()
    noisy = keys + np.random.default_rng(6).normal(scale=0.08, size=keys.shape)
    prediction = RealyPrediction(vertices @ turn.T + 7, faces, noisy @ turn.T + 7)
    scores, fit = score_realy(prediction, scan, keys)
    aligned, marks = global_twin(prediction.vertices, prediction.keypoints, keys)
    np.testing.assert_allclose(fit.apply(prediction.vertices), aligned, atol=1e-9)
    for name in ("nose", "mouth", "forehead", "cheek"):
        moved = RealyPrediction(aligned, faces, marks)
        expected = region_twin(moved, scan[name], keys, name)
        assert scores[name].error == pytest.approx(expected.mean(), abs=2e-5), name


def test_the_key_points_are_the_benchmarks():
    assert {name: list(rows) for name, rows in RIGID_KEYS.items()} == TWIN_RIGID
    dense = {name: rows and list(rows) for name, rows in DENSE_KEYS.items()}
    assert dense == TWIN_DENSE


@pytest.mark.parametrize("with_keys", [True, False])
def test_the_deformation_agrees_with_a_dense_twin(with_keys):
    rng = np.random.default_rng(1)
    vertices, faces = face_units(8, 10)
    targets = vertices * 1.05 + rng.normal(scale=0.1, size=vertices.shape)
    chosen = np.array([3, 20, 41, 60, 75, 20])
    keys = KeyTargets(chosen, vertices[chosen] + 0.2) if with_keys else None
    found = deform_to_points(vertices, faces, targets, keys=keys)
    expected, solves = deform_twin(vertices, faces, targets, keys)
    assert found.solves == solves
    np.testing.assert_allclose(found.vertices, expected, atol=1e-7)


@pytest.mark.parametrize("name", ["nose", "cheek"])
def test_a_region_agrees_with_the_slow_twin(name):
    region, keys = regions(16, 20)[name], keypoints()
    vertices, faces = face_units(10, 13, seed=3, noise=1.5)
    turn = Rotation.from_rotvec([0.03, -0.02, 0.04]).as_matrix()
    noisy = keys + np.random.default_rng(5).normal(scale=0.05, size=keys.shape)
    prediction = RealyPrediction(vertices @ turn.T + 0.1, faces, noisy @ turn.T + 0.1)
    result = score_region(prediction, region, keys, name)
    expected = region_twin(prediction, region, keys, name)
    # Both keep float32 vertices; the twin's keep another rounding of the last place.
    np.testing.assert_allclose(np.sort(result.distances), np.sort(expected), atol=2e-5)
    assert result.error == pytest.approx(expected.mean(), abs=1e-6)


def test_pose_and_scale_of_a_perfect_prediction_do_not_matter():
    keys = snapped()
    vertices, faces = surface(22, 28)
    turn = Rotation.from_rotvec([0.5, 1.0, -2.0]).as_matrix()
    prediction = RealyPrediction(0.3 * vertices @ turn.T + 5, faces, 0.3 * UNIT * keys @ turn.T + 5)
    scores, fit = score_realy(prediction, regions(), keys)
    assert set(scores) == set(REGIONS)
    assert max(score.error for score in scores.values()) < 1e-5
    assert fit.scale == pytest.approx(1 / (0.3 * UNIT))
    assert not fit.reflected


def test_a_parallel_surface_is_off_by_its_distance():
    small = egg()
    vertices = small.vertices / UNIT
    n = vertex_normals(vertices, small.faces).astype(float)
    keys = keypoints()
    outer = RealyPrediction(vertices + 0.3 * n, small.faces, keys)
    result = score_region(outer, Region(vertices, small.faces), keys, "cheek")
    assert result.error == pytest.approx(0.3, rel=0.03)


def test_the_scale_is_a_ratio_of_absolute_sums():
    source = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0.0]])
    target = np.array([[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0.0]])
    fit = loose_similarity(source, target, with_scale=True)
    np.testing.assert_allclose(fit.rotation @ [1, 0, 0], [1, 0, 0], atol=1e-12)
    assert fit.scale == pytest.approx(8 / 4)  # least squares would give the same sums' ratio 2,
    uneven = target * [1, 3, 1] + [0, 0, 0]
    assert loose_similarity(source, uneven, with_scale=True).scale == pytest.approx(3)
    # ... but here the squares would give (2*2*1 + 1*4)/(...): the absolute ratio stays 10/6.
    source = np.array([[2, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0.0]])
    target = np.array([[4, 0, 0], [-4, 0, 0], [0, 1, 0], [0, -1, 0.0]])
    fit = loose_similarity(source, target, with_scale=True)
    assert fit.scale == pytest.approx(10 / 6)
    assert fit.scale != pytest.approx((4 * 2 * 2 + 1 * 2) / (4 * 2 + 1 * 2))


def test_the_global_alignment_uses_seven_points_and_may_mirror():
    keys = keypoints()
    prediction = RealyPrediction(*face_units(), keypoints=keys * [-1, 1, 1])
    fit = align_globally(prediction, keys)
    assert fit.reflected
    wild = keys + 5
    wild[list(SEVEN)] = keys[list(SEVEN)]
    assert align_globally(prediction._replace(keypoints=wild), keys).scale == pytest.approx(1)


def test_regional_alignment_is_rigid_and_counts_keys_like_vertices():
    keys = keypoints()
    vertices, faces = face_units(22, 28)
    turn = Rotation.from_rotvec([0.02, 0.03, 0]).as_matrix()
    moved = RealyPrediction(vertices @ turn.T + 0.2, faces, keys @ turn.T + 0.2)
    result, steps = align_region(moved, regions()["mouth"], keys, "mouth")
    assert 0 < steps <= 100
    before = np.linalg.norm(moved.vertices[0] - moved.vertices[-1])
    after = np.linalg.norm(result.vertices[0] - result.vertices[-1])
    assert after == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(result.vertices, vertices, atol=0.02)


def test_equal_vertices_are_joined():
    region = Region(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [9, 9, 9], [1, 1, 0.0]]),
        np.array([[0, 1, 2], [3, 5, 2]], np.int32),
    )
    joined = merge_vertices(region)
    assert len(joined.vertices) == 4
    np.testing.assert_array_equal(joined.vertices[joined.faces], region.vertices[region.faces])


def test_the_template_mask_limits_what_errors_are_measured_to():
    keys = snapped()
    vertices, faces = face_units(22, 28)
    upper = vertices[faces][:, :, 1].min(axis=1) > -45 / UNIT
    prediction = RealyPrediction(vertices, faces, keys, scored=upper)
    region = regions()["mouth"]
    assert score_region(prediction._replace(scored=None), region, keys, "mouth").error < 1e-5
    assert score_region(prediction, region, keys, "mouth").error > 0.2


def test_what_cannot_be_scored():
    keys = keypoints()
    prediction = RealyPrediction(*face_units(), keypoints=keys)
    with pytest.raises(ItemError, match="no faces"):
        score_region(prediction, Region(np.zeros((3, 3)), np.zeros((0, 3), int)), keys, "nose")
    with pytest.raises(ItemError, match="mask leaves no face"):
        none = np.zeros(len(prediction.faces), bool)
        score_region(prediction._replace(scored=none), regions()["nose"], keys, "nose")
    with pytest.raises(InputError, match="key points"):
        score_realy(prediction._replace(keypoints=keys[:68]), regions(), keys)
    with pytest.raises(ItemError, match="all equal"):
        score_realy(prediction._replace(keypoints=np.ones((85, 3))), regions(), keys)
    island = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [50, 0, 0], [51, 0, 0], [50, 1, 0.0]])
    with pytest.raises(ItemError, match="not determined"):
        deform_to_points(island, np.array([[0, 1, 2], [3, 4, 5]]), island[:3])

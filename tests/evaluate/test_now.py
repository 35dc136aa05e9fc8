import logging

import numpy as np
import pytest
from now_twin import height, landmarks, point_to_mesh, refine_twin, small_case
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facekit import threads
from facekit.errors import InputError, ItemError
from facekit.evaluate.now import (
    NowItem,
    NowOptions,
    NowPrediction,
    aggregate,
    crop_scan,
    report,
    score_scan,
)
from facekit.evaluate.now_alignment import metrical_start, procrustes, refine

# The twin's Jacobian is numeric, mm.
TWIN_TOLERANCE = 1e-3


def score(case, **options):
    scan, _, marks, vertices, faces, prediction_marks = case
    prediction = NowPrediction(vertices, faces, prediction_marks)
    return score_scan(scan, marks, prediction, options=NowOptions(**options))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "options",
    [{}, {"metrical": True}, {"metrical": True, "reference_quirks": True}],
    ids=["scale", "metrical", "metrical quirk"],
)
def test_agrees_with_the_slow_twin(seed, options):
    case = small_case(seed)
    result = score(case, **options)
    scan, _, _, vertices, faces, _ = case
    points, costs = refine_twin(
        scan[result.crop],
        result.start.apply(vertices),
        faces,
        with_scale=not options.get("metrical", False),
    )[1:]
    assert result.refinement.steps == len(costs) - 1
    np.testing.assert_allclose(result.refinement.costs, costs, rtol=1e-4)
    np.testing.assert_allclose(result.distances, points, atol=TWIN_TOLERANCE)


def test_distances_are_those_of_the_aligned_surface():
    case = small_case(2)
    result = score(case)
    aligned = result.align(case[3])
    np.testing.assert_allclose(
        result.distances, point_to_mesh(case[0][result.crop], aligned, case[4]), atol=1e-9
    )


def test_ends_near_the_optimum_that_scipy_finds():
    scan, _, _, vertices, faces, marks = small_case(3, scan_points=(12, 16))
    start = procrustes(marks, landmarks())
    moved = start.apply(vertices)
    result = refine(scan, moved, faces)

    def residual(p):
        rotation = Rotation.from_rotvec(p[1:4]).as_matrix()
        return point_to_mesh(scan, p[0] * moved @ rotation.T + p[4:7], faces, candidates=24)

    best = least_squares(residual, [1, 0, 0, 0, 0, 0, 0], x_scale=[0.01] * 4 + [1] * 3)
    assert 2 * best.cost <= result.costs[-1] * (1 + 1e-9)
    assert result.costs[-1] <= 2 * best.cost * 1.01
    assert result.costs[-1] < 0.9 * result.costs[0]


def test_pose_and_scale_of_the_prediction_do_not_matter():
    case = small_case(4)
    plain = score(case)
    pose = Rotation.from_rotvec([1, -2, 0.5]).as_matrix()

    def moved(points):
        return 0.001 * points @ pose.T + [5, 6, 7]

    other = score((*case[:3], moved(case[3]), case[4], moved(case[5])))
    assert other.refinement.steps == plain.refinement.steps
    np.testing.assert_allclose(other.distances, plain.distances, atol=1e-6)
    assert other.start.scale == pytest.approx(1000 * plain.start.scale)


def test_metrical_depends_on_size_but_not_on_the_origin_or_unit():
    case = small_case(5)
    plain = score(case, metrical=True)
    far = score((*case[:3], case[3] + 900, case[4], case[5] + 900), metrical=True)
    np.testing.assert_allclose(far.distances, plain.distances, atol=1e-6)
    metres = score((*case[:3], case[3] / 1000, case[4], case[5] / 1000), metrical=True, unit="m")
    np.testing.assert_allclose(metres.distances, plain.distances, atol=1e-6)
    larger = score((*case[:3], 1.4 * case[3], case[4], 1.4 * case[5]), metrical=True)
    assert np.median(larger.distances) > 1.5 * np.median(plain.distances)
    assert plain.refinement.transform.scale == 1
    quirk = score((*case[:3], case[3] + 900, case[4], case[5] + 900), metrical=True,
                  reference_quirks=True)  # fmt: skip
    assert quirk.refinement.costs[0] > 2 * far.refinement.costs[0]


def test_thread_count_does_not_matter():
    case = small_case(6, scan_points=(60, 80))
    results = []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            results.append(score(case).distances)
    finally:
        threads.set_num_threads(None)
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


def test_perfect_prediction_scores_zero():
    scan, faces, marks, *_ = small_case(7)
    result = score((scan, faces, marks, 0.5 * scan - 7, faces, 0.5 * marks - 7))
    assert result.distances.max() < 1e-5
    assert not result.start.reflected


def test_crop_is_the_ball_of_the_protocol():
    marks = landmarks()
    scan = small_case(8)[0]
    bridge = marks[[1, 2]].mean(0)
    centre = marks[4] + 0.3 * (bridge - marks[4])
    extent = np.linalg.norm(marks[0] - marks[3]) + np.linalg.norm(bridge - marks[4])
    for factor in (1.4, 1.2):
        inside = np.linalg.norm(scan - centre, axis=1) <= factor * extent / 2
        assert crop_scan(scan, marks, factor=factor).tolist() == np.flatnonzero(inside).tolist()


def test_procrustes_recovers_a_similarity_and_may_mirror(caplog):
    marks = landmarks()
    rotation = Rotation.from_rotvec([0.4, 1.1, -0.3]).as_matrix()
    fit = procrustes(marks, 3 * marks @ rotation.T + [1, 2, 3])
    np.testing.assert_allclose(fit.rotation, rotation, atol=1e-12)
    assert fit.scale == pytest.approx(3)
    np.testing.assert_allclose(fit.translation, [1, 2, 3], atol=1e-9)
    mirrored = marks * [-1, 1, 1]
    fit = procrustes(mirrored, marks)
    assert fit.reflected
    np.testing.assert_allclose(fit.apply(mirrored), marks, atol=1e-9)
    scan, _, _, vertices, faces, prediction_marks = small_case(9)
    flip = np.array([-1, 1, 1])
    with caplog.at_level(logging.WARNING, logger="facekit"):
        result = score((scan, None, marks, vertices * flip, faces, prediction_marks * flip))
    assert result.start.reflected
    assert "mirrors the prediction" in caplog.text


def test_metrical_start_puts_the_means_together_unless_told_otherwise():
    target = landmarks()
    source = 0.5 * target + [100, 0, 0]
    fit = procrustes(source, target)
    sane = metrical_start(fit, source, target, unit_mm=1.0, quirk=False)
    np.testing.assert_allclose(sane.apply(source).mean(0), target.mean(0), atol=1e-9)
    quirk = metrical_start(fit, source, target, unit_mm=1.0, quirk=True)
    np.testing.assert_allclose(
        quirk.apply(source).mean(0) - target.mean(0),
        (1 - fit.scale) * fit.rotation @ source.mean(0),
        atol=1e-9,
    )


def test_rejections():
    case = small_case(10)
    with pytest.raises(InputError, match="unit"):
        NowOptions(unit="km")
    with pytest.raises(InputError, match="another scan or unit"):
        score((case[0] * 1000, *case[1:]))
    with pytest.raises(InputError, match="mesh with faces"):
        score((*case[:4], np.zeros((0, 3), np.int32), case[5]))
    with pytest.raises(InputError, match="landmarks of one set are equal"):
        score((*case[:5], np.ones((7, 3))))
    with pytest.raises(InputError, match="shape"):
        score((*case[:5], case[5][:5]))
    with pytest.raises(InputError, match="got none"):
        refine(np.zeros((0, 3)), case[3], case[4])
    with pytest.raises(InputError, match="at least 3"):
        procrustes(np.zeros((2, 3)), np.zeros((2, 3)))


def test_a_prediction_that_shrinks_to_nothing_fails_as_an_item():
    points = np.random.default_rng(0).normal(size=(50, 3))
    far = 1e7 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(ItemError, match="shrank"):
        refine(points * 1e-3, far + 1e7, np.array([[0, 1, 2]]), max_iterations=200)


def test_aggregation_concatenates_and_counts_the_missing():
    items = [
        NowItem("a", "selfie", np.array([1, 2, 3, 4, 5], np.float32), {"x": 1}),
        NowItem("b", "selfie", None, {"error": "gone"}),
        NowItem("c", "occlusion", np.array([10.0], np.float32), {}),
    ]
    total = aggregate(items)
    assert total["median"] == pytest.approx(3.5)
    assert total["mean"] == pytest.approx(25 / 6)
    assert (total["count"], total["missing"], total["points"]) == (2, 1, 6)
    document = report(items, protocol={"name": "now"})
    assert document["groups"]["selfie"]["missing"] == 1
    assert document["groups"]["occlusion"]["median"] == 10
    assert document["items"][1] == {
        "image": "b", "group": "selfie", "missing": True, "error": "gone",
    }  # fmt: skip
    assert aggregate(items[1:2])["median"] is None
    with pytest.raises(ItemError, match="no image"):
        report([], protocol={})


def test_the_case_is_a_face():
    assert height(0, -8) > height(30, -8) > height(70, -8)

import numpy as np
import pytest
from dense_case import exact_planes, plane_depth, ring, views_of

from facekit.capture.patches import make_matching, propagate, refine
from facekit.capture.views import pair_rows
from facekit.geometry.sampling import sample_image
from facekit.threads import limit_threads

NORMAL = np.array([0.25, -0.15, 0.95]) / np.linalg.norm([0.25, -0.15, 0.95])
NONE = np.zeros((0, 2), np.int64)


@pytest.fixture(scope="module")
def scene():
    cameras = ring(3)
    depths = [plane_depth(camera, NORMAL, 5.0) for camera in cameras]
    return cameras, depths, views_of(cameras, depths)


def matching_of(scene, **changes):
    cameras, _, views = scene
    values = {
        "focal": cameras[1].intrinsics[0, 0],
        "wanted": np.ones(views[1].grey.shape, bool),
        "radius": 3,
        "best": 2,
    }
    pairs = pair_rows(cameras[1], [cameras[0], cameras[2]])
    return make_matching(
        views[1].grey, [views[0].grey, views[2].grey], pairs, **{**values, **changes}
    )


def twin_score(view, other, row, plane, x, y, radius):
    """Correlation of a weighted window, written plainly."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    here = view[y + dy, x + dx].astype(float).ravel()
    w = (plane[0] + plane[1] * dx + plane[2] * dy).ravel()
    A, b = row[:9].reshape(3, 3), row[9:]
    p = A @ np.stack([(x + dx).ravel(), (y + dy).ravel(), np.ones(dx.size)]) + np.outer(b, w)
    there = sample_image(np.float32(other), p[0] / p[2], p[1] / p[2])[:, 0].astype(float)
    weight = 1 / (1 + ((here - view[y, x]) / 40.0) ** 4)
    weight /= weight.sum()
    f, h = here - weight @ here, there - weight @ there
    return weight @ (f * h) / np.sqrt((weight @ f**2) * (weight @ h**2))


def test_scores_are_those_of_a_plain_twin(scene):
    _, depths, views = scene
    planes = exact_planes(depths[1])
    planes[..., 0] *= 1.01
    planes[..., 1] *= 0.5
    matching = matching_of(scene)
    same, score = propagate(matching, planes, NONE)
    np.testing.assert_array_equal(same[score > -1], planes[score > -1])
    for x, y in ((20, 30), (50, 47), (70, 60)):
        expected = np.mean(
            [
                twin_score(views[1].grey, views[k].grey, row, planes[y, x], x, y, 3)
                for k, row in zip((0, 2), matching.pairs, strict=True)
            ]
        )
        # Neighbours are sampled from words of 1/256 grey level, and cv2 rounds places to 1/32.
        assert score[y, x] == pytest.approx(expected, abs=0.01)
    _, refined_score, _ = refine(matching, planes, steps=0, slope=0.3)
    np.testing.assert_allclose(refined_score[10:-10, 10:-10], score[10:-10, 10:-10], atol=1e-4)


def test_refinement_reaches_hundredths_of_a_pixel(scene):
    _, depths, _ = scene
    truth = exact_planes(depths[1])
    wrong = truth.copy()
    wrong[..., 0] *= 1 + 0.004 * np.random.default_rng(0).choice([-1, 1], truth.shape[:2])
    wrong[..., 1:] = 0
    planes, score, deviation = refine(matching_of(scene), wrong, steps=6, slope=0.5)
    inner = np.s_[12:-12, 12:-12]
    # At 28 degrees between the neighbours a pixel of disparity is about 3 mm here.
    there = planes[inner][..., 0] > 0
    before = np.abs(1 / wrong[inner][..., 0] - depths[1][inner])
    after = np.abs(1 / planes[inner][..., 0][there] - depths[1][inner][there])
    assert there.mean() > 0.9
    assert np.median(before) > 2
    assert np.median(after) < 0.06
    assert np.median(score[inner][there]) > 0.98
    assert (deviation[inner] > 0)[there].all()


def test_a_good_plane_spreads_over_bad_ones(scene):
    _, depths, _ = scene
    truth = exact_planes(depths[1])
    planes = truth.copy()
    planes[..., 0] *= 1.05
    planes[40, 40] = truth[40, 40]
    shifts = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    matching = matching_of(scene)
    for _ in range(8):
        planes, _ = propagate(matching, planes, shifts)
    off = np.abs(planes[..., 0] / truth[..., 0] - 1)
    # Eight rounds of one pixel fill the diamond about the good one.
    y, x = np.mgrid[:96, :96]
    assert (off[abs(x - 40) + abs(y - 40) <= 8] < 0.005).mean() > 0.95


def test_results_do_not_depend_on_the_number_of_threads(scene):
    _, depths, _ = scene
    planes = exact_planes(depths[1])
    planes[..., 0] *= 1.003
    results = []
    for count in (1, 3):
        with limit_threads(count):
            results.append(refine(matching_of(scene), planes, steps=3, slope=0.3))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pixels_that_are_not_wanted_and_flat_windows_get_nothing(scene):
    _, depths, views = scene
    planes = exact_planes(depths[1])
    wanted = np.zeros(planes.shape[:2], bool)
    wanted[30:40, 30:40] = True
    _, score, _ = refine(matching_of(scene, wanted=wanted), planes, steps=2, slope=0.3)
    assert set(np.argwhere(score > -1).min(0)) == {30} and (score > -1).sum() == 100
    cameras = scene[0]
    flat = make_matching(
        np.full((96, 96), 90, np.float32),
        [views[0].grey],
        pair_rows(cameras[1], [cameras[0]]),
        focal=400.0,
        wanted=np.ones((96, 96), bool),
        radius=3,
        best=1,
    )
    assert (propagate(flat, planes, NONE)[1] == -1).all()
    planes[...] = 0
    assert (refine(matching_of(scene), planes, steps=2, slope=0.3)[1] == -1).all()

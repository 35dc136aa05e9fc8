import numpy as np
import pytest
from dense_case import ball_depth, exact_planes, plane_depth, ring, views_of

from facekit.capture.depth import DepthOptions, curvature, estimate_depth
from facekit.errors import InputError

SMALL = DepthOptions(levels=1, radii=(3, 2), steps=(3, 3))


def test_a_slanted_plane_is_found():
    cameras = ring(3)
    normal = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])
    depths = [plane_depth(camera, normal, 4.0) for camera in cameras]
    views = views_of(cameras, depths, noise=1.5)
    found = estimate_depth(views[1], [views[0], views[2]], 450, 750, SMALL)
    inner = np.s_[10:-10, 10:-10]
    there = found.planes[inner][..., 0] > 0
    error = 1 / found.planes[inner][..., 0][there] - depths[1][inner][there]
    assert there.mean() > 0.97
    # A pixel is 1.5 mm on the plane.
    assert np.median(np.abs(error)) < 0.15
    truth = exact_planes(depths[1])[inner]
    slopes = np.abs(found.planes[inner] - truth)[there][:, 1:]
    assert np.median(slopes) < 0.15 * np.abs(truth[..., 1:]).max()


def test_windows_that_bend_with_a_ball_have_less_bias():
    cameras = ring(5, size=128, step_deg=10.0, focal=500.0)
    depths = [ball_depth(camera, 60.0) for camera in cameras]
    views = views_of(cameras, depths, size=8.0)
    bias = {}
    for curved in (False, True):
        options = DepthOptions(levels=1, radii=(4, 2), steps=(3, 3), curved=curved)
        found = estimate_depth(views[2], [views[k] for k in (0, 1, 3, 4)], 500, 660, options)
        w = found.planes[40:88, 40:88, 0]
        assert (w > 0).all()
        bias[curved] = np.median(1 / w - depths[2][40:88, 40:88])
    # A plane through a convex cap lies behind its top.
    assert bias[False] > 0.03
    assert abs(bias[True]) < 0.4 * bias[False]


def test_curvature_is_zero_at_breaks_and_right_inside():
    y, x = np.mgrid[:60, :60].astype(float)
    planes = np.zeros((60, 60, 3), np.float32)
    planes[..., 0] = 1e-3 + 1e-8 * (x - 30) ** 2 + 2e-8 * (y - 30) * (x - 30)
    bend = curvature(planes, 400.0)
    np.testing.assert_allclose(bend[30, 30], [2e-8, 2e-8, 0], atol=2e-9)
    planes[:, 30:, 0] *= 2
    assert not curvature(planes, 400.0)[30, 30].any()
    planes[30, 30, 0] = 0
    assert not curvature(planes, 400.0)[30, 26].any()


def test_bad_input_is_refused():
    cameras = ring(2)
    views = views_of(cameras, [plane_depth(c, np.array([0, 0, 1.0]), 0.0) for c in cameras])
    with pytest.raises(InputError, match="neighbour"):
        estimate_depth(views[0], [], 400, 700)
    with pytest.raises(InputError, match="near"):
        estimate_depth(views[0], [views[1]], 700, 400)

import numpy as np
import pytest
from dense_case import ball_depth, exact_planes, ring, views_of

from facekit.capture.depth import DepthMap
from facekit.capture.fusion import FusionOptions, fuse

RADIUS = 60.0


def maps_of(depths):
    maps = []
    for depth in depths:
        planes = exact_planes(depth)
        # Differences across the outline are no slopes.
        steep = np.abs(planes[..., 1:]).max(-1) > 2e-5
        planes[steep] = 0
        there = (planes[..., 0] > 0).astype(np.float32)
        maps.append(DepthMap(planes, there, 1e-7 * there))
    return maps


@pytest.fixture(scope="module")
def ball():
    cameras = ring(5, size=128, step_deg=15.0, focal=500.0)
    depths = [ball_depth(camera, RADIUS) for camera in cameras]
    return views_of(cameras, depths), maps_of(depths)


ALL = [[j for j in range(5) if j != i] for i in range(5)]


def test_points_lie_on_the_ball_once_each(ball):
    views, maps = ball
    cloud = fuse(views, maps, ALL)
    radii = np.linalg.norm(cloud.points, axis=1)
    assert np.abs(radii - RADIUS).max() < 0.1
    assert np.einsum("nc,nc->n", cloud.normals, cloud.points / radii[:, None]).min() > 0.98
    assert cloud.views.min() >= 3
    # A pixel is 1.2 mm: each spot is there about once, not once for each view that sees it.
    front = np.linalg.norm(cloud.points - [0, 0, RADIUS], axis=1) < 20
    pixels = np.pi * 20**2 / 1.08**2
    assert 0.7 * pixels < front.sum() < 1.4 * pixels


def test_an_injected_wrong_depth_is_rejected(ball):
    views, maps = ball
    planes = maps[2].planes.copy()
    planes[50:70, 50:70, 0] *= 1.02
    wrong = [*maps[:2], maps[2]._replace(planes=planes), *maps[3:]]
    cloud = fuse(views, wrong, ALL)
    assert np.abs(np.linalg.norm(cloud.points, axis=1) - RADIUS).max() < 0.1
    # With nobody asked, the wrong depth is believed.
    alone = fuse(views, wrong, [[]] * 5, FusionOptions(least_views=0))
    assert np.abs(np.linalg.norm(alone.points, axis=1) - RADIUS).max() > 5


def test_precise_views_count_more(ball):
    views, maps = ball
    moved = []
    for k, depth in enumerate(maps):
        planes = depth.planes.copy()
        planes[..., 0] *= 1 + (2e-4 if k == 2 else 0)
        deviation = depth.deviation * (1 if k == 2 else 30)
        moved.append(DepthMap(planes, depth.score, deviation))
    cloud = fuse(views, moved, ALL)
    middle = np.linalg.norm(cloud.points - [0, 0, RADIUS], axis=1) < 10
    # The precise view says 0.11 mm nearer.
    off = np.linalg.norm(cloud.points[middle], axis=1) - RADIUS
    assert np.median(off) == pytest.approx(0.11, abs=0.02)


def test_too_few_agreeing_views_leave_nothing(ball):
    views, maps = ball
    assert not len(fuse(views, maps, ALL, FusionOptions(least_views=5)).points)
    assert not len(fuse(views, maps, [[]] * 5).points)

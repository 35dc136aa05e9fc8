import numpy as np
import pytest
from dense_case import ring

from facekit.capture.landmarks3d import (
    head_alignment,
    triangulate_landmarks,
    triangulate_robustly,
)
from facekit.geometry.cameras import project
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.types import Camera, DetectedFace

LENS = np.array([-0.1, 0.03, 0.001, -0.002, 0])


@pytest.fixture(scope="module")
def cameras():
    return [
        Camera(c.intrinsics, c.rotation, c.translation, c.width, c.height, LENS)
        for c in ring(7, size=512, focal=1500.0)
    ]


@pytest.fixture(scope="module")
def head():
    return np.random.default_rng(3).normal(0, 40, (68, 3))


def test_a_point_is_found_through_lenses(cameras):
    point = np.array([12.0, -7.0, 30.0])
    pixels = np.array([project(camera, point)[:2] for camera in cameras])
    found, deviation, views = triangulate_robustly(cameras, pixels, np.full(7, 3.0))
    np.testing.assert_allclose(found, point, atol=1e-4)
    assert views == 7 and deviation < 1e-4


def test_wrong_views_are_left_out(cameras):
    point = np.array([0.0, 5.0, -10.0])
    pixels = np.array([project(camera, point)[:2] for camera in cameras])
    pixels += np.random.default_rng(0).normal(0, 0.3, pixels.shape)
    pixels[[1, 4]] += [60, -40]
    found, deviation, views = triangulate_robustly(cameras, pixels, np.full(7, 3.0))
    assert views == 5
    assert np.linalg.norm(found - point) < 0.5
    assert 0.02 < deviation < 0.5
    scattered = np.random.default_rng(1).uniform(0, 500, (7, 2))
    nobody = triangulate_robustly(cameras[:2], scattered[:2], np.full(2, 0.01))
    assert nobody is None


def test_all_landmarks_of_a_face(cameras, head):
    faces = []
    for k, camera in enumerate(cameras):
        marks = project(camera, head)[:, :2]
        visible = np.ones(68, bool)
        visible[30] = k == 0
        yaw = 50.0 if k == 6 else 5.0
        faces.append(
            DetectedFace(
                np.array([100, 100, 300, 300.0]), 1.0, ibug68=marks, visible=visible, yaw_deg=yaw
            )
        )
    faces[2] = None
    found = triangulate_landmarks(cameras, faces)
    assert np.isnan(found.points[30]).all() and found.views[30] == 0
    known = np.arange(68) != 30
    np.testing.assert_allclose(found.points[known], head[known], atol=1e-3)
    # The turned view does not tell the jaw's outline.
    assert found.views[0] == 5 and found.views[40] == 6


def test_the_head_frame_is_found_despite_some_wrong_points(head):
    rotation = rotvec_to_matrix(np.array([0.4, -1.0, 2.0]))
    world = 0.01 * (head - [5, 6, 7]) @ rotation
    world[20] += 3.0
    world[50] = np.nan
    move = head_alignment(world, head, with_scale=True)
    good = np.isfinite(world).all(1) & (np.arange(68) != 20)
    assert move.scale == pytest.approx(100, rel=2e-3)
    assert np.linalg.norm(move.apply(world[good]) - head[good], axis=1).max() < 0.5
    world[25:] = np.nan
    assert head_alignment(world, head, with_scale=True) is None

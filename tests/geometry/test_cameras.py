import cv2
import numpy as np
import pytest

from facekit.geometry.cameras import project, undistort
from facekit.types import Camera


def camera(distortion):
    K = np.array([[900.0, 0.5, 320], [0, 905, 240], [0, 0, 1]])
    return Camera(K, np.eye(3), np.zeros(3), 640, 480, np.array(distortion))


@pytest.mark.parametrize(
    "distortion", [[0, 0, 0, 0, 0], [-0.2, 0.05, 1e-3, -2e-3, 0.01], [0.1, 0, 0, 0, 0]]
)
def test_undistort_undoes_project(distortion):
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.3, 0.3, (200, 2)), np.ones(200)])
    lens = camera(distortion)
    pixels = project(lens, points)[:, :2]
    np.testing.assert_allclose(undistort(lens, pixels), points[:, :2], atol=1e-12)


def test_undistort_agrees_with_opencv():
    lens = camera([-0.2, 0.05, 1e-3, -2e-3, 0.0])
    lens.intrinsics[0, 1] = 0
    pixels = np.random.default_rng(1).uniform([0, 0], [640, 480], (50, 2))
    rays = np.column_stack([undistort(lens, pixels), np.ones(50)])
    back, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), lens.intrinsics, lens.distortion)
    np.testing.assert_allclose(back[:, 0], pixels, atol=1e-9)


def test_no_pixels_are_fine():
    assert undistort(camera([-0.2, 0, 0, 0, 0]), np.zeros((0, 2))).shape == (0, 2)

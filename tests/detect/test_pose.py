import numpy as np
import pytest

from facekit.detect.landmark_sets import FLIP68, ibug68_to_five
from facekit.detect.pose import (
    MEAN68,
    NORMALS68,
    estimate_pose,
    estimate_pose_of_five,
    visible_points,
)
from facekit.errors import InputError
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix


def view(yaw, pitch, roll):
    return HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, pitch, roll]))


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (30, 0, 0), (-45, 20, 10), (10, -30, -60), (70, 5, 0), (0, 0, 170)]
)
def test_pose_of_the_mean_shape_is_exact(angles):
    image = 2.5 * (MEAN68 @ view(*angles).T)[:, :2] + [300, 200]
    pose = estimate_pose(image)
    assert np.allclose((pose.yaw_deg, pose.pitch_deg, pose.roll_deg), angles, atol=1e-3)
    assert np.isclose(pose.scale, 2.5, rtol=1e-5)
    assert np.isclose(np.linalg.det(pose.rotation), 1)


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-45, 20, 10), (60, 5, -40)])
def test_pose_of_five_points_of_the_mean_shape_is_exact(angles):
    image = 0.2 * (ibug68_to_five(MEAN68) @ view(*angles).T)[:, :2] + [30, 20]
    pose = estimate_pose_of_five(image)
    assert np.allclose((pose.yaw_deg, pose.pitch_deg, pose.roll_deg), angles, atol=0.5)
    assert np.isclose(pose.scale, 0.2, rtol=1e-2)


def test_pose_of_noisy_points_is_near():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(50):
        angles = rng.uniform(-40, 40, 3)
        image = (MEAN68 @ view(*angles).T)[:, :2] + rng.normal(0, 1.5, (68, 2))
        pose = estimate_pose(image)
        errors.append(np.abs(np.array([pose.yaw_deg, pose.pitch_deg, pose.roll_deg]) - angles))
    assert np.median(errors, axis=0).max() < 2.5


def test_signs_follow_the_convention():
    # Yaw > 0: the nose moves to image right against the eyes; pitch > 0: it moves up.
    frontal, right, up = ((MEAN68 @ view(*a).T)[:, :2] for a in ((0, 0, 0), (20, 0, 0), (0, 20, 0)))
    eyes = [36, 45]
    assert right[30, 0] - right[eyes, 0].mean() > frontal[30, 0] - frontal[eyes, 0].mean() + 5
    assert up[30, 1] - up[eyes, 1].mean() < frontal[30, 1] - frontal[eyes, 1].mean() - 5


def test_mean_shape_is_symmetric():
    assert np.allclose(MEAN68[FLIP68] * [-1, 1, 1], MEAN68)
    assert np.allclose(NORMALS68[FLIP68] * [-1, 1, 1], NORMALS68)


def test_visibility():
    assert visible_points(view(0, 0, 0)).all()
    assert visible_points(view(0, 0, 90)).all()
    right = visible_points(view(60, 0, 0))  # nose to image right: the person's right side shows
    assert right[:7].all() and not right[10:16].any()
    left = visible_points(view(-60, 0, 0))
    assert (left == right[FLIP68]).all()


def test_rejections():
    with pytest.raises(InputError, match="one line"):
        estimate_pose(np.column_stack([np.arange(68.0), np.arange(68.0)]))
    with pytest.raises(InputError, match="five points: all points lie on one line"):
        estimate_pose_of_five(np.column_stack([np.arange(5.0), np.zeros(5)]))
    with pytest.raises(InputError, match="five points"):
        estimate_pose_of_five(np.zeros((4, 2)))
    with pytest.raises(InputError, match="one line"):
        estimate_pose(np.ones((68, 2)))
    with pytest.raises(InputError, match="ibug68"):
        estimate_pose(np.zeros((5, 2)))

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import square_crop
from facekit.geometry.crop_pose import (
    REFERENCE_MM,
    CropPose,
    decode_pose,
    encode_pose,
    place_in_crop,
    rotation_of_columns,
)
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix, rotvec_to_matrix

K = np.array([[800.0, 0, 319.5], [0, 800.0, 239.5], [0, 0, 1]])


def pose(yaw=0.0, place=(0.0, 0.0, 700.0)):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(yaw, 0.1, 0.0)
    return rotation, np.array(place) - rotation @ REFERENCE_MM


def test_a_head_in_the_middle_by_hand():
    rotation, translation = pose()
    crop = square_crop(np.array([319.5, 239.5]), 200.0, size=100)
    seen = encode_pose(rotation, translation, K, crop, size=100)
    np.testing.assert_allclose(seen.translation[:2], 0, atol=1e-12)
    # A side of the crop is 200 of the photograph's pixels, 700 / 800 mm each.
    assert np.exp(seen.translation[2]) == pytest.approx(175)
    np.testing.assert_allclose(seen.rotation.reshape(2, 3), rotation[:, :2].T)


def test_there_and_back_under_a_turned_crop_beside_the_middle():
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = np.append(rng.uniform(-250, 250, 2), rng.uniform(400, 900))
        rotation, translation = pose(rng.uniform(-1, 1), place)
        crop = square_crop(
            rng.uniform(100, 500, 2), rng.uniform(50, 300), size=128, roll=rng.uniform(-1, 1)
        )
        seen = encode_pose(rotation, translation, K, crop, size=128)
        back = decode_pose(seen, K, crop, size=128)
        np.testing.assert_allclose(back[0], rotation, atol=1e-9)
        np.testing.assert_allclose(back[1], translation, atol=1e-6)


def test_the_same_view_of_a_head_looks_the_same_anywhere_in_the_photograph():
    """A camera that turns about its centre sees the same: only the place in the image changes."""
    rotation, translation = pose(0.4)
    turn = rotvec_to_matrix(np.array([0.0, 0.35, 0.0]))
    seen = []
    for R, t in ((rotation, translation), (turn @ rotation, turn @ translation)):
        middle = R @ REFERENCE_MM + t
        spot = (K @ (middle / middle[2]))[:2]
        crop = square_crop(spot, 200.0, size=100)
        seen.append(encode_pose(R, t, K, crop, size=100))
    np.testing.assert_allclose(seen[0].rotation, seen[1].rotation, atol=1e-12)


def test_a_turned_crop_shows_an_upright_head():
    rotation, translation = pose(0.3)
    roll = 0.5
    c, s = np.cos(roll), np.sin(roll)
    about = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    middle = K[:2, 2]
    straight = encode_pose(rotation, translation, K, square_crop(middle, 200, size=100), size=100)
    crop = square_crop(middle, 200, size=100, roll=roll)
    tilted = encode_pose(about @ rotation, about @ translation, K, crop, size=100)
    np.testing.assert_allclose(tilted.rotation, straight.rotation, atol=1e-12)
    np.testing.assert_allclose(tilted.translation, straight.translation, atol=1e-9)


def test_columns_are_made_orthonormal():
    R = rotvec_to_matrix(np.array([0.3, -0.2, 0.7]))
    six = np.concatenate([2 * R[:, 0], 0.5 * R[:, 1] + 0.3 * R[:, 0]])
    np.testing.assert_allclose(rotation_of_columns(six), R, atol=1e-12)


def test_rejections():
    with pytest.raises(InputError, match="parallel"):
        rotation_of_columns(np.array([1.0, 0, 0, 2, 0, 0]))
    with pytest.raises(InputError, match="parallel"):
        rotation_of_columns(np.zeros(6))
    rotation, _ = pose()
    crop = SimilarityTransform(1.0, np.eye(2), np.zeros(2))
    with pytest.raises(InputError, match="behind"):
        encode_pose(rotation, np.array([0, 0, -500.0]), K, crop, size=100)
    with pytest.raises(InputError, match="rotation columns"):
        decode_pose(CropPose(np.zeros(5), np.zeros(3)), K, crop, size=100)


def test_points_lie_in_the_crop_where_the_camera_sees_them():
    rng = np.random.default_rng(1)
    points = rng.normal(0, 50, (40, 3)) + [0, 0, 40]
    rotation, translation = pose(0.5, (0.0, 0.0, 650.0))
    crop = square_crop(np.array([310.0, 250.0]), 260.0, size=160, roll=0.2)
    seen = encode_pose(rotation, translation, K, crop, size=160)
    pixels = (points @ rotation.T + translation) @ K.T
    expected = crop.apply(pixels[:, :2] / pixels[:, 2:])
    placed = place_in_crop(points, seen, distance_mm=650.0, size=160)
    np.testing.assert_allclose(placed, expected, atol=1e-6)


def test_twelve_degrees_beside_the_axis_costs_less_than_three_percent_of_the_side():
    points = np.random.default_rng(2).normal(0, 50, (40, 3)) + [0, 0, 40]
    rotation, translation = pose(0.2, (150.0, 90.0, 800.0))
    pixels = (points @ rotation.T + translation) @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    crop = square_crop(pixels.mean(0), 220.0, size=160)
    seen = encode_pose(rotation, translation, K, crop, size=160)
    placed = place_in_crop(points, seen, distance_mm=819.0, size=160)
    assert np.abs(placed - crop.apply(pixels)).max() < 0.03 * 160

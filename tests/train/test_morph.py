import numpy as np
import pytest
from portrait_data import draw_portrait, symmetric_shape

from facekit.geometry.rotations import euler_to_matrix
from facekit.train.augment import build_turn_mesh, turned_points, warp_turned
from facekit.train.morph import blended_shape, mix_faces, view_angle

MESH = build_turn_mesh(symmetric_shape()[:, :2] * 0.4)


def portrait(seed=0):
    return draw_portrait(np.random.default_rng(seed))


def test_the_other_shape_arrives_in_the_first_ones_pose():
    points = symmetric_shape() * 50 + 100
    other = points + np.random.default_rng(0).normal(0, 1.0, points.shape)
    rotation = euler_to_matrix(0.4, -0.2, 0.3)
    elsewhere = 0.6 * other @ rotation.T + [20, -30, 7]
    assert blended_shape(points, elsewhere, 0.0) == pytest.approx(points)
    whole, half = blended_shape(points, elsewhere, 1.0), blended_shape(points, elsewhere, 0.5)
    # Noise moves the best alignment by far less than it moves the points.
    assert np.abs(whole - other).mean() < 0.1 and np.abs(other - points).mean() > 0.7
    assert half == pytest.approx((points + whole) / 2)


def test_view_angle_ignores_roll_and_place():
    points = symmetric_shape() * 50
    for yaw, pitch in ((0.0, 0.0), (0.3, 0.0), (0.0, -0.2)):
        turned = 2 * points @ (euler_to_matrix(0, 0, 0.5) @ euler_to_matrix(yaw, pitch, 0)).T + 9
        assert view_angle(points, turned) == pytest.approx(abs(yaw) + abs(pitch), abs=1e-6)


def test_a_reshaped_portrait_shows_the_new_points():
    image, points = portrait()
    shape = points.astype(float).copy()
    shape[:, 0] += 4 * np.sin(points[:, 1] / 25)
    shape[:, 1] += 3 * np.cos(points[:, 0] / 30)
    source, target = turned_points(points, MESH, 0.0, 0.0, shape=shape)
    assert np.allclose(target[:478], shape) and np.allclose(source[:478], points[:, :2])
    out = warp_turned(image, source, target, MESH.triangles, np.eye(2, 3), size=(150, 190))
    for index in (33, 263, 468, 473):  # the drawn dots are dark, the face is light
        x, y = np.round(target[index, :2]).astype(int)
        assert out[y, x].max() < 100
    # The background keeps its place: the outermost ring does not move.
    outer = len(MESH.outline)
    assert np.allclose(source[-outer:], target[-outer:, :2])


def test_mixing_keeps_the_outside_and_matches_colours():
    rng = np.random.default_rng(0)
    points = symmetric_shape()[:, :2] * 40 + 64
    crop = np.clip(rng.normal(150, 8, (128, 128, 3)), 0, 255).astype(np.uint8)
    other = np.clip(rng.normal(60, 16, (128, 128, 3)), 0, 255).astype(np.uint8)
    mixed = mix_faces(crop, other, points, 1.0)
    assert (mixed[:3] == crop[:3]).all() and (mixed[:, -3:] == crop[:, -3:]).all()
    x, y = np.round(points[4]).astype(int)
    middle = (slice(y - 8, y + 9), slice(x - 8, x + 9))
    assert np.abs(mixed[middle].astype(int) - crop[middle]).mean() > 3
    assert mixed[middle].mean() == pytest.approx(150, abs=3)
    assert mixed[middle].std() == pytest.approx(8, abs=2)
    assert (mix_faces(crop, other, points, 0.0) == crop).all()


def test_a_face_outside_the_crop_is_left_alone():
    crop = np.zeros((32, 32, 3), np.uint8)
    points = symmetric_shape()[:, :2] * 5 - 400
    assert mix_faces(crop, crop + 255, points, 1.0) is crop

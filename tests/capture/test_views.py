import numpy as np
import pytest
from dense_case import plane_depth, ring, views_of

from facekit.capture.neighbours import (
    choose_neighbours,
    depth_range,
    find_scene,
    scene_of_points,
)
from facekit.capture.views import centre, halve, halved, level_intrinsics, make_view, pair_rows
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.types import Camera

LENS = np.array([-0.2, 0.05, 0.002, -0.001, 0.01])


def test_lens_distortion_is_taken_away():
    plain = ring(1, size=200, focal=500.0)[0]
    lens = Camera(plain.intrinsics, plain.rotation, plain.translation, 200, 200, LENS)
    x = np.mgrid[:200, :200][1].astype(float)
    ramp = np.repeat(np.rint(x)[..., None].astype(np.uint8), 3, 2)
    view = make_view("a", ramp, lens)
    assert not view.camera.distortion.any()
    points = np.array([[10.0, 5, 20], [-40, 30, 0], [25, -60, 10]])
    seen, there = project(view.camera, points), project(lens, points)
    for (u, v, _), (distorted, _, _) in zip(seen, there, strict=True):
        assert view.grey[round(v), round(u)] == pytest.approx(distorted, abs=1.0)
    assert view.wanted.all()
    pincushion = Camera(plain.intrinsics, plain.rotation, plain.translation, 200, 200, -3 * LENS)
    # The undistorted picture's corners come from outside the photograph.
    assert not make_view("a", ramp, pincushion).wanted[[0, -1]].all()


def test_pairs_take_pixels_to_the_other_view_at_every_size():
    one, other = ring(2, size=80)
    point = np.array([11.0, -8.0, 25.0])
    for level in (0, 1, 2):
        row = pair_rows(one, [other], level=level)[0]
        x, y, z = project(one, point)
        scaled = (np.array([x, y]) + 0.5) / 2**level - 0.5
        p = row[:9].reshape(3, 3) @ [*scaled, 1] + row[9:] / z
        expected = (project(other, point)[:2] + 0.5) / 2**level - 0.5
        np.testing.assert_allclose(p[:2] / p[2], expected, atol=1e-9)
    assert level_intrinsics(one, 1)[0, 0] == one.intrinsics[0, 0] / 2
    assert halve(np.ones((7, 9), np.float32)).shape == (3, 4)


def test_sizes_must_fit():
    camera = ring(1, size=64)[0]
    with pytest.raises(InputError, match="64 x 64"):
        make_view("a", np.zeros((32, 64, 3), np.uint8), camera)
    with pytest.raises(InputError, match="mask"):
        make_view("a", np.zeros((64, 64, 3), np.uint8), camera, mask=np.zeros((2, 2), bool))


def test_the_scene_is_where_the_axes_meet():
    cameras = ring(5)
    views = views_of(cameras, [plane_depth(c, np.array([0, 0, 1.0]), 0) for c in cameras])
    scene = find_scene(views)
    np.testing.assert_allclose(scene.centre, 0, atol=1e-6)
    assert scene.radius == pytest.approx(48 * 600 / 400, rel=0.01)
    near, far = depth_range(cameras[0], scene)
    assert near < 600 < far
    with pytest.raises(InputError, match="parallel"):
        find_scene([views[1], views[1]])


def test_neighbours_are_neither_too_near_nor_too_far():
    cameras = ring(9, step_deg=14.0)
    scene = find_scene(
        views_of(cameras, [plane_depth(c, np.array([0, 0, 1.0]), 0) for c in cameras])
    )
    chosen = choose_neighbours(cameras, scene, count=3)
    rays = np.array([centre(c) for c in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    for i, others in enumerate(chosen):
        angles = np.degrees(np.arccos(rays[others] @ rays[i]))
        assert len(others) == 3 and i not in others
        assert (angles > 3).all() and (angles < 50).all()
    assert choose_neighbours(cameras[:1], scene, count=3) == [[]]


def test_the_ball_of_points_ignores_strays():
    points = np.random.default_rng(0).normal(0, 1, (2000, 3))
    points[:10] += 500
    scene = scene_of_points(points)
    assert np.linalg.norm(scene.centre) < 0.2 and 2 < scene.radius < 5
    with pytest.raises(InputError):
        scene_of_points(np.zeros((0, 3)))


def test_a_halved_view_sees_the_same_points_at_half_the_pixels():
    camera = ring(1, size=81)[0]
    view = views_of([camera], [plane_depth(camera, np.array([0.0, 0, 1]), 0.0)])[0]
    small = halved(view)
    assert small.grey.shape == small.wanted.shape == small.colour.shape[:2] == (40, 40)
    assert (small.camera.width, small.camera.height) == (40, 40)
    point = np.array([12.0, -7.0, 3.0])
    u, v, z = project(camera, point)
    np.testing.assert_allclose(
        project(small.camera, point), [(u + 0.5) / 2 - 0.5, (v + 0.5) / 2 - 0.5, z]
    )
    np.testing.assert_allclose(small.grey, halve(view.grey))

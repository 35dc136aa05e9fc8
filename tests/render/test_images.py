import numpy as np
import pytest
import toy

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.render.images import (
    Picture,
    render_depth,
    render_normals,
    render_overlay,
    render_shaded,
    render_textured,
    turned_camera,
)
from facekit.render.shade import ambient_sh, srgb_to_linear
from facekit.types import Mesh

VERTICES, FACES = toy.ellipsoid()


def test_the_turned_camera_fills_the_picture_and_turns_the_head():
    for yaw, pitch in ((0, 0), (40, 0), (-30, 15)):
        camera = turned_camera(VERTICES, yaw_deg=yaw, pitch_deg=pitch, width=200, height=300)
        points = project(camera, VERTICES)
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        np.testing.assert_allclose((low + high) / 2, [99.5, 149.5], atol=1e-6)
        free = np.array([200, 300]) - (high - low)
        assert min(free / [200, 300]) == pytest.approx(0.12, abs=1e-6)
        nose = project(camera, np.array([0, 0, 90.0])) - project(camera, np.zeros(3))
        assert np.sign(np.rint(nose[0])) == np.sign(yaw)
        assert np.sign(np.rint(nose[1])) == -np.sign(pitch)


def test_even_light_shows_the_albedo_itself():
    camera = turned_camera(VERTICES, width=60, height=80)
    albedo = np.array([0.5, 0.25, 0.1])
    picture = render_shaded(
        VERTICES, FACES, camera, albedo=albedo, light=ambient_sh(np.ones(3)), supersample=3
    )
    inside = picture.alpha > 0
    linear = srgb_to_linear(picture.image[inside] / 255)
    np.testing.assert_allclose(linear, np.tile(albedo, (len(linear), 1)), atol=0.004)
    assert (picture.image[~inside] == 0).all()
    assert 0 < picture.alpha[inside].min() < 1
    assert picture.alpha.max() == pytest.approx(1)


def test_clay_is_brightest_where_the_key_light_is():
    camera = turned_camera(VERTICES, width=100, height=120)
    image = render_shaded(VERTICES, FACES, camera).image.astype(float).sum(-1)
    left, right = image[40:60, 25:40].mean(), image[40:60, 60:75].mean()
    top, bottom = image[25:45, 40:60].mean(), image[80:100, 40:60].mean()
    assert left > right
    assert top > bottom


def test_alpha_is_the_covered_share():
    square = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    camera = turned_camera(square, width=41, height=41, margin=0.2)
    alpha = render_shaded(square, faces, camera, supersample=4).alpha
    points = project(camera, square)
    area = np.prod(points[:, :2].max(0) - points[:, :2].min(0))
    assert alpha.sum() == pytest.approx(area, rel=0.02)


def test_an_overlay_changes_only_what_the_mesh_covers():
    photograph = np.full((80, 60, 3), 120, np.uint8)
    photograph[::2] = 30
    camera = turned_camera(VERTICES, width=60, height=80)
    over = render_overlay(photograph, VERTICES, FACES, camera)
    alpha = render_shaded(VERTICES, FACES, camera).alpha
    np.testing.assert_array_equal(over[alpha == 0], photograph[alpha == 0])
    assert (over[alpha == 1] != photograph[alpha == 1]).any()
    nothing = render_overlay(photograph, VERTICES, FACES, camera, opacity=0.0)
    np.testing.assert_array_equal(nothing, photograph)
    with pytest.raises(InputError, match="photograph of shape"):
        render_overlay(photograph[:-1], VERTICES, FACES, camera)


def test_one_colour_fills_the_background():
    picture = Picture(np.full((2, 2, 3), 200, np.uint8), np.array([[0, 1], [0.5, 0]], np.float32))
    filled = picture.over(np.array([10, 20, 30], np.uint8))
    np.testing.assert_array_equal(filled[0, 0], [10, 20, 30])
    np.testing.assert_array_equal(filled[0, 1], [200, 200, 200])


def test_the_nose_of_a_normal_picture_is_blue_and_up_is_green():
    camera = turned_camera(VERTICES, width=61, height=81)
    image = render_normals(VERTICES, FACES, camera).image
    centre = image[40, 30]
    np.testing.assert_allclose(centre, [128, 128, 255], atol=4)
    assert image[10, 30, 1] > 200
    assert image[40, 52, 0] > 200


def test_depth_is_in_millimetres():
    camera = turned_camera(VERTICES, width=61, height=81)
    depth, picture = render_depth(VERTICES, FACES, camera)
    nearest = project(camera, np.array([0, 0, toy.RADII[2]]))[2]
    assert depth[depth > 0].min() == pytest.approx(nearest, abs=0.5)
    assert (depth[picture.alpha == 0] == 0).all()
    assert picture.image[40, 30, 0] == 255


def test_a_texture_appears_at_its_uvs():
    square = np.array([[-10.0, -10, 0], [10, -10, 0], [10, 10, 0], [-10, 10, 0]])
    mesh = Mesh(
        square,
        np.array([[0, 1, 2], [0, 2, 3]]),
        uvs=np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
    )
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[1, 1] = (255, 0, 0), (0, 0, 255)
    camera = turned_camera(square, width=64, height=64, margin=0.0)
    image = render_textured(mesh, texture, camera).image
    # uv (0, 1) is the picture's upper left corner.
    np.testing.assert_array_equal(image[4, 4], [255, 0, 0])
    np.testing.assert_array_equal(image[-5, -5], [0, 0, 255])
    np.testing.assert_array_equal(image[4, -5], [0, 0, 0])
    dark = render_textured(mesh, texture, camera, light=ambient_sh(np.zeros(3))).image
    assert (dark == 0).all()
    with pytest.raises(InputError, match="uvs"):
        render_textured(Mesh(mesh.vertices, mesh.faces), texture, camera)


def test_bad_input_is_rejected():
    camera = turned_camera(VERTICES, width=10, height=10)
    with pytest.raises(InputError, match="supersample"):
        render_shaded(VERTICES, FACES, camera, supersample=0)
    with pytest.raises(InputError, match="vertices"):
        render_shaded(VERTICES[:, :2], FACES, camera)
    with pytest.raises(InputError, match="at least one vertex"):
        turned_camera(np.zeros((0, 3)))

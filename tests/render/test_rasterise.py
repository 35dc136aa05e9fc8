import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_twin import rasterise_reference

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.mesh import mesh_edges
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.rasterise import Workspace, rasterise
from facekit.types import Camera


def head_points(size=64, yaw=0.3, pitch=0.1, distance=700.0, shift=0.0):
    vertices, faces = toy.ellipsoid()
    focal = 0.8 * size * distance / 220
    camera = Camera(
        np.array([[focal, 0, (size - 1) / 2 + shift], [0, focal, (size - 1) / 2], [0, 0, 1]]),
        HEAD_TO_CAMERA @ euler_to_matrix(yaw, pitch, 0.0),
        np.array([0, 0, distance]),
        size,
        size,
    )
    return project(camera, vertices), faces


def random_soup(seed, count=60, size=24):
    """Triangles at random, some shared vertices, some with corners on pixel centres."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, size + 6, (count, 3))
    points[::3, :2] = np.rint(points[::3, :2])
    points[:, 2] = rng.uniform(200, 900, count)
    points[::7, 2] = 500.0
    return points, rng.integers(0, count, (2 * count, 3)).astype(np.int32)


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("yaw", [0.0, 0.8])
def test_a_head_is_identical_to_the_plain_twin(cull, yaw):
    points, faces = head_points(yaw=yaw)
    fragments = rasterise(points, faces, 64, 64, cull=cull)
    triangle, barycentric = rasterise_reference(points, faces, 64, 64, cull=cull)
    np.testing.assert_array_equal(fragments.triangle, triangle)
    np.testing.assert_allclose(fragments.barycentric, barycentric, atol=1e-5)
    assert fragments.triangle.dtype == np.int32
    assert fragments.barycentric.dtype == np.float32


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_random_triangles_are_identical_to_the_plain_twin(seed, cull):
    points, faces = random_soup(seed)
    fragments = rasterise(points, faces, 24, 19, cull=cull)
    triangle, barycentric = rasterise_reference(points, faces, 24, 19, cull=cull)
    np.testing.assert_array_equal(fragments.triangle, triangle)
    np.testing.assert_allclose(fragments.barycentric, barycentric, atol=1e-5)


def test_pixel_zero_is_the_centre_of_the_first_pixel():
    points = np.array([[-0.1, -0.1, 100], [0.1, -0.1, 100], [0, 0.2, 100.0]])
    triangle = rasterise(points, np.array([[0, 2, 1]]), 3, 3).triangle
    assert triangle[0, 0] == 0
    assert (triangle == 0).sum() == 1


def test_a_face_seen_from_behind_is_culled():
    # Counter-clockwise in the head frame (+y up), facing the camera.
    head = np.array([[0.0, 0, 0], [20, 0, 0], [0, 20, 0]])
    camera = Camera(
        np.array([[500, 0, 10], [0, 500, 20], [0, 0, 1]]),
        HEAD_TO_CAMERA,
        np.array([0, 0, 500.0]),
        40,
        40,
    )
    points = project(camera, head)
    assert rasterise(points, np.array([[0, 1, 2]]), 40, 40).covered.any()
    assert not rasterise(points, np.array([[0, 2, 1]]), 40, 40).covered.any()
    assert rasterise(points, np.array([[0, 2, 1]]), 40, 40, cull=False).covered.any()


def test_barycentrics_interpolate_the_surface_in_3d():
    points, faces = head_points(yaw=0.4)
    fragments = rasterise(points, faces, 64, 64)
    depth = fragments.depth(points, faces)
    row, column = np.nonzero(fragments.covered)
    # Interpolating the corners' inhomogeneous positions must land on the pixel's own ray.
    z = points[faces, 2]
    corners = np.concatenate([points[faces, :2] * z[..., None], z[..., None]], axis=-1)
    bary = fragments.barycentric[row, column]
    hit = np.einsum("nc,ncd->nd", bary, corners[fragments.triangle[row, column]])
    np.testing.assert_allclose(hit[:, 0] / hit[:, 2], column, atol=1e-3)
    np.testing.assert_allclose(hit[:, 1] / hit[:, 2], row, atol=1e-3)
    np.testing.assert_allclose(hit[:, 2], depth[row, column], rtol=1e-5)
    assert (depth[~fragments.covered] == 0).all()


def test_shared_edges_leave_no_holes():
    # A grid of triangles that spans the picture, with corners on and off pixel centres.
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-2:34, -2:34].astype(float)
    inner = (x > -2) & (x < 33) & (y > -2) & (y < 33)
    jitter = np.where((x + y) % 3 == 0, 0, 1) * inner
    grid = np.stack(
        [x + jitter * rng.uniform(-0.3, 0.3, x.shape), y + jitter * rng.uniform(-0.3, 0.3, x.shape)]
    )
    points = np.concatenate([grid.reshape(2, -1), rng.uniform(300, 310, (1, x.size))]).T
    corner = (np.arange(35)[:, None] * 36 + np.arange(35)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 36, corner + 1], 1),
            np.stack([corner + 1, corner + 36, corner + 37], 1),
        ]
    )
    assert rasterise(points, faces, 32, 32).covered.all()


def test_a_closed_mesh_has_no_holes_inside_its_outline():
    points, faces = head_points(size=200, yaw=0.5)
    assert (mesh_edges(faces).num_faces == 2).all()
    covered = rasterise(points, faces, 200, 200).covered
    np.testing.assert_array_equal(covered, rasterise(points, faces, 200, 200, cull=False).covered)
    for line in [*covered, *covered.T]:
        inside = np.flatnonzero(line)
        assert not len(inside) or len(inside) == inside[-1] - inside[0] + 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(count):
    points, faces = head_points(size=600)
    threads.set_num_threads(1)
    try:
        one = rasterise(points, faces, 600, 600)
        threads.set_num_threads(count)
        many = rasterise(points, faces, 600, 600)
    finally:
        threads.set_num_threads(None)
    np.testing.assert_array_equal(one.triangle, many.triangle)
    np.testing.assert_array_equal(one.barycentric, many.barycentric)


def test_the_order_of_faces_changes_only_their_names():
    points, faces = head_points()
    order = np.random.default_rng(1).permutation(len(faces))
    plain = rasterise(points, faces, 64, 64).triangle
    shuffled = rasterise(points, faces[order], 64, 64).triangle
    named = np.where(shuffled >= 0, order[shuffled], -1)
    # Faces of one edge tie on it; elsewhere the same face is seen.
    assert (named == plain).mean() > 0.99
    np.testing.assert_array_equal(named >= 0, plain >= 0)


def test_a_workspace_gives_the_same_result_and_is_used_again():
    points, faces = head_points()
    space = Workspace()
    first = rasterise(points, faces, 64, 64, workspace=space)
    again = rasterise(points * [1, 1, 1.01], faces, 64, 64, workspace=space)
    assert again.triangle is first.triangle
    fresh = rasterise(points * [1, 1, 1.01], faces, 64, 64)
    np.testing.assert_array_equal(again.triangle, fresh.triangle)
    assert rasterise(points, faces, 32, 64, workspace=space).triangle.shape == (64, 32)


@pytest.mark.parametrize("bad", [[0.0, 0, 0], [0, 0, -5], [np.nan, 0, 5], [1e9, 0, 5]])
def test_faces_at_the_eye_or_beyond_the_limits_are_left_out(bad):
    points = np.array([[0, 0, 10], [0, 8, 10], [8, 0, 10], [0, 0, 0.0]])
    points[3] = bad
    triangle = rasterise(points, np.array([[0, 1, 2], [3, 1, 2]]), 9, 9).triangle
    assert set(np.unique(triangle)) == {-1, 0}


def test_the_near_plane_is_an_option():
    points = np.array([[0, 0, 10], [0, 8, 10], [8, 0, 10.0]])
    assert rasterise(points, np.array([[0, 1, 2]]), 9, 9, near=9).covered.any()
    assert not rasterise(points, np.array([[0, 1, 2]]), 9, 9, near=10).covered.any()


def test_degenerate_and_empty_input_cover_nothing():
    points = np.array([[0, 0, 10], [4, 4, 10], [8, 8, 10.0]])
    assert not rasterise(points, np.array([[0, 1, 2], [1, 1, 1]]), 9, 9, cull=False).covered.any()
    assert not rasterise(points, np.zeros((0, 3), int), 9, 9).covered.any()
    assert not rasterise(np.zeros((0, 3)), np.zeros((0, 3), int), 2, 2).covered.any()


def test_bad_input_is_rejected():
    points = np.array([[0, 0, 10], [0, 8, 10], [8, 0, 10.0]])
    faces = np.array([[0, 1, 2]])
    with pytest.raises(InputError, match="points"):
        rasterise(points[:, :2], faces, 9, 9)
    with pytest.raises(InputError, match="vertex indices"):
        rasterise(points, faces + 1, 9, 9)
    with pytest.raises(InputError, match="at least 1x1"):
        rasterise(points, faces, 0, 9)

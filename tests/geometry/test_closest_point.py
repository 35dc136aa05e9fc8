import numpy as np
import pytest

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.closest_point import (
    PART_EDGE_01,
    PART_FACE,
    PART_VERTEX_0,
    build_tree,
    closest_points,
    spatial_order,
)


def segment_reference(p, a, b):
    direction = b - a
    length = (direction**2).sum(-1)
    along = ((p - a) * direction).sum(-1)
    t = np.clip(np.divide(along, length, out=np.zeros_like(along), where=length > 0), 0, 1)
    return ((a + t[..., None] * direction - p) ** 2).sum(-1)


def brute_force(points, vertices, faces):
    """Squared distances: the plane where the foot is inside the face, else the three edges."""
    p = points[:, None, :]
    a, b, c = (vertices[faces[:, k]][None] for k in range(3))
    best = np.minimum(
        np.minimum(segment_reference(p, a, b), segment_reference(p, b, c)),
        segment_reference(p, c, a),
    )
    normal = np.cross(b - a, c - a)
    area = (normal**2).sum(-1)
    height = ((p - a) * normal).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        foot = p - (height / area)[..., None] * normal
        inside = (
            ((np.cross(b - a, foot - a) * normal).sum(-1) >= 0)
            & ((np.cross(c - b, foot - b) * normal).sum(-1) >= 0)
            & ((np.cross(a - c, foot - c) * normal).sum(-1) >= 0)
            & (area > 1e-18)
        )
        plane = np.where(inside, height**2 / area, np.inf)
    return np.minimum(best, plane).min(axis=1)


def random_mesh(rng, num_faces, size=0.3):
    centres = rng.normal(size=(num_faces, 1, 3))
    vertices = (centres + size * rng.normal(size=(num_faces, 3, 3))).reshape(-1, 3)
    return vertices, np.arange(3 * num_faces, dtype=np.int32).reshape(-1, 3)


def check_consistent(tree, points, result):
    corners = tree.vertices[tree.faces[result.triangle]]
    foot = np.einsum("nk,nkd->nd", result.barycentric, corners)
    np.testing.assert_allclose(
        ((foot - points) ** 2).sum(1), result.squared_distance, rtol=1e-9, atol=1e-12
    )
    assert result.barycentric.min() >= -1e-12
    np.testing.assert_allclose(result.barycentric.sum(1), 1, atol=1e-12)


@pytest.mark.parametrize("num_faces", [1, 2, 3, 4, 5, 7, 64, 333])
def test_matches_brute_force(num_faces):
    rng = np.random.default_rng(num_faces)
    vertices, faces = random_mesh(rng, num_faces)
    points = 2 * rng.normal(size=(400, 3))
    tree = build_tree(vertices, faces)
    result = closest_points(tree, points)
    expected = brute_force(points, vertices, faces)
    np.testing.assert_allclose(result.squared_distance, expected, rtol=1e-9, atol=1e-14)
    check_consistent(tree, points, result)
    assert result.triangle.dtype == np.int32
    assert sorted(tree.order.tolist()) == list(range(num_faces))


def test_any_start_gives_the_same_distances():
    rng = np.random.default_rng(3)
    vertices, faces = random_mesh(rng, 200)
    points = rng.normal(size=(1000, 3))
    tree = build_tree(vertices, faces)
    plain = closest_points(tree, points)
    for start in (plain.triangle, rng.integers(0, 200, 1000)):
        warm = closest_points(tree, points, start=start)
        np.testing.assert_allclose(warm.squared_distance, plain.squared_distance, rtol=1e-12)
        check_consistent(tree, points, warm)


def test_thread_count_does_not_matter():
    rng = np.random.default_rng(4)
    vertices, faces = random_mesh(rng, 100)
    points = rng.normal(size=(3000, 3))
    tree = build_tree(vertices, faces)
    try:
        threads.set_num_threads(1)
        one = closest_points(tree, points)
        threads.set_num_threads(3)
        three = closest_points(tree, points)
    finally:
        threads.set_num_threads(None)
    for a, b in zip(one, three, strict=True):
        assert (a == b).all()


def test_rigid_motion_and_scale():
    rng = np.random.default_rng(5)
    vertices, faces = random_mesh(rng, 150)
    points = rng.normal(size=(500, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    plain = closest_points(build_tree(vertices, faces), points).squared_distance
    moved_tree = build_tree(7 * vertices @ rotation.T + [10, -20, 30], faces)
    moved = closest_points(moved_tree, 7 * points @ rotation.T + [10, -20, 30])
    np.testing.assert_allclose(moved.squared_distance, 49 * plain, rtol=1e-9, atol=1e-11)


def test_parts_of_a_known_triangle():
    tree = build_tree(np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0.0]]), np.array([[0, 1, 2]]))
    points = np.array(
        [[1, 1, 5], [2, -1, 0], [3, 3, 1], [-1, 2, 0], [-1, -1, 0], [6, -1, 0], [-1, 7, 2.0]]
    )
    result = closest_points(tree, points)
    assert result.part.tolist() == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(result.squared_distance, [25, 1, 3, 1, 2, 5, 14])
    np.testing.assert_allclose(result.barycentric[0], [0.5, 0.25, 0.25])
    assert (PART_FACE, PART_EDGE_01, PART_VERTEX_0) == (0, 1, 4)


def test_points_on_the_surface_have_distance_zero():
    rng = np.random.default_rng(6)
    vertices, faces = random_mesh(rng, 50)
    tree = build_tree(vertices, faces)
    weights = rng.dirichlet([1, 1, 1], size=50)
    on_faces = np.einsum("nk,nkd->nd", weights, vertices[faces])
    assert closest_points(tree, on_faces).squared_distance.max() < 1e-28
    assert closest_points(tree, vertices).squared_distance.max() == 0


def test_open_border_is_matched_to_its_edge():
    y, x = np.mgrid[0:4, 0:4].astype(float)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(16)], axis=1)
    first = (np.arange(3)[:, None] * 4 + np.arange(3)).ravel()
    faces = np.concatenate(
        [np.stack([first, first + 1, first + 4], 1), np.stack([first + 1, first + 5, first + 4], 1)]
    )
    result = closest_points(build_tree(vertices, faces), np.array([[5.0, 1.5, 0], [5, 5, 1]]))
    np.testing.assert_allclose(result.squared_distance, [4, 9])
    assert 1 <= result.part[0] <= 3
    assert result.part[1] >= 4


def test_faces_without_area_count_as_edges_and_points():
    rng = np.random.default_rng(7)
    vertices = rng.normal(size=(12, 3))
    vertices[2] = 0.3 * vertices[0] + 0.7 * vertices[1]  # collinear, corner inside
    vertices[5] = 2 * vertices[4] - vertices[3]  # collinear, corner outside
    vertices[7] = vertices[6]  # two corners equal
    vertices[[10, 11]] = vertices[9]  # a point
    faces = np.arange(12, dtype=np.int32).reshape(-1, 3)
    points = 2 * rng.normal(size=(500, 3))
    for row in faces:
        tree = build_tree(vertices, row[None])
        result = closest_points(tree, points)
        np.testing.assert_allclose(
            result.squared_distance, brute_force(points, vertices, row[None]), rtol=1e-6, atol=1e-12
        )
        check_consistent(tree, points, result)
        assert (result.part > 0).all()
    result = closest_points(build_tree(vertices, faces), points)
    np.testing.assert_allclose(
        result.squared_distance, brute_force(points, vertices, faces), rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("height", [1e-3, 1e-6, 1e-9, 1e-12])
def test_thin_triangles_stay_exact(height):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0.5, height, 0]])
    points = np.array([[0.5, 1, 0], [0.5, -1, 0], [0.2, 0, 1], [2, 0, 0], [0.5, 2e-1, 1e-3]])
    result = closest_points(build_tree(vertices, np.array([[0, 1, 2]])), points)
    expected = brute_force(points, vertices, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(result.squared_distance, expected, rtol=1e-6, atol=1e-12)


def test_faces_of_very_different_size_and_equal_centres():
    rng = np.random.default_rng(8)
    vertices, faces = random_mesh(rng, 60, size=0.01)
    vertices[:9] *= 500
    vertices[90:] = vertices[90:93][np.arange(90) % 3]  # thirty copies of one face
    points = rng.normal(size=(300, 3))
    result = closest_points(build_tree(vertices, faces), points)
    np.testing.assert_allclose(
        result.squared_distance, brute_force(points, vertices, faces), rtol=1e-9
    )


def test_no_points_and_read_only_arrays():
    vertices, faces = random_mesh(np.random.default_rng(9), 5)
    points = np.zeros((3, 3))
    for array in (vertices, faces, points):
        array.flags.writeable = False
    tree = build_tree(vertices, faces)
    assert closest_points(tree, points).triangle.shape == (3,)
    empty = closest_points(tree, np.zeros((0, 3)))
    assert empty.squared_distance.shape == (0,)
    assert empty.barycentric.shape == (0, 3)


def test_spatial_order_is_a_permutation_that_keeps_neighbours_together():
    rng = np.random.default_rng(10)
    points = rng.random((4096, 3))
    order = spatial_order(points)
    assert sorted(order.tolist()) == list(range(4096))
    step = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert step < 0.25 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    assert spatial_order(np.zeros((0, 3))).shape == (0,)
    assert sorted(spatial_order(np.ones((5, 3))).tolist()) == [0, 1, 2, 3, 4]


def test_rejections():
    vertices, faces = random_mesh(np.random.default_rng(11), 5)
    with pytest.raises(InputError, match="mesh with faces"):
        build_tree(vertices, np.zeros((0, 3), np.int32))
    with pytest.raises(InputError, match="finite"):
        build_tree(np.full((3, 3), np.nan), np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="vertex indices"):
        build_tree(vertices, faces + 10)
    tree = build_tree(vertices, faces)
    with pytest.raises(InputError, match="finite"):
        closest_points(tree, np.array([[0, np.inf, 0]]))
    with pytest.raises(InputError, match="shape"):
        closest_points(tree, np.zeros((4, 2)))
    with pytest.raises(InputError, match=r"faces in \[0, 5\)"):
        closest_points(tree, np.zeros((1, 3)), start=np.array([5]))

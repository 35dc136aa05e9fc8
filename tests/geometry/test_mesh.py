import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry import mesh


def icosahedron():
    phi = (1 + 5**0.5) / 2
    vertices = np.array(
        [
            [-1, phi, 0], [1, phi, 0], [-1, -phi, 0], [1, -phi, 0],
            [0, -1, phi], [0, 1, phi], [0, -1, -phi], [0, 1, -phi],
            [phi, 0, -1], [phi, 0, 1], [-phi, 0, -1], [-phi, 0, 1],
        ]
    )  # fmt: skip
    faces = np.array(
        [
            [0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11],
            [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6], [7, 1, 8],
            [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9],
            [4, 9, 5], [2, 4, 11], [6, 2, 10], [8, 6, 7], [9, 8, 1],
        ],
        dtype=np.int32,
    )  # fmt: skip
    return vertices / np.linalg.norm(vertices[0]), faces


def grid(n=5):
    y, x = np.mgrid[0:n, 0:n].astype(float)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(n * n)], axis=1)
    first = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([first, first + 1, first + n], axis=1),
            np.stack([first + 1, first + n + 1, first + n], axis=1),
        ]
    )
    return vertices, faces.astype(np.int32)


def test_vertex_normals_of_a_sphere_are_its_radii():
    vertices, faces = icosahedron()
    normals = mesh.vertex_normals(vertices, faces)
    assert normals.dtype == np.float32
    np.testing.assert_allclose(normals, vertices, atol=1e-6)


def test_vertex_normals_accept_arrays_that_are_not_writable():
    vertices, faces = icosahedron()
    vertices = vertices.astype(np.float32)
    vertices.flags.writeable = False
    faces.flags.writeable = False
    np.testing.assert_allclose(mesh.vertex_normals(vertices, faces), vertices, atol=1e-6)


def test_vertex_normals_weigh_faces_by_area():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
    expected = np.array([2.0, 0, 6.0]) / np.hypot(2, 6)
    np.testing.assert_allclose(mesh.vertex_normals(vertices, faces)[0], expected, atol=1e-6)


def test_vertex_normals_batch_and_rotation():
    rng = np.random.default_rng(0)
    vertices, faces = icosahedron()
    batch = vertices + 0.05 * rng.normal(size=(2, 3, *vertices.shape))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    normals = mesh.vertex_normals(batch, faces)
    assert normals.shape == batch.shape
    np.testing.assert_allclose(normals[1, 2], mesh.vertex_normals(batch[1, 2], faces), atol=0)
    turned = mesh.vertex_normals(batch @ rotation.T, faces)
    np.testing.assert_allclose(turned, normals @ rotation.T, atol=2e-6)


def test_degenerate_faces_and_lone_vertices_have_zero_normals():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5.0]])
    faces = np.array([[0, 1, 2]], dtype=np.int32)
    assert not mesh.vertex_normals(vertices, faces).any()
    assert not mesh.face_normals(vertices, faces).any()
    assert mesh.vertex_normals(vertices, np.zeros((0, 3), np.int32)).shape == (4, 3)


def test_areas_sum_to_the_surface():
    vertices, faces = grid(4)
    assert mesh.face_areas(vertices, faces) == pytest.approx(0.5)
    areas = mesh.vertex_areas(vertices, faces)
    assert areas.sum() == pytest.approx(9.0)
    np.testing.assert_allclose(mesh.face_normals(vertices, faces), [[0, 0, 1]] * len(faces))


def test_edges_of_a_closed_and_an_open_mesh():
    vertices, faces = icosahedron()
    edges = mesh.mesh_edges(faces)
    assert len(edges.vertices) == 30
    assert (edges.num_faces == 2).all()
    for face, row in zip(faces, edges.face_edges, strict=True):
        for k in range(3):
            pair = sorted((face[k], face[(k + 1) % 3]))
            assert list(edges.vertices[row[k]]) == pair
    vertices, faces = grid(3)
    border = mesh.boundary_vertices(faces, len(vertices))
    assert border.tolist() == [True] * 4 + [False] + [True] * 4


def test_adjacency_faces_and_components():
    faces = icosahedron()[1]
    both = np.concatenate([faces, faces + 12])
    adjacency = mesh.vertex_adjacency(both, 25)
    assert (adjacency.sum(axis=1)[:24] == 5).all()
    offsets, ids = mesh.vertex_faces(both, 25)
    assert offsets[-1] == len(ids) == 120
    for v in (0, 7, 24):
        expected = np.flatnonzero((both == v).any(axis=1))
        assert ids[offsets[v] : offsets[v + 1]].tolist() == expected.tolist()
    labels = mesh.connected_components(both, 25)
    assert labels.tolist() == [0] * 12 + [1] * 12 + [2]


def test_submesh_renumbers():
    vertices, faces = grid(3)
    keep = vertices[:, 0] < 1.5
    rows, kept = mesh.submesh(faces, keep)
    assert rows.tolist() == [0, 1, 3, 4, 6, 7]
    assert len(kept) == 4
    assert mesh.face_areas(vertices[rows], kept).sum() == pytest.approx(2.0)


def test_loop_reproduces_a_plane_and_affine_maps():
    vertices, faces = grid(5)
    result = mesh.loop_subdivide(vertices, faces)
    fine = result.apply(vertices)
    assert result.faces.shape == (4 * len(faces), 3)
    assert np.abs(fine[:, 2]).max() == 0
    np.testing.assert_allclose(np.asarray(result.matrix.sum(axis=1)).ravel(), 1, atol=1e-12)
    affine = np.array([[1, 0.2, 0], [0, 2, 0.3], [0.1, 0, 1]])
    np.testing.assert_allclose(result.apply(vertices @ affine), fine @ affine, atol=1e-12)
    normals = mesh.face_normals(fine, result.faces)
    assert (normals[:, 2] > 0.99).all()
    inner = mesh.loop_subdivide(vertices, faces).matrix[12] @ vertices
    np.testing.assert_allclose(inner, vertices[12], atol=1e-12)


def test_loop_border_follows_the_cubic_curve_rule():
    vertices, faces = grid(5)
    matrix = mesh.loop_subdivide(vertices, faces).matrix.toarray()
    assert matrix[2, [1, 2, 3]].tolist() == [1 / 8, 3 / 4, 1 / 8]
    assert np.count_nonzero(matrix[2]) == 3
    edges = mesh.mesh_edges(faces)
    row = 25 + int(np.flatnonzero((edges.vertices == [1, 2]).all(axis=1))[0])
    assert matrix[row, [1, 2]].tolist() == [0.5, 0.5]


def test_loop_interior_weights_match_the_formula():
    vertices, faces = icosahedron()
    matrix = mesh.loop_subdivide(vertices, faces).matrix.toarray()
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / 5) / 4) ** 2) / 5
    assert matrix[0, 0] == pytest.approx(1 - 5 * beta)
    assert matrix[0, 11] == pytest.approx(beta)
    assert np.count_nonzero(matrix[0]) == 6
    assert sorted(matrix[12][matrix[12] > 0].tolist()) == [1 / 8, 1 / 8, 3 / 8, 3 / 8]


def test_loop_steps_converge_to_a_smooth_closed_surface():
    vertices, faces = icosahedron()
    result = mesh.loop_subdivide(vertices, faces, steps=3)
    fine = result.apply(vertices.astype(np.float32))
    assert fine.dtype == np.float32
    assert len(result.faces) == 20 * 64
    assert (mesh.mesh_edges(result.faces).num_faces == 2).all()
    radii = np.linalg.norm(fine, axis=1)
    assert radii.std() / radii.mean() < 0.02
    two = mesh.loop_subdivide(vertices, faces, steps=2)
    third = mesh.loop_subdivide(two.apply(vertices), two.faces)
    assert third.faces.tolist() == result.faces.tolist()
    np.testing.assert_allclose(third.apply(two.apply(vertices)), fine, atol=1e-6)
    colours = np.random.default_rng(1).random((2, 12, 4))
    assert result.apply(colours).shape == (2, len(fine), 4)


def test_loop_leaves_corners_and_lone_vertices_in_place():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [9, 9, 9.0]])
    bow_tie = np.array([[0, 1, 2], [0, 3, 4]], dtype=np.int32)
    result = mesh.loop_subdivide(vertices, bow_tie)
    fine = result.apply(vertices)
    np.testing.assert_allclose(fine[[0, 5]], vertices[[0, 5]])


def test_loop_without_faces_is_the_identity():
    result = mesh.loop_subdivide(np.zeros((3, 3)), np.zeros((0, 3), np.int32))
    assert result.matrix.toarray().tolist() == np.eye(3).tolist()
    assert result.faces.shape == (0, 3)


def test_rejections():
    vertices, faces = icosahedron()
    with pytest.raises(InputError, match="vertex indices"):
        mesh.vertex_normals(vertices[:5], faces)
    with pytest.raises(InputError, match="at least 1 step"):
        mesh.loop_subdivide(vertices, faces, steps=0)
    with pytest.raises(InputError, match="shape"):
        mesh.vertex_normals(vertices[:, :2], faces)
    with pytest.raises(InputError, match="shape"):
        mesh.loop_subdivide(vertices, faces).apply(vertices[:4])
    with pytest.raises(InputError, match="bool"):
        mesh.submesh(faces, np.arange(12))

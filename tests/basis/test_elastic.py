import numpy as np
from toy_heads import toy_template

from facekit.basis.elastic import ElasticSurface, landmark_matrix
from facekit.types import LandmarkMap

TEMPLATE = toy_template()
COUNT = len(TEMPLATE.vertices)
NONE = np.zeros(COUNT)


def marks_on(rows):
    weights = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (len(rows), 1))
    return LandmarkMap(np.asarray(rows, np.int32), weights)


def test_without_targets_nothing_moves():
    elastic = ElasticSurface(TEMPLATE.faces, COUNT)
    found = elastic.solve(TEMPLATE.vertices, TEMPLATE.vertices, NONE, bend=1.0, stretch=1.0)
    np.testing.assert_allclose(found, TEMPLATE.vertices, atol=1e-9)


def test_soft_surfaces_reach_their_targets_and_stiff_ones_move_as_one():
    elastic = ElasticSurface(TEMPLATE.faces, COUNT)
    rng = np.random.default_rng(0)
    targets = TEMPLATE.vertices + [3.0, -2.0, 1.0] + rng.normal(0, 1.0, (COUNT, 3))
    soft = elastic.solve(TEMPLATE.vertices, targets, np.ones(COUNT), bend=1e-9, stretch=1e-9)
    np.testing.assert_allclose(soft, targets, atol=1e-4)
    stiff = elastic.solve(TEMPLATE.vertices, targets, np.ones(COUNT), bend=0.0, stretch=1e7)
    shift = stiff - TEMPLATE.vertices
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-3)
    np.testing.assert_allclose(shift[0], (targets - TEMPLATE.vertices).mean(axis=0), atol=1e-3)


def test_it_is_the_least_squares_solution():
    elastic = ElasticSurface(TEMPLATE.faces, COUNT, marks_on([3]))
    rng = np.random.default_rng(1)
    targets = TEMPLATE.vertices + rng.normal(0, 2.0, (COUNT, 3))
    weights = rng.random(COUNT)
    marks = TEMPLATE.vertices[TEMPLATE.faces[[3], 0]] + 5.0
    near = np.zeros((COUNT, COUNT))
    for i, j, k in TEMPLATE.faces:
        for a, b in ((i, j), (j, k), (k, i)):
            near[a, b] = near[b, a] = 1.0
    laplacian = np.diag(near.sum(axis=1)) - near
    read = np.zeros((1, COUNT))
    read[0, TEMPLATE.faces[3, 0]] = 1.0
    matrix = 0.3 * laplacian @ laplacian + 0.7 * laplacian + np.diag(weights) + 2.0 * read.T @ read
    right = weights[:, None] * (targets - TEMPLATE.vertices)
    right += 2.0 * read.T @ (marks - read @ TEMPLATE.vertices)
    expected = TEMPLATE.vertices + np.linalg.solve(matrix, right)
    found = elastic.solve(
        TEMPLATE.vertices,
        targets,
        weights,
        bend=0.3,
        stretch=0.7,
        landmarks=marks,
        landmark_weight=2.0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_landmarks_that_are_unknown_draw_nothing():
    elastic = ElasticSurface(TEMPLATE.faces, COUNT, marks_on([3, 8]))
    marks = np.full((2, 3), np.nan)
    marks[1] = TEMPLATE.vertices[TEMPLATE.faces[8, 0]] + [0.0, 4.0, 0.0]
    found = elastic.solve(
        TEMPLATE.vertices,
        TEMPLATE.vertices,
        NONE,
        bend=0.0,
        stretch=1.0,
        landmarks=marks,
        landmark_weight=1.0,
    )
    np.testing.assert_allclose(
        found - TEMPLATE.vertices, np.tile([0.0, 4.0, 0.0], (COUNT, 1)), atol=0.02
    )


def test_a_landmark_matrix_reads_barycentric_points():
    marks = LandmarkMap(np.array([5], np.int32), np.array([[0.2, 0.3, 0.5]], np.float32))
    read = landmark_matrix(TEMPLATE.faces, COUNT, marks) @ TEMPLATE.vertices
    corners = TEMPLATE.vertices[TEMPLATE.faces[5]]
    np.testing.assert_allclose(read[0], np.array([0.2, 0.3, 0.5]) @ corners, atol=1e-5)
    assert landmark_matrix(TEMPLATE.faces, COUNT, None).shape == (0, COUNT)

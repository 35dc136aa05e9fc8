import numpy as np
import pytest
from icp_twin import icp_twin
from scan_case import egg, face, moved
from scipy.spatial.transform import Rotation

from facekit.errors import InputError, ItemError
from facekit.evaluate.icp import IcpOptions, align_surface
from facekit.geometry.alignment import SimilarityTransform, compose
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.surface import Surface

IDENTITY = SimilarityTransform(1.0, np.eye(3), np.zeros(3))


@pytest.mark.parametrize("with_scale", [True, False])
def test_agrees_with_the_slow_twin(with_scale):
    scan = face(16, 20, seed=1, noise=0.5)
    prediction = face(9, 12, seed=2, noise=1.0)
    turn = Rotation.from_rotvec([0.05, -0.08, 0.03])
    normals = vertex_normals(scan.vertices, scan.faces).astype(float)
    options = IcpOptions(with_scale=with_scale, iterations=6)
    start = SimilarityTransform(1.02 if with_scale else 1.0, turn.as_matrix(), np.array([2, -1, 1]))
    result = align_surface(
        scan.vertices, normals, Surface(prediction.vertices, prediction.faces), start,
        options=options,
    )  # fmt: skip
    matrix = np.eye(4)
    matrix[:3] = start.matrix()
    expected, rmse, iterations = icp_twin(
        scan.vertices, normals, prediction.vertices, prediction.faces, options, matrix=matrix
    )
    np.testing.assert_allclose(result.transform.matrix(), expected[:3], atol=1e-8)
    assert result.rmse == pytest.approx(rmse, abs=1e-9)
    assert result.iterations == iterations


def test_recovers_a_known_similarity():
    scan = face()
    turn = Rotation.from_rotvec([0.1, 0.2, -0.1]).as_matrix()
    prediction = moved(scan, scale=0.5, rotation=turn, shift=(100, 20, 3))
    truth = SimilarityTransform(0.5, turn, np.array([100.0, 20, 3])).inverse()
    nudge = SimilarityTransform(1.03, Rotation.from_rotvec([0.03, 0, 0.02]).as_matrix(), np.ones(3))
    normals = vertex_normals(scan.vertices, scan.faces).astype(float)
    result = align_surface(
        scan.vertices, normals, Surface(prediction.vertices, prediction.faces),
        compose(nudge, truth),
    )  # fmt: skip
    assert result.converged
    assert result.rmse < 1e-4
    found = result.transform.apply(prediction.vertices)
    np.testing.assert_allclose(found, scan.vertices, atol=0.02)


def test_without_scale_a_parallel_surface_keeps_its_distance():
    inner = egg()
    normals = vertex_normals(inner.vertices, inner.faces).astype(float)
    outer = inner.vertices + 2.0 * normals
    start = SimilarityTransform(1.0, np.eye(3), np.array([1.5, 0, -1]))
    options = IcpOptions(with_scale=False, trim=0.0)
    result = align_surface(
        inner.vertices, normals, Surface(outer, inner.faces), start, options=options
    )
    np.testing.assert_allclose(result.transform.translation, 0, atol=5e-3)
    assert result.rmse == pytest.approx(2.0, rel=0.01)


def test_with_scale_a_larger_copy_is_no_error():
    small, large = egg(), moved(egg(), scale=1.03)
    normals = vertex_normals(small.vertices, small.faces).astype(float)
    free = align_surface(small.vertices, normals, Surface(large.vertices, large.faces), IDENTITY)
    assert free.transform.scale == pytest.approx(1 / 1.03, rel=1e-5)
    assert free.rmse < 1e-3


def test_faces_that_point_inwards_make_no_difference():
    scan = face(20, 26)
    normals = vertex_normals(scan.vertices, scan.faces).astype(float)
    start = SimilarityTransform(1.01, np.eye(3), np.array([1.0, 1, 0]))
    results = [
        align_surface(scan.vertices, normals, Surface(scan.vertices, faces), start)
        for faces in (scan.faces, scan.faces[:, ::-1].copy())
    ]
    np.testing.assert_allclose(
        results[0].transform.matrix(), results[1].transform.matrix(), atol=1e-9
    )


def test_too_far_or_too_few_fails_as_an_item():
    scan = face(20, 26)
    normals = vertex_normals(scan.vertices, scan.faces).astype(float)
    surface = Surface(scan.vertices, scan.faces)
    far = SimilarityTransform(1.0, np.eye(3), np.array([0, 0, 500.0]))
    with pytest.raises(ItemError, match=r"only 0 of .* the unit"):
        align_surface(scan.vertices, normals, surface, far)
    with pytest.raises(ItemError, match="only"):
        align_surface(scan.vertices[:5], normals[:5], surface, IDENTITY)
    with pytest.raises(InputError, match="trim"):
        IcpOptions(trim=1.0)
    with pytest.raises(InputError, match="shape"):
        align_surface(scan.vertices, normals[:3], surface, IDENTITY)


def test_border_pairs_are_known():
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0.0]])
    surface = Surface(vertices, np.array([[0, 1, 2], [1, 3, 2]]))
    points = np.array([[5, 5, 1], [2, 2, 1], [-3, 2, 0], [12, 12, 0], [8, 9, 4.0]])
    pairs = surface.pairs(points, IDENTITY)
    assert pairs.border.tolist() == [False, False, True, True, False]
    np.testing.assert_allclose(pairs.distance, [1, 1, 3, np.sqrt(8), 4])

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy import toy_model

from facekit.errors import InputError
from facekit.evaluate.projection import corresponded_error, project_shape
from facekit.geometry.alignment import SimilarityTransform, align_similarity
from facekit.geometry.closest_point import build_tree, closest_points

IDENTITY = np.array([1.2, -0.8, 0.5, 1.5, -1.0, 0.3, -0.6, 0.9])


def true_points(count=1500, seed=0):
    """Points strewn over the front of a known shape, not at its vertices."""
    model = toy_model()
    rng = np.random.default_rng(seed)
    vertices = model.shape(IDENTITY).astype(float)
    front = model.faces[(model.mean[model.faces][:, :, 2] > 0).all(axis=1)]
    chosen = front[rng.integers(0, len(front), count)]
    return np.einsum("nk,nkd->nd", rng.dirichlet([1, 1, 1], count), vertices[chosen])


POSE = SimilarityTransform(
    1.1, Rotation.from_rotvec([0.3, -0.2, 0.1]).as_matrix(), np.array([5.0, -40, 12])
)


def near(pose):
    nudge = SimilarityTransform(
        1.03, Rotation.from_rotvec([0.03, 0.02, -0.02]).as_matrix(), np.array([2.0, -1, 1])
    )
    return SimilarityTransform(
        pose.scale * nudge.scale, pose.rotation @ nudge.rotation, pose.apply(nudge.translation)
    )


def distances(model, vertices, points):
    return np.sqrt(closest_points(build_tree(vertices, model.faces), points).squared_distance)


def test_a_shape_of_the_model_is_found_again():
    model = toy_model()
    points = POSE.apply(true_points())
    result = project_shape(model, points, near(POSE), iterations=40)
    left = distances(model, result.to_points.apply(result.vertices.astype(float)), points)
    assert np.median(left) < 0.02
    aligned = align_similarity(result.vertices, model.shape(IDENTITY)).apply(result.vertices)
    front = model.mean[:, 2] > 20
    error = np.linalg.norm(aligned - model.shape(IDENTITY), axis=1)[front]
    start = align_similarity(model.mean, model.shape(IDENTITY)).apply(model.mean)
    assert error.mean() < 0.25 * np.linalg.norm(start - model.shape(IDENTITY), axis=1)[front].mean()


def test_more_modes_come_closer():
    model = toy_model()
    points = POSE.apply(true_points())
    left = []
    for count in (0, 3, 8):
        result = project_shape(model, points, near(POSE), num_modes=count)
        assert result.identity.shape == (count,)
        moved = result.to_points.apply(result.vertices.astype(float))
        left.append(distances(model, moved, points).mean())
    assert left[0] > 1.5 * left[1] > 3 * left[2]


def test_without_scale_the_size_is_the_shapes_own():
    model = toy_model()
    rigid = SimilarityTransform(1.0, POSE.rotation, POSE.translation)
    nudged = near(rigid)._replace(scale=1.0)
    points = rigid.apply(true_points())
    held = project_shape(model, points, nudged, with_scale=False, iterations=40)
    assert held.to_points.scale == 1
    assert np.median(distances(model, held.to_points.apply(held.vertices), points)) < 0.03
    # Points a tenth larger: with a free scale the shape stays, without one it has to grow.
    larger = 1.1 * points
    start = SimilarityTransform(1.0, nudged.rotation, 1.1 * nudged.translation)
    free = project_shape(model, larger, start, iterations=40)
    held = project_shape(model, larger, start, with_scale=False, iterations=40)
    assert free.to_points.scale == pytest.approx(1.1, rel=0.02)
    assert held.to_points.scale == 1
    size = [np.ptp(found.vertices[:, 0]) for found in (free, held)]
    assert size[1] > 1.02 * size[0]


def test_landing_points_are_the_closest_points():
    model = toy_model()
    points = POSE.apply(true_points())
    result = project_shape(model, points, near(POSE))
    moved = result.to_points.apply(result.vertices.astype(float))
    landed = np.einsum("nk,nkd->nd", result.barycentric, moved[model.faces[result.triangle]])
    np.testing.assert_allclose(
        np.linalg.norm(landed - points, axis=1), distances(model, moved, points), atol=1e-6
    )


def test_corresponded_error_sees_a_shift_along_the_surface():
    model = toy_model()
    points = POSE.apply(true_points())
    result = project_shape(model, points, near(POSE), iterations=30)
    own = corresponded_error(result, model.faces, result.vertices, points)
    assert np.median(own) < 0.05
    # A rigid motion of the whole prediction changes nothing.
    turned = result.vertices @ Rotation.from_rotvec([0, 0.2, 0]).as_matrix()
    rigid = corresponded_error(result, model.faces, turned, points)
    np.testing.assert_allclose(rigid, own, atol=1e-3)
    mean = corresponded_error(result, model.faces, model.mean, points)
    assert np.median(mean) > 1


def test_rejections():
    model = toy_model()
    with pytest.raises(InputError, match="at least 10"):
        project_shape(model, np.zeros((5, 3)), POSE)
    with pytest.raises(InputError, match="0 to 8 modes"):
        project_shape(model, np.zeros((50, 3)), POSE, num_modes=9)
    with pytest.raises(InputError, match="finite"):
        project_shape(model, np.full((50, 3), np.nan), POSE)

import numpy as np
import pytest
from toy import ellipsoid

from facekit.errors import InputError
from facekit.geometry.closest_point import build_tree
from facekit.geometry.rays import hemisphere, open_directions


def plane_hits(points, directions, vertices, faces):
    """By brute force: solve for each face's plane point in its own edges."""
    hit = np.zeros((len(points), len(directions)), bool)
    for a, b, c in vertices[faces]:
        for k, d in enumerate(directions):
            system = np.stack([b - a, c - a, -d], axis=1)
            if abs(np.linalg.det(system)) < 1e-12:
                continue
            u, v, t = np.linalg.solve(system, (points - a).T)
            hit[:, k] |= (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return hit


def test_agrees_with_brute_force_on_a_soup_of_triangles():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(60, 3))
    faces = rng.permutation(60).reshape(20, 3).astype(np.int32)
    points, rays = rng.normal(size=(40, 3)), hemisphere(np.array([0, 0, 1.0]), 12)
    starts = points[:, None] + 0.1 * rays
    expected = np.stack(
        [plane_hits(starts[:, k], rays[k : k + 1], vertices, faces)[:, 0] for k in range(12)], 1
    )
    tree = build_tree(vertices, faces)
    found = open_directions(tree, points, rays, start=0.1, enough=12)
    np.testing.assert_array_equal(found, (~expected).sum(axis=1))
    assert 0 < expected.mean() < 1
    capped = open_directions(tree, points, rays, start=0.1, enough=3)
    np.testing.assert_array_equal(capped, np.minimum(found, 3))


def test_a_closed_surface_hides_its_inside_and_shows_its_outside():
    vertices, faces = ellipsoid(25, 36)
    tree = build_tree(vertices, faces)
    rays = hemisphere(np.array([0, 0, 1.0]), 48)
    assert open_directions(tree, 0.5 * vertices, rays, start=0.5, enough=48).max() == 0
    assert open_directions(tree, 3 * vertices[:1], rays, start=0.5, enough=48)[0] > 20
    front = vertices[:, 2] > 60
    assert open_directions(tree, vertices[front], rays, start=0.5, enough=48).min() > 20


def test_hemisphere_is_even_and_spread_from_the_first():
    axis = np.array([0.6, 0, 0.8])
    rays = hemisphere(axis, 48)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    assert (rays @ axis).min() > 0
    np.testing.assert_allclose(rays.mean(axis=0), 0.5 * axis, atol=0.03)
    assert (rays[:4] @ rays[:4].T - np.eye(4)).max() < 0.95


def test_rejections():
    tree = build_tree(*ellipsoid(5, 6))
    rays = np.eye(3)
    for bad in ({"start": 0.0, "enough": 1}, {"start": 1.0, "enough": 0}):
        with pytest.raises(InputError, match="rays"):
            open_directions(tree, np.zeros((1, 3)), rays, **bad)
    with pytest.raises(InputError, match="hemisphere"):
        hemisphere(rays[0], 0)

"""Silhouettes: areas that are known, finite differences of moving geometry, what hides what."""

import numpy as np
import pytest
import torch
import toy
from differentiable_scene import FLIP, Scene, bits, gradients, leaf

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.cameras import project as project_points
from facekit.morphable.builtin import load_builtin
from facekit.render.differentiable import plain
from facekit.render.differentiable.antialias import antialias
from facekit.render.differentiable.held import hold
from facekit.render.differentiable.silhouette import find_silhouettes
from facekit.render.differentiable.topology import Topology
from facekit.render.images import turned_camera

SIZE = 40
FOCAL = 110.0


def coverage(points, topology, size=SIZE, blend=antialias, cull=True):
    held = hold(points, topology, size, size, cull=cull)
    ones = held.to_image(points.new_ones(len(held.pixels), 1))
    return blend(ones, points, held, topology, cull=cull)[..., 0]


def sheet(corners, depth=500.0):
    """Triangles of screen points (N, 3, 2), seen from outside."""
    corners = torch.as_tensor(corners, dtype=torch.float64)
    x, y = corners.unbind(-1)
    area = (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0]) - (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
    assert (area > 0).all()
    flat = corners.reshape(1, -1, 2)
    points = torch.cat([flat, torch.full_like(flat[..., :1], depth)], -1)
    return points, Topology(np.arange(flat.shape[1], dtype=np.int32).reshape(-1, 3), flat.shape[1])


def rectangle(left, top, right, bottom, depth=500.0):
    points, _ = sheet([[(left, top), (left, bottom), (right, bottom)]], depth)
    fourth = points[:, :1] * torch.tensor([0.0, 1, 1]) + points[:, 2:] * torch.tensor([1.0, 0, 0])
    return torch.cat([points, fourth], 1), Topology(np.array([[0, 1, 2], [0, 2, 3]], np.int32), 4)


def ellipsoid_points(move, scale=1.0):
    vertices, faces = toy.ellipsoid()
    far = torch.tensor([0.0, 0.0, 700.0], dtype=torch.float64)
    place = (torch.from_numpy(vertices) @ FLIP) * scale + far + move
    lens = torch.tensor([[FOCAL, 0, 19.4], [0, FOCAL, 19.7], [0, 0, 1.0]], dtype=torch.float64)
    return plain.project(place[None], lens[None]), Topology(faces, len(vertices))


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.75, 0.9])
def test_an_upright_border_is_covered_exactly(shift):
    points, topology = rectangle(4.0 + shift, 3.0, 11.0 + shift, 12.0)
    drawn = coverage(points, topology, 16)[0]
    columns = np.arange(16)
    low, high = columns - 0.5, columns + 0.5
    exact = np.clip(np.minimum(high, 11 + shift) - np.maximum(low, 4 + shift), 0, 1)
    # Rows away from the corners.
    np.testing.assert_allclose(drawn[6], exact, atol=1e-6)
    np.testing.assert_allclose(drawn[8], exact, atol=1e-6)


def test_the_area_moves_smoothly_with_a_border():
    areas = []
    for shift in np.linspace(0, 3, 61):
        points, topology = rectangle(4.3, 3.2, 9.0 + shift, 12.7)
        areas.append(float(coverage(points, topology, 16).sum()))
    steps = np.diff(areas)
    # Each step adds 0.05 px to nine rows; with each column of centres that it reaches, the upper
    # and lower borders gain a column of theirs at once.
    np.testing.assert_allclose(np.sort(steps)[:57], 0.05 * 9, rtol=1e-6)
    np.testing.assert_allclose(np.sort(steps)[57:], 0.05 * 9 + 0.3 + 0.2, rtol=1e-6)
    np.testing.assert_allclose(areas[-1] - areas[0], 3 * (12.7 - 3.2), rtol=1e-6)


def test_the_area_of_an_ellipsoid_is_the_true_one():
    radii = toy.RADII
    for scale in (1.0, 1.013, 1.037):
        points, topology = ellipsoid_points(torch.zeros(3), scale)
        a, b, c = radii * scale
        exact = np.pi * FOCAL**2 * a * b / (700**2 - c**2)
        drawn = float(coverage(points, topology).sum())
        # The mesh lies inside the ellipsoid: 0.2 % of its outline's area.
        assert drawn == pytest.approx(0.998 * exact, rel=1.5e-3)


@pytest.mark.parametrize("move", [(0.0, 0, 0), (1.3, -0.4, 0), (2.7, 5.1, 30)])
def test_gradients_of_moving_geometry_equal_finite_differences(move):
    y, x = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float64)] * 2, indexing="ij")
    weight = torch.sin(x / 5) * torch.cos(y / 7) + 0.3 * x

    def value(place, scale):
        return (coverage(*ellipsoid_points(place, scale))[0] * weight).sum()

    place, scale = leaf(torch.tensor(move, dtype=torch.float64)), leaf(torch.tensor(1.01).double())
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value(place, scale),
                                                                     (place, scale))])  # fmt: skip
    for step, tolerance in ((1e-6, 1e-6), (0.02, 0.02)):
        found = []
        with torch.no_grad():
            for k in range(3):
                d = step * torch.eye(3, dtype=torch.float64)[k]
                found.append((value(place + d, scale) - value(place - d, scale)) / (2 * step))
            d = step / 100
            found.append((value(place, scale + d) - value(place, scale - d)) / (2 * d))
        # A scale of 1 moves by 100 mm, so its gradient is a hundred times a place's.
        units = torch.tensor([1.0, 1, 1, 100])
        scaled = (torch.stack(found) / units, gradient / units)
        torch.testing.assert_close(*scaled, rtol=tolerance, atol=tolerance * 60)


def test_gradcheck_of_colours_and_vertices():
    scene = Scene(rows=7, columns=9, size=14)
    held = scene.held()
    points = scene.points()
    image = torch.rand(2, 14, 14, 2, generator=torch.Generator().manual_seed(3)).double()
    assert torch.autograd.gradcheck(
        lambda i, p: antialias(i, p, held, scene.topology),
        (leaf(image), leaf(points)),
        eps=1e-7,
        atol=1e-6,
        rtol=1e-4,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_equal_the_plain_twin(dtype):
    scene = Scene(rows=15, columns=22, size=30, dtype=dtype)
    held = scene.held()
    results = []
    for blend in (antialias, plain.antialias):
        image, points = leaf(scene.image[:, :1].repeat(1, 30, 1, 1)), leaf(scene.points())
        drawn = blend(image, points, held, scene.topology)
        results.append([drawn, *gradients(drawn, (image, points))])
    tolerance = 2e-4 if dtype == torch.float32 else 1e-10
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def test_the_number_of_threads_changes_no_bit():
    scene = Scene(batch=3)
    held, results = scene.held(), []
    for count in (1, 3):
        with threads.limit_threads(count):
            image, points = leaf(scene.image), leaf(scene.points())
            drawn = antialias(image, points, held, scene.topology)
            results.append([bits(drawn), *map(bits, gradients(drawn, (image, points)))])
    assert results[0] == results[1]


def test_a_border_before_another_surface_blends_the_two():
    near, _ = rectangle(2.0, 2.0, 8.3, 13.0, depth=400.0)
    far, _ = rectangle(0.0, 0.0, 15.0, 15.0, depth=600.0)
    points = torch.cat([near, far], 1)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    topology = Topology(faces, 8)
    held = hold(points, topology, 16, 16)
    red = torch.from_numpy(held.triangle.astype(np.int64) < 2).double()[:, None]
    drawn = antialias(held.to_image(red), points, held, topology)[0, ..., 0]
    np.testing.assert_allclose(drawn[7, 7:10], [1, 0.8, 0], atol=1e-9)


def test_a_hidden_border_is_not_drawn():
    near, _ = rectangle(0.0, 0.0, 15.0, 15.0, depth=400.0)
    far, _ = rectangle(2.0, 2.0, 8.3, 13.0, depth=600.0)
    topology = Topology(np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32), 8)
    points = torch.cat([near, far], 1)
    held = hold(points, topology, 16, 16)
    pairs = find_silhouettes(points.numpy(), topology, held.triangles_image())
    assert (pairs.ends < 4).all()


def test_an_edge_inside_a_surface_is_no_silhouette():
    points, topology = rectangle(1.2, 1.2, 13.3, 13.3)
    held = hold(points, topology, 16, 16)
    pairs = find_silhouettes(points.numpy(), topology, held.triangles_image())
    assert len(pairs.inside) > 40
    assert not {0, 2} <= set(map(int, pairs.ends[(pairs.ends == 0).any(1)].ravel())) - {1, 3}


def test_the_borders_of_both_sides_are_drawn_without_culling():
    points, topology = rectangle(2.0, 2.0, 8.3, 13.0)
    behind = Topology(topology.faces[:, ::-1].copy(), 4)
    assert float(coverage(points, behind, 16).abs().max()) == 0
    drawn = coverage(points, behind, 16, cull=False)
    torch.testing.assert_close(drawn, coverage(points, topology, 16))


def test_faces_below_a_pixel_have_silhouettes_too():
    model = load_builtin()
    topology = Topology(model.faces, len(model.mean))
    fine, coarse = 320, 40
    turned = turned_camera(model.mean, yaw_deg=25, width=fine, height=fine)
    points = torch.from_numpy(project_points(turned, model.mean))[None]
    small = points.clone()
    small[..., :2] = (points[..., :2] + 0.5) * (coarse / fine) - 0.5
    sampled = hold(points, topology, fine, fine).triangles_image()[0] >= 0
    exact = sampled.reshape(coarse, fine // coarse, coarse, -1).mean((1, 3))
    hard = (hold(small, topology, coarse, coarse).triangles_image()[0] >= 0).astype(float)
    soft = coverage(small, topology, coarse)[0].numpy()
    border = (exact > 0.02) & (exact < 0.98)
    assert border.sum() > 60
    error = np.abs(soft - exact)[border].mean()
    assert error < 0.2 * np.abs(hard - exact)[border].mean()
    assert error < 0.06


def test_rejections_and_nothing_to_draw():
    scene = Scene()
    held = scene.held()
    with pytest.raises(InputError, match="image: expected shape"):
        antialias(scene.image[:, 1:], scene.points(), held, scene.topology)
    with pytest.raises(InputError, match="one dtype"):
        antialias(scene.image.float(), scene.points(), held, scene.topology)
    gone = scene.points() + torch.tensor([900.0, 0, 0])
    empty = hold(gone, scene.topology, scene.size, scene.size)
    torch.testing.assert_close(antialias(scene.image, gone, empty, scene.topology), scene.image)

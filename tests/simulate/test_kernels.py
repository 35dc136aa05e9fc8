"""The compiled passes against plain numpy."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_heads import toy_subject
from skin_twin import lip_mask, paint_skin

from facekit.errors import InputError
from facekit.geometry.cameras import project, to_camera
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import euler_to_matrix
from facekit.render.interpolate import interpolate_at, unit
from facekit.render.rasterise import depth_map, rasterise
from facekit.render.shade import sh_shading, specular
from facekit.simulate.curves import percentiles
from facekit.simulate.light import SKIN_WRAP, random_light
from facekit.simulate.parallel_view import parallel_points, share_before, vertex_box, view_axes
from facekit.simulate.pixels import Placed, Surface, bend, gather, lit_colours, place_vertices
from facekit.simulate.portrait import View, face_centre, view_camera
from facekit.simulate.skin import paint_skin_and_lips, random_skin


def standard():
    subject = toy_subject()
    scale, origin = subject.standard
    marks = (subject.neutral_landmarks - origin) * scale
    return ((subject.neutral - origin) * scale).astype(np.float32), marks


@pytest.mark.parametrize("seed", range(4))
def test_skin_is_painted_as_the_plain_painters_do(seed):
    _, marks = standard()
    rng = np.random.default_rng(seed)
    style = random_skin(rng, hair_colour=np.full(3, 0.05))
    style = replace(style, beard=(0.0, 0.25, 0.9, 0.5)[seed], freckles=float(seed))
    # Dense about the face: every brow, lid, lip and nostril gets points.
    low, high = marks.min(0) - [20, 40, 20], marks.max(0) + [20, 40, 10]
    places = rng.uniform(low, high, (4000, 3)).astype(np.float32)
    places = np.concatenate([places, (marks + rng.normal(0, 2, marks.shape)).astype(np.float32)])
    painted = paint_skin_and_lips(places, marks, style)
    np.testing.assert_allclose(painted.albedo, paint_skin(places, marks, style), atol=2e-5)
    np.testing.assert_allclose(painted.lips, lip_mask(places, marks), atol=1e-5)
    assert painted.lips.max() > 0.5


def scene_pixels():
    subject = toy_subject()
    view = View(0.4, 0.1, -0.2, 700.0, 150.0, 64, 64)
    camera = view_camera(view, face_centre(subject))
    turn = euler_to_matrix(0.2, 0, 0)
    body = slice(len(subject.vertices) // 2, len(subject.vertices))
    placed = place_vertices(
        subject.vertices,
        camera.rotation,
        camera.translation,
        camera.intrinsics,
        body=body,
        body_rotation=camera.rotation @ turn,
        body_translation=camera.translation + 5,
    )
    return subject, camera, turn, body, placed


def test_vertices_are_placed_as_the_camera_does():
    subject, camera, turn, body, placed = scene_pixels()
    head = subject.vertices[: body.start]
    np.testing.assert_allclose(placed.in_camera[: body.start], to_camera(camera, head), atol=1e-9)
    np.testing.assert_allclose(placed.points[: body.start], project(camera, head), atol=1e-9)
    moved = subject.vertices[body] @ (camera.rotation @ turn).T + camera.translation + 5
    np.testing.assert_allclose(placed.in_camera[body], moved, atol=1e-9)


def test_pixels_gather_what_interpolation_gives():
    subject, camera, _, _, _ = scene_pixels()
    in_camera = to_camera(camera, subject.vertices.astype(np.float64))
    placed = Placed(in_camera, project(camera, subject.vertices))
    # Both sides of the head are drawn, so that some faces are seen from behind.
    half = subject.faces[len(subject.faces) // 2 :]
    seen = rasterise(placed.points, half, 64, 64, cull=False)
    chosen = seen.triangle >= 0
    triangle, weights = seen.triangle[chosen], seen.barycentric[chosen]
    normals = vertex_normals(subject.vertices, subject.faces)
    occlusion = np.linspace(0, 1, len(subject.vertices), dtype=np.float32)
    places = subject.neutral.astype(np.float32)
    surface = gather(triangle, weights, half, placed, normals, places, occlusion, camera.rotation)
    attributes = np.column_stack([in_camera, normals @ camera.rotation.T, places, occlusion])
    expected = interpolate_at(triangle, weights, half, attributes)
    corners = placed.points[half[triangle], :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    behind = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0
    np.testing.assert_array_equal(surface.behind, behind)
    assert behind.any()
    np.testing.assert_allclose(surface.position, expected[:, :3], rtol=1e-6)
    np.testing.assert_allclose(surface.view, -unit(expected[:, :3]), atol=1e-6)
    side = np.where(behind, -1, 1)[:, None]
    np.testing.assert_allclose(surface.normal, side * unit(expected[:, 3:6]), atol=1e-5)
    np.testing.assert_allclose(surface.places, expected[:, 6:9], atol=1e-4)
    np.testing.assert_allclose(surface.open_to, expected[:, 9], atol=1e-6)

    slopes = np.random.default_rng(0).normal(0, 0.2, (5, 3)).astype(np.float32)
    rows = np.array([3, 1, 7, 20, 11])
    bent = unit(surface.normal[rows] - slopes @ camera.rotation.T.astype(np.float32))
    bend(surface.normal, rows, slopes, camera.rotation)
    np.testing.assert_allclose(surface.normal[rows], bent, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_light_is_the_sum_of_its_published_parts(seed):
    rng = np.random.default_rng(seed)
    light = random_light(rng)
    count = 500
    normal = unit(rng.standard_normal((count, 3))).astype(np.float32)
    view = unit(rng.standard_normal((count, 3))).astype(np.float32)
    albedo = rng.uniform(0, 1, (count, 3)).astype(np.float32)
    gloss = np.maximum(rng.uniform(-0.5, 1, count), 0).astype(np.float32)
    roughness, lit, open_to = rng.uniform(0.1, 1, (3, count)).astype(np.float32)
    skin = rng.random(count) < 0.5
    surface = Surface(normal, normal, view, normal, open_to, skin)
    found = lit_colours(
        surface, albedo, gloss, roughness, lit, skin,
        ambient=light.ambient,
        lights=np.array([[*light.key, *light.key_colour], [*light.fill, *light.fill_colour]]),
        wrap=SKIN_WRAP,
    )  # fmt: skip
    received = np.maximum(sh_shading(normal, light.ambient), 0) * open_to[:, None]
    shine = np.zeros((count, 3))
    for toward, colour, seen in (
        (light.key, light.key_colour, lit),
        (light.fill, light.fill_colour, open_to),
    ):
        wrap = skin[:, None] * SKIN_WRAP
        cosine = (normal @ toward.astype(np.float32))[:, None]
        received = received + np.maximum((cosine + wrap) / (1 + wrap), 0) * seen[:, None] * colour
        mirror = specular(normal, view, toward, roughness=roughness)
        shine += np.minimum(mirror * np.pi * seen, 3.0)[:, None] * colour
    cosine = np.clip((normal * view).sum(1), 0, 1)
    edge = (0.028 + 0.3 * (1 - cosine) ** 5) * (1 - roughness) * open_to
    shine += edge[:, None] * np.maximum(light.ambient[0] * 0.28, 0)
    expected = albedo * received + shine * gloss[:, None]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_a_depth_map_is_the_depth_of_the_fragments():
    subject, _, _, _, placed = scene_pixels()
    fragments = rasterise(placed.points, subject.faces, 64, 64, cull=False)
    depth = depth_map(placed.points, subject.faces, 64, 64, cull=False)
    np.testing.assert_array_equal(np.isfinite(depth), fragments.covered)
    expected = fragments.depth(placed.points, subject.faces)[fragments.covered]
    np.testing.assert_allclose(depth[fragments.covered], expected, rtol=2e-5)
    with pytest.raises(InputError, match="1x1"):
        depth_map(placed.points, subject.faces, 0, 4)


def test_parallel_views_look_along_their_axes():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 50, (300, 3)).astype(np.float32)
    normals = unit(rng.standard_normal((300, 3))).astype(np.float32)
    for toward in (np.array([0, 0, 1.0]), np.array([0.6, 0.8, 0]), np.array([-0.6, 0, -0.8])):
        axes = view_axes(toward)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert abs(np.linalg.det(axes)) == pytest.approx(1)
        np.testing.assert_allclose(axes[2], -toward)
        shift = np.array([1.0, 2, 3])
        seen = parallel_points(points, axes, shift, 2.0, far=100, normals=normals, lift=1.5)
        expected = (points + 1.5 * normals.astype(np.float64)) @ axes.T - shift
        expected[:, :2] *= 2
        expected[:, 2] += 100
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-3)
    box = vertex_box(points)
    np.testing.assert_array_equal(box, [points.min(0), points.max(0)])
    with pytest.raises(InputError, match="at least 1"):
        vertex_box(np.zeros((0, 3)))


def test_looks_outside_a_map_find_nothing_before_the_point():
    depth = np.full((3, 4), np.inf, np.float32)
    depth[1, 2] = 10
    points = np.array([[2.0, 1, 9], [2, 1, 12], [2.4, 1.4, 12], [9, 1, 99]])
    offsets = np.array([[0.0, 0], [1, 0]])
    share = share_before(depth, points, offsets, slack=1.0)
    np.testing.assert_allclose(share, [1, 0.5, 0.5, 1])


def test_percentiles_are_those_of_numpy():
    values = np.random.default_rng(0).standard_normal(37)
    wanted = [0.0, 3, 50, 96, 100]
    np.testing.assert_allclose(percentiles(values, wanted), np.percentile(values, wanted))
    assert percentiles(values[:1], [40])[0] == values[0]

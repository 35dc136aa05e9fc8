import numpy as np
import pytest
from toy import RADII, ellipsoid

from facekit.basis.remesh import SurfacePoints, remesh
from facekit.errors import InputError
from facekit.geometry.mesh import face_areas, face_normals, mesh_edges


def grid(n=21, size=100.0):
    """A flat square and its border as one curve."""
    t = np.linspace(0, size, n)
    x, y = (a.ravel() for a in np.meshgrid(t, t, indexing="ij"))
    points = np.column_stack([x, y, np.zeros_like(x)])
    faces = []
    for i in range(n - 1):
        for j in range(n - 1):
            a, b, c, d = i * n + j, (i + 1) * n + j, (i + 1) * n + j + 1, i * n + j + 1
            faces += [(a, b, c), (a, c, d)]
    faces = np.array(faces, np.int32)
    edges = mesh_edges(faces)
    return points, faces, edges.vertices[edges.num_faces == 1]


def sides(points, border, size=100.0):
    """The border as four curves that meet at the corners."""
    found = []
    for axis, value in ((0, 0.0), (0, size), (1, 0.0), (1, size)):
        on = np.abs(points[border][:, :, axis] - value).max(axis=1) < 1e-9
        found.append(border[on])
    return found


def run(points, faces, sizing, curves, **options):
    regions = options.pop("regions", np.zeros(len(faces), int))
    return remesh(points, faces, sizing=sizing, regions=regions, curves=curves, **options)


def test_a_square_keeps_its_outline_and_area():
    points, faces, border = grid()
    out = run(points, faces, np.full(len(points), 9.0), sides(points, border))
    assert face_areas(out.vertices, out.faces).sum() == pytest.approx(1e4)
    assert (face_normals(out.vertices, out.faces)[:, 2] > 0.99).all()
    edges = mesh_edges(out.faces)
    length = np.linalg.norm(np.diff(out.vertices[edges.vertices], axis=1)[:, 0], axis=1)
    assert 7 < np.median(length) < 11
    assert length.max() < 2 * 9 and length.min() > 9 / 3
    corners = {(0, 0), (0, 100), (100, 0), (100, 100)}
    assert corners <= {(round(x), round(y)) for x, y, _ in out.vertices.tolist()}


def test_the_mesh_follows_the_sizing_field():
    points, faces, border = grid()
    sizing = 3.0 + 0.12 * points[:, 0]
    out = run(points, faces, sizing, sides(points, border))
    pairs = mesh_edges(out.faces).vertices
    middle = out.vertices[pairs].mean(axis=1)
    length = np.linalg.norm(np.diff(out.vertices[pairs], axis=1)[:, 0], axis=1)
    ratio = length / (3.0 + 0.12 * middle[:, 0])
    assert 0.8 < np.median(ratio) < 1.15
    assert np.percentile(ratio, 98) < 1.6


def test_every_vertex_is_a_point_of_the_source():
    vertices, faces = ellipsoid(21, 30)
    out = run(vertices, faces, np.full(len(vertices), 14.0), [])
    on_source = out.source.carry(vertices)
    np.testing.assert_allclose(on_source, out.vertices, atol=1e-9)
    np.testing.assert_allclose(out.source.weights.sum(axis=1), 1)
    assert out.source.weights.min() >= 0
    assert np.abs(np.linalg.norm(out.vertices / RADII, axis=1) - 1).max() < 0.03
    edges = mesh_edges(out.faces)
    assert (edges.num_faces == 2).all()
    # Euler's formula: still a sphere.
    assert len(out.vertices) - len(edges.vertices) + len(out.faces) == 2
    matrix = out.source.matrix(len(vertices))
    np.testing.assert_allclose(matrix @ vertices, out.vertices, atol=1e-9)


def test_triangles_are_well_shaped():
    vertices, faces = ellipsoid(21, 30)
    out = run(vertices, faces, np.full(len(vertices), 12.0), [])
    corner = out.vertices[out.faces]
    square = sum(((corner[:, i] - corner[:, (i + 1) % 3]) ** 2).sum(axis=1) for i in range(3))
    quality = 4 * np.sqrt(3) * face_areas(out.vertices, out.faces) / square
    assert np.percentile(quality, 1) > 0.6 and np.median(quality) > 0.93


def test_a_feature_curve_and_its_regions_stay():
    points, faces, border = grid()
    left = points[faces].mean(axis=1)[:, 0] < 50
    edges = mesh_edges(faces)
    line = edges.vertices[np.abs(points[edges.vertices][:, :, 0] - 50).max(axis=1) < 1e-9]
    curves = [*sides(points, border), line]
    out = run(points, faces, np.full(len(points), 7.0), curves, regions=left.astype(int))
    on_line = out.curve == 4
    np.testing.assert_allclose(out.vertices[on_line][:, 0], 50, atol=1e-9)
    middle = out.vertices[out.faces].mean(axis=1)[:, 0]
    np.testing.assert_array_equal(out.region == 1, middle < 50)
    area = face_areas(out.vertices, out.faces)
    assert area[out.region == 1].sum() == pytest.approx(5e3)


def test_the_result_is_the_same_every_time():
    points, faces, border = grid(11)
    a, b = (run(points, faces, np.full(len(points), 8.0), sides(points, border)) for _ in "ab")
    np.testing.assert_array_equal(a.faces, b.faces)
    np.testing.assert_array_equal(a.vertices, b.vertices)


def test_carry_takes_batches():
    points = SurfacePoints(np.array([[0, 1, 2]]), np.array([[0.5, 0.25, 0.25]]))
    values = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_allclose(points.carry(values)[1, 0], [14.25, 15.25, 16.25])


def test_bad_input_is_refused():
    points, faces, border = grid(5)
    with pytest.raises(InputError, match="open border"):
        run(points, faces, np.full(len(points), 9.0), [])
    with pytest.raises(InputError, match="positive"):
        run(points, faces, np.zeros(len(points)), [border])
    with pytest.raises(InputError, match="sizing"):
        run(points, faces, np.ones(3), [border])

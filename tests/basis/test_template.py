"""The template's recipe on the source heads; its parts also on shapes the test makes."""

import dataclasses

import numpy as np
import pytest
from toy import ellipsoid

from facekit.basis.carry import fit_sphere
from facekit.basis.template import eyeball_directions, eyeball_faces
from facekit.basis.uv import border_loop, flatten_disc
from facekit.errors import InputError
from facekit.geometry.mesh import face_areas, face_normals, mesh_edges

FLIP = np.array([-1.0, 1.0, 1.0])


def cap(rows=15, columns=24):
    """The front half of an ellipsoid: a disc."""
    vertices, faces = ellipsoid(rows, columns)
    faces = faces[(vertices[faces][:, :, 2] > -1e-6).all(axis=1)]
    used = np.unique(faces)
    renumber = np.full(len(vertices), -1)
    renumber[used] = np.arange(len(used))
    return vertices[used], renumber[faces].astype(np.int32)


def circle_border(vertices, faces):
    loop = border_loop(faces)
    run = np.linalg.norm(np.diff(vertices[np.append(loop, loop[0])], axis=0), axis=1).cumsum()
    angle = 2 * np.pi * run / run[-1]
    boundary = np.full((len(vertices), 2), np.nan)
    boundary[loop] = np.column_stack([np.cos(angle), np.sin(angle)])
    return boundary


def areas(uv, faces):
    a, b, c = (uv[faces[:, k]] for k in range(3))
    u, v = b - a, c - a
    return 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])


def test_a_flattened_disc_has_no_folds_and_even_density():
    vertices, faces = cap()
    boundary = circle_border(vertices, faces)
    density = np.ones(len(faces))
    uv = flatten_disc(vertices, faces, boundary, density=density)
    flat = areas(uv, faces)
    assert flat.min() > 0
    ratio = flat / face_areas(vertices, faces)
    first = areas(flatten_disc(vertices, faces, boundary, density=density, rounds=1), faces)
    before = first / face_areas(vertices, faces)
    assert ratio.std() / ratio.mean() < before.std() / before.mean()


def test_density_gives_a_part_more_room():
    vertices, faces = cap()
    boundary = circle_border(vertices, faces)
    middle = np.linalg.norm(vertices[faces].mean(axis=1)[:, :2], axis=1) < 40
    even = areas(flatten_disc(vertices, faces, boundary, density=np.ones(len(faces))), faces)
    wanted = np.where(middle, 2.0, 1.0)
    dense = areas(flatten_disc(vertices, faces, boundary, density=wanted), faces)
    assert dense[middle].sum() > 1.3 * even[middle].sum()


def test_surfaces_that_are_no_disc_are_refused():
    _, faces = ellipsoid(9, 12)
    with pytest.raises(InputError, match="closed"):
        border_loop(faces)
    vertices, faces = cap()
    foremost = int(vertices[faces].mean(axis=1)[:, 2].argmax())
    with pytest.raises(InputError, match="several"):
        border_loop(np.delete(faces, foremost, axis=0))


def test_the_eyeball_is_a_clean_cap():
    points, faces = eyeball_directions(), eyeball_faces()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    assert (face_normals(points, faces) * points[faces].mean(axis=1)).sum(axis=1).min() > 0
    edges = mesh_edges(faces)
    assert (edges.num_faces == 1).sum() == 24
    assert len(np.unique(faces)) == len(points)


def test_a_sphere_is_found_in_spite_of_a_bulge():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.where(directions[:, 2] > 0.95, 14.0, 12.0)
    found = fit_sphere([3, 4, 5] + directions * radius[:, None])
    np.testing.assert_allclose(found.centre, [3, 4, 5], atol=0.05)
    assert found.radius == pytest.approx(12, abs=0.05)


@pytest.fixture(scope="module")
def source(request):
    folder = request.getfixturevalue("data_folder")
    from facekit.basis.ict_source import IctSource

    return IctSource(folder / "ict_facekit.npz")


@pytest.fixture(scope="module")
def template(source):
    from facekit.basis.ict_template import make_template

    return make_template(source, num_vertices=3000)


def test_the_recipe_makes_a_symmetric_head(template):
    v = len(template.vertices)
    assert 2500 < v < 3500
    assert (template.mirror[template.mirror] == np.arange(v)).all()
    np.testing.assert_array_equal(template.vertices[template.mirror] * FLIP, template.vertices)
    edges = mesh_edges(template.faces)
    assert set(np.unique(edges.num_faces)) == {1, 2}
    assert (areas(template.uvs, template.face_uvs) > 0).all()


def test_the_template_carries_heads_and_expressions(source, template):
    from facekit.basis.carry import Carrier
    from facekit.basis.registered import _topology

    carrier = Carrier(source, _topology(template))
    skin = len(template.skin.corners)
    head = source.identity(np.full((1, 20), 0.5))[0]
    carried = carrier.carry(head)
    np.testing.assert_allclose(carried[:skin], template.skin.carry(head.astype(float)), atol=1e-6)
    neutral = carrier.carry(source.neutral)
    open_jaw = carrier.carry_expression("jawOpen")
    chin = template.regions["chin"]
    assert (open_jaw - neutral)[chin, 1].max() < -10
    look = carrier.carry_expression("eyeLookUp_R")
    moved = np.linalg.norm(look - neutral, axis=1)
    assert moved[template.part == 4].max() > 5 and moved[template.part == 3].max() < 1e-9


def test_sampling_is_seeded_and_builds(source, template, tmp_path):
    from facekit.basis.assemble import BuildOptions, build_model
    from facekit.basis.registered import read_vertices, sample_heads

    rows = sample_heads(source, template, tmp_path / "a", count=6, seed=1)
    again = sample_heads(source, template, tmp_path / "b", count=6, seed=1)
    first = read_vertices(tmp_path / "a", rows[-1], template)
    np.testing.assert_array_equal(first, read_vertices(tmp_path / "b", again[-1], template))
    built = build_model(tmp_path / "a", template, options=BuildOptions("small", 5))
    assert built.num_subjects == 7 and built.model.num_expression == 53
    with pytest.raises(InputError, match="at least 2"):
        sample_heads(source, template, tmp_path / "c", count=1)


def test_a_file_that_is_no_source_is_refused(tmp_path):
    from facekit.basis.ict_source import IctSource

    with pytest.raises(InputError, match="found no file"):
        IctSource(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(InputError, match="missing"):
        IctSource(tmp_path / "x.npz")


def test_replacing_landmarks_keeps_the_rest():
    from toy_heads import toy_template

    template = toy_template()
    marks = template.landmarks["tragion"]
    more = template.with_landmarks({"again": marks})
    assert set(more.landmarks) == {"tragion", "again"}
    assert dataclasses.replace(more, landmarks={}).sha256 == template.sha256

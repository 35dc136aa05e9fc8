import numpy as np
import pytest
from toy_heads import FLIP, toy_template

from facekit.basis.symmetry import mirror_faces, mirrored_map, symmetric_map
from facekit.errors import InputError
from facekit.types import LandmarkMap


def points(template, marks):
    return np.einsum(
        "nk,nkd->nd", marks.barycentric, template.vertices[template.faces[marks.faces]]
    )


def random_marks(template, count, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(3), count).astype(np.float32)
    return LandmarkMap(rng.integers(0, len(template.faces), count).astype(np.int32), weights)


def test_a_faces_image_has_the_images_of_its_corners():
    template = toy_template()
    other = mirror_faces(template.faces, template.mirror)
    np.testing.assert_array_equal(other[other], np.arange(len(template.faces)))
    for face, image in zip(template.faces, template.faces[other], strict=True):
        assert set(template.mirror[face]) == set(image)


def test_a_mirrored_map_gives_mirrored_points():
    template = toy_template()
    marks = random_marks(template, 10)
    partner = np.array([1, 0, 3, 2, 5, 4, 7, 6, 9, 8])
    image = mirrored_map(template.faces, template.mirror, marks, partner)
    np.testing.assert_allclose(
        points(template, image), points(template, marks)[partner] * FLIP, atol=1e-5
    )


def test_a_symmetric_map_is_symmetric_and_keeps_the_left_points():
    template = toy_template()
    marks = random_marks(template, 4)
    middle = np.flatnonzero((template.mirror[template.faces] == template.faces).sum(axis=1) == 2)
    marks = LandmarkMap(
        np.append(marks.faces, middle[0]).astype(np.int32),
        np.append(marks.barycentric, [[0.2, 0.3, 0.5]], axis=0).astype(np.float32),
    )
    partner = np.array([1, 0, 3, 2, 4])
    found = symmetric_map(template.vertices, template.faces, template.mirror, marks, partner)
    place, before = points(template, found), points(template, marks)
    np.testing.assert_allclose(place[partner] * FLIP, place, atol=1e-4)
    assert place[4, 0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.barycentric.sum(axis=1), 1, atol=1e-6)
    for i, j in ((0, 1), (2, 3)):
        left = i if before[i, 0] >= before[j, 0] else j
        np.testing.assert_allclose(place[left], before[left], atol=1e-4)


def test_lopsided_faces_and_stray_middle_points_are_refused():
    template = toy_template()
    with pytest.raises(InputError, match="symmetric faces"):
        mirror_faces(template.faces[:-1], template.mirror)
    away = np.flatnonzero((template.mirror[template.faces] != template.faces).all(axis=1))
    marks = LandmarkMap(away[:1].astype(np.int32), np.full((1, 3), 1 / 3, np.float32))
    with pytest.raises(InputError, match="midline"):
        symmetric_map(template.vertices, template.faces, template.mirror, marks, np.array([0]))

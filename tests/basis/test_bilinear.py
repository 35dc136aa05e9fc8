import json

import numpy as np
import pytest
from toy_heads import toy_modes, toy_template

from facekit.basis.bilinear import bilinear_model, bilinear_of_folder, write_bilinear
from facekit.basis.registered import write_head, write_index
from facekit.errors import InputError

TEMPLATE = toy_template(rows=9, columns=16)


def faces_of(persons=4, expressions=3, rank=2):
    """Faces that are bilinear in hidden person and expression weights."""
    rng = np.random.default_rng(0)
    core = toy_modes(TEMPLATE.vertices, rank * rank).reshape(rank, rank, -1, 3)
    a, b = rng.standard_normal((persons, rank)), rng.standard_normal((expressions, rank))
    return TEMPLATE.vertices + np.einsum("ni,ej,ijvd->nevd", a, b, core)


def names(prefix, count):
    return tuple(f"{prefix}{i}" for i in range(count))


def test_all_of_it_reproduces_every_face():
    faces = faces_of()
    model = bilinear_model(faces, subjects=names("s", 4), names=names("e", 3))
    for n in range(4):
        for e in range(3):
            found = model.shape(model.identities[n], model.expressions[e])
            np.testing.assert_allclose(found, faces[n, e], atol=1e-8)


def test_hidden_sizes_are_enough():
    # Two hidden weights, and one more for the mean that was taken away.
    faces = faces_of(persons=6, expressions=5)
    model = bilinear_model(
        faces, subjects=names("s", 6), names=names("e", 5), num_identity=3, num_expression=3
    )
    assert model.core.shape[:2] == (3, 3)
    found = model.shape(model.identities[2], model.expressions[4])
    np.testing.assert_allclose(found, faces[2, 4], atol=1e-8)
    small = bilinear_model(
        faces, subjects=names("s", 6), names=names("e", 5), num_identity=1, num_expression=1
    )
    assert np.abs(small.shape(small.identities[2], small.expressions[4]) - faces[2, 4]).max() > 0.1
    with pytest.raises(InputError, match="6 x 5"):
        bilinear_model(faces, subjects=names("s", 6), names=names("e", 5), num_identity=7)


def test_persons_who_made_every_expression_are_used(tmp_path):
    offset = toy_modes(TEMPLATE.vertices, 1, seed=3)[0]
    offset[TEMPLATE.vertices[:, 1] > -40] = 0
    rows = []
    for n, field in enumerate(toy_modes(TEMPLATE.vertices, 3)):
        head = TEMPLATE.vertices + field
        common = {"subject": f"s{n}", "template_sha256": TEMPLATE.sha256}
        rows.append(write_head(tmp_path, head, **common))
        if n < 2:
            rows.append(write_head(tmp_path, head + offset, expression="smile", **common))
    write_index(tmp_path, rows)
    model = bilinear_of_folder(tmp_path, TEMPLATE)
    assert model.subjects == ("s0", "s1") and model.names == ("neutral", "smile")
    neutral = model.shape(model.identities[1], model.expressions[0])
    smile = model.shape(model.identities[1], model.expressions[1])
    np.testing.assert_allclose(smile - neutral, offset, atol=0.5)
    with np.load(write_bilinear(model, tmp_path / "b.npz")) as data:
        assert data["core"].shape[:2] == (2, 2)
        assert json.loads(str(data["meta"]))["kind"] == "facekit.bilinear"
    write_index(tmp_path, [row for row in rows if row.path != "s1/smile.npz"])
    with pytest.raises(InputError, match="needs 2 persons"):
        bilinear_of_folder(tmp_path, TEMPLATE)

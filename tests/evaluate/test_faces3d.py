import dataclasses
import json

import numpy as np
import pytest
from scan_case import face, moved, write_face

from facekit.errors import InputError, ItemError
from facekit.evaluate.embedding import embedded_points, read_embedding
from facekit.evaluate.faces3d import (
    check_order,
    landmark_warnings,
    list_predictions,
    read_prediction,
    read_scan,
    surface_warnings,
    unit_warnings,
)
from facekit.io.meshes import write_mesh
from facekit.io.params import SHAPES, write_params
from facekit.types import Mesh


def test_any_unit_and_format(tmp_path):
    truth = face(10, 12)
    for unit, factor in (("mm", 1.0), ("cm", 0.1), ("m", 0.001)):
        small = moved(truth, scale=factor)
        np.savez(
            tmp_path / f"{unit}.npz", vertices=small.vertices, faces=small.faces,
            now7=small.landmarks["now7"],
        )  # fmt: skip
        found = read_prediction(tmp_path / f"{unit}.npz", unit=unit)
        np.testing.assert_allclose(found.vertices, truth.vertices)
        np.testing.assert_allclose(found.marks("now7"), truth.landmarks["now7"])
        assert found.warnings == ()
    write_face(tmp_path / "a.ply", truth)
    np.testing.assert_allclose(read_scan(tmp_path / "a.ply").vertices, truth.vertices, atol=1e-3)


@pytest.mark.parametrize(
    ("factor", "unit", "likely"),
    [(0.001, "mm", "looks like m"), (0.1, "mm", "looks like cm"), (1.0, "m", "looks like mm"),
     (1000.0, "mm", "looks like um"), (0.01, "mm", "looks like dm"),
     (1e9, "mm", "no unit")],
)  # fmt: skip
@pytest.mark.parametrize("marks", [True, False])
def test_the_likely_unit_is_named(factor, unit, likely, marks):
    item = moved(face(10, 12), scale=factor * {"mm": 1, "m": 1000}[unit])
    landmarks = item.landmarks if marks else {}
    text = unit_warnings(item.vertices, landmarks, unit=unit)[0]
    assert likely in text
    assert text.endswith(likely) or likely == "no unit"


def test_the_option_that_names_the_unit_is_said(tmp_path):
    item = moved(face(10, 12), scale=0.001)
    write_face(tmp_path / "a.obj", item)
    assert read_prediction(tmp_path / "a.obj").warnings[0].endswith("m; say so with --unit")
    assert read_scan(tmp_path / "a.obj").warnings[0].endswith("m; say so with --data-unit")


def test_of_two_files_of_one_name_one_is_taken_and_the_other_said(tmp_path, caplog):
    for suffix in (".ply", ".obj"):
        write_face(tmp_path / f"s/a{suffix}", face(10, 12))
    np.savez(tmp_path / "s/a.npz", vertices=np.zeros((3, 3)), faces=np.zeros((1, 3), int))
    with caplog.at_level("WARNING", logger="facekit"):
        found = list_predictions(tmp_path)
    assert found == {"s/a": tmp_path / "s/a.obj"}
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path}/s/a{suffix}: is left out, since a.obj is there" for suffix in (".ply", ".npz")
    ]


def test_landmarks_in_another_unit_than_their_mesh_are_said():
    item = face(10, 12)
    text = unit_warnings(item.vertices / 1000, item.landmarks, unit="mm")[0]
    assert "in one unit" in text
    assert unit_warnings(item.vertices, item.landmarks, unit="mm") == ()


def test_landmarks_that_do_not_fit():
    seven = face().landmarks["now7"]
    noisy = seven + np.random.default_rng(0).normal(scale=3, size=seven.shape)
    assert landmark_warnings(0.01 * noisy, seven, "now7") == ()
    assert "left and right" in landmark_warnings(noisy * [-1, 1, 1], seven, "now7")[0]
    assert "left and right" in landmark_warnings(seven[[3, 2, 1, 0, 4, 6, 5]], seven, "now7")[0]
    assert "another order" in landmark_warnings(noisy[[4, 1, 6, 3, 0, 5, 2]], seven, "now7")[0]
    check_order(noisy * [-1, 1, 1], seven, "now7")
    with pytest.raises(ItemError, match="another order"):
        check_order(noisy[[4, 1, 6, 3, 0, 5, 2]], seven, "now7")


def test_smaller_sets_come_from_ibug68():
    dense = np.random.default_rng(0).normal(size=(68, 3))
    item = dataclasses.replace(face(5, 6), landmarks={"ibug68": dense})
    np.testing.assert_allclose(item.marks("now7"), dense[[36, 39, 42, 45, 33, 48, 54]])
    np.testing.assert_allclose(item.marks("five")[1], dense[42:48].mean(0))
    np.testing.assert_allclose(item.marks("four")[3], dense[[62, 66]].mean(0))
    with pytest.raises(ItemError, match="landmarks realy85 are needed"):
        item.marks("realy85")


def test_a_fit_gives_the_landmarks_of_its_own_mesh(tmp_path):
    folder = tmp_path / "deep" / "photo"
    item = face(10, 12)
    for name in ("neutral", "face"):
        folder.mkdir(parents=True, exist_ok=True)
        write_mesh(folder / f"{name}.obj", Mesh(item.vertices, item.faces))
    values = {
        key: np.zeros([s if isinstance(s, int) else 2 for s in shape])
        for key, shape in SHAPES.items()
    }
    values["now7"] = item.landmarks["now7"]
    write_params(
        folder / "params.npz", values, model_name="m", model_sha256="0", scale_source="prior"
    )
    (folder / "other.obj").write_text("not a prediction")
    assert list_predictions(tmp_path) == {"deep/photo": folder}
    neutral = read_prediction(folder)
    assert set(neutral.landmarks) == {"now7"}
    assert neutral.source.endswith("neutral.obj")
    assert set(read_prediction(folder, shape="face").landmarks) == {"ibug68"}


def test_an_embedding_finds_landmarks(tmp_path):
    item = face(10, 12)
    rows = [[3, 0.2, 0.3], [7, 1, 0], [11, 0, 1], [0, 0, 0]]
    (tmp_path / "e.json").write_text(json.dumps(rows))
    embedding = read_embedding(tmp_path / "e.json")
    a, b, c = item.vertices[item.faces[3]]
    found = embedded_points(embedding, item.vertices, item.faces)
    np.testing.assert_allclose(found[0], 0.2 * a + 0.3 * b + 0.5 * c)
    np.testing.assert_allclose(found[3], item.vertices[item.faces[0, 2]])
    write_face(tmp_path / "x.obj", item, marks=None)
    read = read_prediction(tmp_path / "x.obj", embedding=embedding)
    np.testing.assert_allclose(read.marks("four"), found, atol=1e-3)
    (tmp_path / "far.json").write_text("[[9999, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]")
    with pytest.raises(ItemError, match="another topology"):
        read_prediction(tmp_path / "x.obj", embedding=read_embedding(tmp_path / "far.json"))
    for text in ("{", "[[1, 2]]", "[[0.5, 0, 1]]", "[[-1, 0, 1]]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError):
            read_embedding(tmp_path / "bad.json")


def test_surfaces():
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    assert surface_warnings(faces) == ()
    assert "1 edges" in surface_warnings(np.vstack([faces, [[0, 2, 4]]]))[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 0 inf\nv 0 1 0\nf 1 2 3\n", "finite"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
        ("v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "equal"),
        ("v 0 0 0\nv 1 0 0\nf 1 2 3\n", "x.obj"),
        ("", "x.obj"),
    ],
)
def test_meshes_that_are_none(tmp_path, text, message):
    (tmp_path / "x.obj").write_text(text)
    with pytest.raises(ItemError, match=message) as error:
        read_prediction(tmp_path / "x.obj")
    assert "x.obj" in str(error.value)


def test_folders_without_predictions(tmp_path):
    with pytest.raises(InputError, match="expected a folder of predictions"):
        list_predictions(tmp_path / "none")
    (tmp_path / "x.jpg").write_text("")
    np.savez(tmp_path / "points.npz", now7=np.zeros((7, 3)))
    with pytest.raises(InputError, match="found none"):
        list_predictions(tmp_path)

"""A network that knows one identity stands for a folder of predictions."""

import json

import numpy as np
import pytest
from scan_case import write_face

from facekit.cli.main import run
from facekit.detect.parameters import CropReading
from facekit.errors import InputError
from facekit.evaluate import network_meshes
from facekit.evaluate.faces3d import read_prediction
from facekit.evaluate.network_meshes import is_network, write_network_meshes
from facekit.evaluate.photographs import photograph
from facekit.evaluate.scan_controls import model_surface
from facekit.geometry.alignment import SimilarityTransform
from facekit.io.images import write_image
from facekit.morphable import load_model

IDENTITY = np.array([1.5, -1.0, 0.5])


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A run's folder, two pictures (one without a face), and the scan that the network knows."""
    model = load_model("builtin")
    saw = np.zeros(model.num_identity)
    saw[:3] = IDENTITY

    class Reader:
        identity_spread = None

        def read(self, image, five):
            assert five.shape == (5, 2)
            expression = np.zeros(model.num_expression)
            expression[0] = 1.0
            crop = SimilarityTransform(1.0, np.eye(2), np.zeros(2))
            parts = {"identity": saw, "expression": expression}
            return CropReading(parts, saw, np.zeros((len(saw), len(saw))), 1.0, crop)

    monkeypatch.setattr(network_meshes, "open_reader", lambda *_: Reader())
    network = tmp_path / "a run"
    network.mkdir()
    (network / "params.onnx").write_bytes(b"x")
    write_image(tmp_path / "photos/subject_01/indoor.png", photograph())
    write_image(tmp_path / "photos/subject_02/indoor.png", np.zeros((64, 64, 3), np.uint8))
    shape = model.shape(IDENTITY).astype(np.float64)
    for subject in ("subject_01", "subject_02"):
        scan = model_surface(model, shape)
        write_face(tmp_path / f"data/{subject}/frontal1.obj", scan, marks="ibug68")
    return tmp_path, network, model


def test_what_it_sees_is_written(folders):
    root, network, model = folders
    failures = write_network_meshes(network, root / "photos", root / "out")
    assert failures == {"subject_02/indoor": "no face was found"}
    face = read_prediction(root / "out/subject_01/indoor.npz")
    np.testing.assert_allclose(face.vertices, model.shape(IDENTITY), atol=1e-4)
    np.testing.assert_allclose(
        face.landmarks["now7"], model.landmark_points("now7", face.vertices), atol=1e-3
    )
    assert face.warnings == ()
    write_network_meshes(network, root / "photos", root / "smile", expression=True)
    smile = read_prediction(root / "smile/subject_01/indoor.npz")
    assert np.abs(smile.vertices - face.vertices).max() > 1
    with pytest.raises(InputError, match="no such file or folder"):
        write_network_meshes(network, root / "none", root / "x")
    assert is_network(network)
    assert is_network(network / "params.onnx")
    assert not is_network(root / "photos")
    assert not is_network(root / "none.onnx")


def test_a_run_is_scored_like_a_folder_of_meshes(folders, capsys):
    root, network, _ = folders
    arguments = ["eval", "micc", str(network), "--data", str(root / "data"), "--json"]
    assert run([*arguments, "--images", str(root / "photos"), "-o", str(root / "r")]) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["metrics"]["count"] == 1
    assert document["metrics"]["missing"] == 1
    assert document["metrics"]["median"] < 0.01
    assert document["protocol"]["model"] == "builtin"
    assert "subject_02/indoor: no face was found" in captured.err
    assert (root / "r/predictions/subject_01/indoor.npz").is_file()
    assert run(arguments) == 2
    assert "--images names the pictures" in capsys.readouterr().err

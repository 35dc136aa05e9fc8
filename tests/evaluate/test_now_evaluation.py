import numpy as np
import pytest
from scan_case import face

from facekit.evaluate.faces3d import FaceSurface
from facekit.evaluate.now import NowOptions, NowPrediction, crop_scan, score_scan
from facekit.evaluate.now_dataset import NowScan, open_dataset
from facekit.evaluate.now_evaluation import NowRun, evaluate_now, predictions_model, scan_warnings
from facekit.evaluate.scan_controls import control_faces
from facekit.io.meshes import write_mesh
from facekit.morphable import load_model
from facekit.types import Mesh


@pytest.fixture(scope="module")
def own_faces(tmp_path_factory):
    """Two subjects that are shapes of the built-in model, predicted exactly."""
    root = tmp_path_factory.mktemp("own")
    model = load_model("builtin")
    lines = []
    for k, subject in enumerate("PQ"):
        identity = np.zeros(model.num_identity)
        identity[k] = 2.0
        vertices = model.shape(identity).astype(np.float64)
        points = model.landmark_points("now7", vertices)
        (root / "scans" / subject).mkdir(parents=True)
        write_mesh(root / f"scans/{subject}/s.obj", Mesh(vertices, model.faces))
        (root / "scans_lmks_onlypp" / subject).mkdir(parents=True)
        rows = "".join(f'<point x="{x}" y="{y}" z="{z}"/>' for x, y, z in points)
        text = f"<PickedPoints>{rows}</PickedPoints>"
        (root / f"scans_lmks_onlypp/{subject}/s.pp").write_text(text)
        (root / "out" / subject / "selfie").mkdir(parents=True)
        write_mesh(root / f"out/{subject}/selfie/a.obj", Mesh(vertices, model.faces))
        np.save(root / f"out/{subject}/selfie/a.npy", points)
        lines.append(f"{subject}/selfie/a.jpg")
    (root / "imagepathstest.txt").write_text("\n".join(lines))
    return root


def test_controls_stand_beside_a_known_model(own_faces):
    dataset = open_dataset(own_faces)
    model = predictions_model("auto", own_faces / "out", dataset)
    assert model is not None
    result = evaluate_now(own_faces / "out", dataset, run=NowRun(model))
    controls = result.document["controls"]
    assert set(controls) == {"mean_face", "landmark_only", "projection"}
    assert result.document["metrics"]["median"] < 0.01
    assert controls["projection"]["median"] < 0.15 < controls["mean_face"]["median"]
    assert controls["mean_face"]["count"] == 2
    evaluation = result.as_scans()
    assert [item.person for item in evaluation.items] == ["P", "Q"]
    assert evaluation.items[0].value == result.items[0].details["median"]
    assert min(result.timing) > 0
    assert predictions_model("none", own_faces / "out", dataset) is None


def test_metrical_controls_have_the_scans_size_by_their_shape():
    """A face a twentieth larger than any usual one: a free scale would explain it, and must not."""
    model = load_model("builtin")
    identity = np.zeros(model.num_identity)
    identity[2] = 1.5
    vertices = 1.05 * model.shape(identity).astype(np.float64)
    marks = model.landmark_points("now7", vertices)
    crop = crop_scan(vertices, marks)
    scan = FaceSurface(vertices, model.faces, {"now7": marks})
    medians = {}
    for metrical in (True, False):
        for name, one in control_faces(model, scan, crop, metrical=metrical).items():
            prediction = NowPrediction(one.vertices, one.faces, one.marks("now7"))
            score = score_scan(vertices, marks, prediction, options=NowOptions(metrical=True))
            medians[name, metrical] = float(np.median(score.distances))
    assert medians["projection", True] < 0.5 * medians["projection", False]
    assert medians["landmark_only", True] < medians["landmark_only", False]
    assert medians["projection", True] < medians["landmark_only", True]
    assert medians["landmark_only", True] < medians["mean_face", True]


def test_a_scan_in_metres_is_named():
    item = face(60, 80)
    scan = NowScan(item.vertices, item.landmarks["now7"], item.faces)
    assert scan_warnings(scan) == ()
    small = NowScan(item.vertices / 1000, item.landmarks["now7"] / 1000, item.faces)
    assert "looks like m" in scan_warnings(small)[0]

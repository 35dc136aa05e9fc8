import json

import numpy as np
import pytest
from simulated_heads import write_model_heads

from facekit.cli.main import run
from facekit.errors import InputError, UsageError
from facekit.evaluate import truth
from facekit.evaluate.heads import Picture
from facekit.evaluate.truth import (
    TruthOptions,
    evaluate_truth,
    further_fits,
    head_renderer,
    parse_angles,
)
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.io.meshes import write_mesh
from facekit.morphable import load_model
from facekit.types import DetectedFace, Mesh

COUNT = 2


@pytest.fixture(scope="module")
def heads_file(tmp_path_factory):
    return write_model_heads(tmp_path_factory.mktemp("heads") / "heads.npz", COUNT)


class Blind:
    """Finds a face in every second picture, at its true landmarks."""

    name = fingerprint = "blind"

    def __init__(self):
        self.calls = 0
        self.truth = None

    def detect(self, image, *, path=None):
        self.calls += 1
        if self.calls % 2 == 0:
            return []
        points = self.truth
        box = np.concatenate([points.min(axis=0), np.ptp(points, axis=0)])
        return [DetectedFace(box, 0.9, ibug68=points)]


@pytest.fixture
def blind(monkeypatch):
    """A detector that is told each picture's true landmarks as it is rendered."""
    detector = Blind()
    original = head_renderer

    def telling(*arguments, **options):
        render = original(*arguments, **options)

        def wrapped(head, yaw):
            picture = render(head, yaw)
            detector.truth = picture.ibug68
            return picture

        return wrapped

    monkeypatch.setattr(truth, "head_renderer", telling)
    monkeypatch.setattr(truth, "open_detector", lambda *a, **k: detector)
    return detector


def test_fit_is_between_mean_and_projection_on_the_models_own_heads(heads_file, blind, tmp_path):
    options = TruthOptions(count=0, yaws_deg=(0.0, 30.0), size=128)
    result = evaluate_truth(heads_file, options, pictures=tmp_path / "pictures")
    methods = result.document["methods"]
    assert methods["projection_all"]["median"] < 0.1
    assert methods["projection_40"]["median"] < methods["mean_face"]["median"]
    assert (
        methods["projection_all"]["median"]
        < methods["exact_landmark_fit"]["median"]
        < methods["mean_face"]["median"]
    )
    assert (methods["landmark_fit"]["count"], methods["landmark_fit"]["missing"]) == (2, 2)
    assert result.document["metrics"] == methods["landmark_fit"]
    assert len(result.distances) == 2
    assert blind.calls == 4
    assert len(list((tmp_path / "pictures").glob("head*_yaw*.png"))) == 4
    assert result.document["protocol"]["detector"] == "blind"
    json.dumps(result.document, allow_nan=False)


def test_command(heads_file, blind, tmp_path, capsys):
    arguments = ["eval", "truth", "--heads", str(heads_file), "--count", "2", "--size", "96"]
    code = run([*arguments, "--yaw", "0,20", "-o", str(tmp_path / "out"), "--images"])
    captured = capsys.readouterr()
    assert code == 5
    rows = [line.split()[0] for line in captured.out.splitlines()]
    assert rows[0] == "mm"
    assert {"mean_face", "landmark_fit", "projection_all", "exact_landmark_fit"} < set(rows)
    assert "landmark_fit: no face was found" in captured.err
    assert "against the mean face [" in captured.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metrics"]["missing"] == 2
    assert len(list((tmp_path / "out" / "images").iterdir())) == 4
    # Two of the four pictures showed a face: each method's errors are drawn on what it has.
    drawn = {p.parent.name: 0 for p in (tmp_path / "out").rglob("heat*/*.png")}
    assert set(drawn) == {"heat", "heat_corresponded"}
    assert len(list((tmp_path / "out/landmark_fit/heat").iterdir())) == 2 + 1
    assert len(list((tmp_path / "out/exact_landmark_fit/heat_corresponded").iterdir())) == 4 + 1
    assert [p.name for p in (tmp_path / "out/mean_face/heat").iterdir()] == ["mean.png"]


def test_another_methods_meshes_are_scored_beside(heads_file, blind, tmp_path, capsys):
    """Heads of the built-in model's topology, exact but for noise, under the pictures' names."""
    model = load_model("builtin")
    with np.load(heads_file) as data:
        neutral = data["neutral"] * float(data["quantum_mm"])
    for head in range(COUNT):
        path = tmp_path / f"mine/head{head:03d}_yaw20.obj"
        write_mesh(path, Mesh(neutral[head].astype(np.float64), model.faces))
    arguments = ["eval", "truth", "--heads", str(heads_file), "--count", "2", "--size", "96"]
    arguments += ["--yaw", "20", "--predictions", f"exact={tmp_path / 'mine'}", "--json"]
    arguments.append("--no-heat")
    assert run([*arguments, "-o", str(tmp_path / "out")]) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["methods"]["exact"]["median"] < 0.02
    compared = document["compared"]["exact"]
    assert compared["than"] == "landmark_fit"
    assert compared["mean_difference"] < -0.1
    assert "exact against landmark_fit: -" in captured.err
    assert (tmp_path / "out/curve.png").is_file()
    lines = (tmp_path / "out/items.csv").read_text().splitlines()
    assert lines[0].startswith("name,group,person,mean_face,")
    assert len(lines) == 1 + COUNT
    with pytest.raises(InputError, match="a row of this bench"):
        evaluate_truth(
            heads_file, TruthOptions(count=1), predictions={"mean_face": tmp_path / "mine"}
        )


def test_pictures_depend_on_seed_head_and_view_alone(heads_file):
    options = TruthOptions(size=96)
    one = head_renderer(heads_file, options)
    first = one(1, 22)
    one(0, 0)
    again = head_renderer(heads_file, options)(1, 22)
    assert isinstance(first, Picture)
    assert first.image.shape == (96, 96, 3)
    assert (first.image == again.image).all()
    assert (first.ibug68 == again.ibug68).all()
    other = head_renderer(heads_file, TruthOptions(size=96, seed=1))(1, 22)
    assert (first.image != other.image).any()


def test_odd_heads_turn_the_other_way(heads_file):
    render = head_renderer(heads_file, TruthOptions(size=96))

    def nose_shift(head):
        points = render(head, 40).ibug68
        return points[30, 0] - points[[36, 45], 0].mean()

    assert nose_shift(0) > 2
    assert nose_shift(1) < -2


def test_angles():
    assert parse_angles("0, 22,-45.5") == (0.0, 22.0, -45.5)
    for text in ("", ",", "0,x", "nan"):
        with pytest.raises(UsageError, match="angles"):
            parse_angles(text)


def test_no_heads(tmp_path):
    with pytest.raises(InputError, match="heads of known shape"):
        evaluate_truth(tmp_path / "none.npz", TruthOptions())


def test_further_fits_are_rows_of_their_own_the_fullest_last():
    fitter = FaceFitter(load_model("builtin"), LandmarkFitConfig())
    assert further_fits(TruthOptions(), fitter) == {}
    rows = further_fits(TruthOptions(photometric=True), fitter)
    assert list(rows) == ["photometric_fit"]
    assert rows["photometric_fit"].photometric and not fitter.photometric

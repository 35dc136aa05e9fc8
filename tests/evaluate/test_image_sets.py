"""The bench of image sets on heads of the built-in model, with a detector that knows the truth."""

import json

import numpy as np
import pytest
from simulated_heads import write_model_heads

from facekit.cli.main import run
from facekit.errors import UsageError
from facekit.evaluate import image_sets
from facekit.evaluate.heads import Picture
from facekit.evaluate.image_sets import evaluate_sets, photograph_head, set_rows, spread_yaws
from facekit.evaluate.truth import TruthOptions
from facekit.simulate.subject import open_foreign_heads
from facekit.types import DetectedFace

COUNT = 2


@pytest.fixture(scope="module")
def heads_file(tmp_path_factory):
    return write_model_heads(tmp_path_factory.mktemp("heads") / "heads.npz", COUNT)


@pytest.fixture
def told(monkeypatch):
    """A detector that finds the true landmarks."""
    truth = {}
    original = photograph_head

    def telling(*arguments, **options):
        pictures = original(*arguments, **options)
        truth.update({picture.image.tobytes(): picture.ibug68 for picture in pictures})
        return pictures

    class Told:
        name = fingerprint = "told"

        def detect(self, image, *, path=None):
            points = truth[image.tobytes()]
            box = np.concatenate([points.min(axis=0), np.ptp(points, axis=0)])
            return [DetectedFace(box, 0.9, ibug68=points, jaw_on_outline=False)]

    monkeypatch.setattr(image_sets, "photograph_head", telling)
    monkeypatch.setattr(image_sets, "open_detector", lambda *a, **k: Told())


def test_yaws_are_spread_and_their_beginnings_too():
    yaws = spread_yaws(8, 45.0)
    np.testing.assert_allclose(np.sort(yaws), np.linspace(-45, 45, 8))
    assert abs(yaws[0]) < 7
    assert yaws[1] * yaws[2] < 0
    assert np.ptp(yaws[:4]) > 60
    np.testing.assert_array_equal(spread_yaws(1, 45.0), [0.0])


def test_photographs_share_the_person_and_not_the_light(heads_file):
    heads = open_foreign_heads(heads_file)
    options = TruthOptions(size=96)
    pictures = photograph_head(heads, 1, options, count=3, limit_deg=30)
    again = photograph_head(heads, 1, options, count=3, limit_deg=30)
    assert len({picture.name for picture in pictures}) == 3
    for one, other in zip(pictures, again, strict=True):
        assert isinstance(one, Picture)
        np.testing.assert_array_equal(one.image, other.image)
    assert (pictures[0].image != pictures[1].image).any()


def test_more_photographs_err_less_and_everything_is_scored(heads_file, told):
    options = TruthOptions(count=0, size=128)
    result = evaluate_sets(heads_file, options, photos=(4, 1), network="none", photometric=False)
    document = result.document
    assert list(document["photos"]) == ["1", "4"]
    one, four = (document["photos"][size]["methods"] for size in ("1", "4"))
    assert set(four) == {
        "mean_face",
        "projection_40",
        "projection_all",
        "landmark_fit",
        "set_fit",
    }
    assert one["landmark_fit"] == one["set_fit"] | {
        k: v for k, v in one["landmark_fit"].items() if k not in one["set_fit"]
    }
    assert four["set_fit"]["median"] < one["set_fit"]["median"] < four["mean_face"]["median"]
    assert document["metrics"] == four["set_fit"]
    assert {item["photos"] for item in document["items"]} == {1, 4}
    assert len(set_rows(document)) == 10
    json.dumps(document, allow_nan=False)


def test_command(heads_file, told, tmp_path, capsys):
    arguments = ["eval", "sets", "--heads", str(heads_file), "--count", "1", "--size", "96"]
    arguments += ["--photos", "2", "--network", "none"]
    assert run([*arguments, "--json", "-o", str(tmp_path / "report")]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["protocol"]["photos"] == [2]
    for name in ("curve.png", "items.csv", "set_fit_2/heat/head000.png", "mean_face/heat/mean.png"):
        assert (tmp_path / "report" / name).is_file(), name
    assert captured.err.splitlines()[-1].startswith("1 heads in ")
    assert run([*arguments, "--photometric"]) == 0
    assert "set_fit_photometric" in capsys.readouterr().out


def test_a_set_needs_a_photograph(heads_file):
    with pytest.raises(UsageError, match="at least 1"):
        evaluate_sets(heads_file, TruthOptions(), photos=(0, 2))

"""The distance bench: where cameras stand, what the report says, and that near faces tell more."""

import dataclasses
import json

import numpy as np
import pytest
from toy import toy_model

from facekit.cli.main import run
from facekit.errors import InputError, UsageError
from facekit.evaluate import distance
from facekit.evaluate.distance import (
    DistanceItem,
    DistanceOptions,
    distance_report,
    evaluate_distance,
    take_shot,
)
from facekit.evaluate.gates import model_heads
from facekit.geometry.cameras import project, to_camera

MODEL = toy_model()
OPTIONS = DistanceOptions(count=2, distances_mm=(300.0, 2000.0), landmarks="none", size=256)


@pytest.fixture(autouse=True)
def toy_parts(monkeypatch):
    monkeypatch.setattr(distance, "load_model", lambda name: MODEL)


def test_cameras_stand_where_they_should():
    subject = model_heads(MODEL, 1, 0)[1][0]
    near, far = (take_shot(subject, 0, d, OPTIONS) for d in (300.0, 2000.0))
    points = subject.points(subject.vertices)
    for shot, wanted in ((near, 300.0), (far, 2000.0)):
        assert to_camera(shot.camera, points[27])[2] == pytest.approx(wanted)
        assert shot.distance_mm == pytest.approx(wanted, rel=0.05)
        np.testing.assert_allclose(project(shot.camera, points)[:, :2], shot.landmarks)
    # The head fills the same part of both pictures, from the same side.
    np.testing.assert_allclose(near.camera.rotation, far.camera.rotation)
    sizes = [np.linalg.norm(s.landmarks[36] - s.landmarks[45]) for s in (near, far)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_the_bench_runs_and_repeats():
    items, document = evaluate_distance(OPTIONS)
    assert len(items) == 2 * 2 * 2 * 2
    assert {(r["labeller"], r["focal"]) for r in document["rows"]} == {
        (labeller, focal) for labeller in ("exact", "noisy") for focal in ("estimated", "known")
    }
    rows = {(r["labeller"], r["focal"], r["distance_mm"]): r for r in document["rows"]}
    known = rows["exact", "known", 300.0]
    assert known["error_percent"] < 15
    assert rows["exact", "estimated", 2000.0]["shape_ratio"] == pytest.approx(1)
    near, far = (rows["exact", "estimated", d]["interval_ratio"] for d in (300.0, 2000.0))
    assert near < far
    assert json.loads(json.dumps(document))["metrics"]["count"] == 4
    # A head's items do not depend on which others there are.
    again, _ = evaluate_distance(dataclasses.replace(OPTIONS, count=1, distances_mm=(300.0,)))
    assert [i.found_mm for i in again] == [i.found_mm for i in items[: len(again)]]


def item(head, place, found, low, high, error):
    errors = None if error is None else np.full(5, error)
    return DistanceItem(head, place, place, "exact", "estimated", found, low, high, errors)


def test_the_report_counts_what_it_says():
    items = [
        item(0, 400.0, 440.0, 300.0, 500.0, 1.2),
        item(1, 400.0, 300.0, 250.0, 350.0, 1.5),
        item(2, 400.0, np.nan, np.nan, np.nan, None),
        *(item(h, 2000.0, 2000.0, 1000.0, 4000.0, 1.0) for h in range(3)),
    ]
    document = distance_report(items, protocol={}, seed=0)
    near, far = document["rows"]
    assert (near["count"], near["missing"]) == (2, 1)
    assert near["error_percent"] == pytest.approx((10 + 25) / 2)
    assert near["within_15_percent"] == near["coverage_percent"] == 50
    assert near["within_30_percent"] == 100
    assert near["shape_ratio"] == pytest.approx(1.35)
    assert far["error_percent"] == 0
    assert document["metrics"]["missing"] == 1
    assert document["items"][2]["found_mm"] is None
    with pytest.raises(InputError, match="at least one"):
        distance_report([], protocol={}, seed=0)


@pytest.mark.parametrize(
    "bad", [{"count": 0}, {"distances_mm": ()}, {"distances_mm": (20.0,)}, {"noise": -0.1}]
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(UsageError, match="expected"):
        DistanceOptions(**bad)


def test_the_command_prints_and_writes(tmp_path, capsys):
    arguments = ["eval", "distance", "--landmarks", "none", "--count", "1", "--distances", "400"]
    assert run([*arguments, "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "shape_ratio" in captured.out.splitlines()[0]
    assert captured.err.splitlines()[-1].startswith("1 heads at 1 distances")
    assert (tmp_path / "out" / "report.json").is_file()
    assert run([*arguments, "--distances", "near"]) == 2

import numpy as np
import pytest
from toy import toy_model

from facekit.evaluate.now import crop_scan, score_scan
from facekit.evaluate.speed import measure, select_cases
from facekit.evaluate.speed_cases import default_cases, synthetic_scan


def test_keys_are_the_documented_ones():
    cases = default_cases()
    keys = [case.key for case in cases]
    assert len(set(keys)) == len(keys)
    assert {"detect.1t", "landmarks.1t", "lm68.1t", "fit.default", "rasterise.224.1t"} < set(keys)
    assert {"now.scan", "help.import", "fit.cold"} < set(keys)
    for case in cases:
        assert case.threads == (1 if case.key.endswith(".1t") or case.key == "help.import" else 0)
        assert case.on_request == (case.key == "fit.cold")


def test_the_scan_has_as_many_cropped_points_as_it_says():
    scan, landmarks, prediction = synthetic_scan(toy_model(), points=5000, seed=1)
    assert len(crop_scan(scan, landmarks)) == len(scan) == 5000
    score = score_scan(scan, landmarks, prediction)
    assert 0.05 < np.median(score.distances) < 5
    again = synthetic_scan(toy_model(), points=5000, seed=1)[0]
    assert (again == scan).all()


@pytest.mark.parametrize(
    "key", ["detect.1t", "landmarks.1t", "lm68.1t", "fit.default", "rasterise.224.1t", "now.scan"]
)
def test_cases_of_the_built_in_model_and_networks_run(key):
    cases = select_cases(default_cases(), [key])
    document = measure(cases, rounds=1, strict=True)
    assert document["metrics"][key]["median_ms"] > 0
    assert not document["unavailable"]

import importlib.util

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError, MissingDependencyError, UsageError
from facekit.evaluate.now import crop_scan, score_scan
from facekit.evaluate.speed import measure, select_cases
from facekit.evaluate.speed_cases import default_cases, synthetic_scan
from facekit.evaluate.speed_networks import network_cases
from facekit.evaluate.speed_students import BASELINE_KEY, OWN, untrained

PEERS = {"peer.yunet.640.1t", "peer.mediapipe.detect.1t", "peer.mediapipe.landmarks.1t"}


def test_keys_are_the_documented_ones(monkeypatch):
    for variable in ("FACEKIT_YUNET", "FACEKIT_MEDIAPIPE_TASK"):
        monkeypatch.delenv(variable, raising=False)
    cases = default_cases()
    keys = [case.key for case in cases]
    assert len(set(keys)) == len(keys)
    assert {"detect.1t", "landmarks.1t", "lm68.1t", "fit.default", "rasterise.224.1t"} < set(keys)
    assert {"fit.fast", "fit.best", "decode.1t", "closest.98k"} < set(keys)
    assert {"now.scan", "help.import", "fit.cold", "fit.photometric", "fit.adam"} < set(keys)
    assert {"detect.640.1t", "landmarks.pass.1t"} < set(keys)
    assert {f"track.{stage}" for stage in ("decode", "network", "dense", "total")} < set(keys)
    (open3d,) = (case for case in cases if case.key == "peer.open3d.closest.98k")
    assert (open3d.peer_of, open3d.threads) == ("closest.98k", 0)
    assert open3d.on_request == (importlib.util.find_spec("open3d") is None)
    for case in cases:
        if case is open3d or case.key.startswith("train."):
            continue
        if case.key.startswith("track."):
            assert case.threads == 2
        else:
            one = case.key.endswith(".1t") or case.key == "help.import"
            assert case.threads == (1 if one else 0)
        shape = case.key.startswith("student.")
        asked = {"fit.cold", "fit.adam"} | PEERS
        assert case.on_request == (case.key in asked or (shape and case.key != BASELINE_KEY))
        peers = {"fit.adam", *({BASELINE_KEY} if OWN in keys else ()), *PEERS}
        assert (case.key in peers) == bool(case.peer_of)
        assert case.peer_of in ("", *keys)


def test_peers_run_where_their_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEKIT_YUNET", str(tmp_path / "none.onnx"))
    monkeypatch.delenv("FACEKIT_MEDIAPIPE_TASK", raising=False)
    default = {case.key for case in select_cases(default_cases(), [])}
    assert default & PEERS == {"peer.yunet.640.1t"}
    with pytest.raises(MissingDependencyError, match="FACEKIT_YUNET names no file"):
        measure(select_cases(default_cases(), ["peer.yunet"]), rounds=1, strict=True)
    with pytest.raises(MissingDependencyError, match="FACEKIT_MEDIAPIPE_TASK"):
        measure(select_cases(default_cases(), ["peer.mediapipe"]), rounds=1, strict=True)


def test_the_baseline_is_timed_beside_every_students_shape():
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from facekit.train.distil import STUDENTS

    keys = {case.key for case in default_cases()}
    assert {f"student.{name}.{kind}.1t" for name in STUDENTS for kind in ("float", "int8")} < keys
    wanted = ["student.patch8-xs.int8.1t", BASELINE_KEY]
    metrics = measure(select_cases(default_cases(), wanted), rounds=3)["metrics"]
    assert metrics[wanted[0]]["median_ms"] < metrics[BASELINE_KEY]["median_ms"]
    if OWN in metrics:
        own = metrics[OWN]["median_ms"]
        assert metrics[BASELINE_KEY]["ratio"] == metrics[BASELINE_KEY]["median_ms"] / own


def test_own_networks_are_timed_from_their_files(tmp_path):
    """A file, and a training run's folder: one crop and a batch, ratios to the first."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    file = untrained("patch8-xs", "float")
    run = tmp_path / "my run"
    run.mkdir()
    (run / "params.onnx").write_bytes(file.read_bytes())
    cases = network_cases([f"student={file}", f"{run}"])
    keys = [case.key for case in cases]
    assert keys[:2] == ["network.student.1t", "network.student.batch8.1t"]
    assert keys[2:] == ["network.my run.1t", "network.my run.batch8.1t"]
    metrics = measure(cases, rounds=2, strict=True)["metrics"]
    assert metrics[keys[1]]["batch"] == 8
    assert metrics[keys[1]]["per_second"] > 0
    assert metrics[keys[2]]["peer_of"] == keys[0]
    assert metrics[keys[2]]["ratio"] > 0
    with pytest.raises(UsageError, match="different names"):
        network_cases([f"a={file}", f"a={run}"])
    with pytest.raises(InputError, match=r"params\.onnx\), found none"):
        network_cases([str(tmp_path)])
    (tmp_path / "other.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="onnxruntime cannot load it"):
        measure(network_cases([str(tmp_path / "other.onnx")]), rounds=1, strict=True)


def test_peers_of_the_development_data(monkeypatch, data_folder):
    pytest.importorskip("ai_edge_litert")
    teachers = data_folder / "teachers"
    monkeypatch.setenv("FACEKIT_YUNET", str(teachers / "yunet_n_dynamic.onnx"))
    task = teachers / "face_landmarker_v2_with_blendshapes.task"
    monkeypatch.setenv("FACEKIT_MEDIAPIPE_TASK", str(task))
    metrics = measure(select_cases(default_cases(), sorted(PEERS)), rounds=1, strict=True)[
        "metrics"
    ]
    assert set(metrics) == PEERS | {"detect.1t", "detect.640.1t", "landmarks.pass.1t"}
    for key in PEERS:
        assert metrics[key]["ratio"] > 0


def test_the_scan_has_as_many_cropped_points_as_it_says():
    scan, landmarks, prediction = synthetic_scan(toy_model(), points=5000, seed=1)
    assert len(crop_scan(scan, landmarks)) == len(scan) == 5000
    score = score_scan(scan, landmarks, prediction)
    assert 0.05 < np.median(score.distances) < 5
    again = synthetic_scan(toy_model(), points=5000, seed=1)[0]
    assert (again == scan).all()


@pytest.mark.parametrize(
    "key",
    [
        "detect.1t",
        "detect.640.1t",
        "landmarks.1t",
        "landmarks.pass.1t",
        "lm68.1t",
        "fit.fast",
        "fit.default",
        "fit.best",
        "decode.1t",
        "fit.photometric",
        "rasterise.224.1t",
        "now.scan",
        "closest.98k",
    ],
)
def test_cases_of_the_built_in_model_and_networks_run(key):
    cases = select_cases(default_cases(), [key])
    document = measure(cases, rounds=1, strict=True)
    assert document["metrics"][key]["median_ms"] > 0
    assert not document["unavailable"]

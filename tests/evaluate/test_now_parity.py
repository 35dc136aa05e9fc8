"""Parity with the reference implementation's own output (development data)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from facekit.evaluate.now import NowOptions, NowPrediction, score_scan
from facekit.io.pp import read_pp

DATA = Path(os.environ.get("FACEKIT_TEST_DATA", "")) / "now_parity"
pytestmark = pytest.mark.skipif(
    "FACEKIT_TEST_DATA" not in os.environ or not DATA.is_dir(),
    reason="FACEKIT_TEST_DATA names no folder with now_parity",
)


@pytest.mark.parametrize("mode", ["nonmetrical", "metrical"])
@pytest.mark.parametrize(("case", "unit"), [("case1", "mm"), ("case2", "m")])
def test_reference_output(case, unit, mode):
    folder = DATA / case
    meshes = np.load(folder / "meshes.npz")
    expected = json.loads((folder / "reference_summary.json").read_text())[mode]
    reference = np.load(folder / f"reference_{mode}.npz")
    result = score_scan(
        meshes["scan_vertices"],
        read_pp(folder / "scan.pp").points,
        NowPrediction(
            meshes["prediction_vertices"],
            meshes["prediction_faces"],
            meshes["prediction_landmarks"],
        ),
        options=NowOptions(metrical=mode == "metrical", unit=unit, reference_quirks=True),
    )
    assert len(result.crop) == expected["n_crop"]
    np.testing.assert_allclose(result.distances, reference["err"], rtol=0, atol=1e-3)
    assert np.median(result.distances) == pytest.approx(expected["median"], abs=1e-4)
    assert result.distances.mean() == pytest.approx(expected["mean"], abs=1e-4)
    assert result.distances.std() == pytest.approx(expected["std"], abs=1e-4)
    assert result.refinement.steps == len(expected["trace"]) - 1
    np.testing.assert_allclose(result.refinement.transform.rotation, reference["R"], atol=1e-6)
    np.testing.assert_allclose(result.refinement.transform.translation, reference["t"], atol=1e-4)
    assert result.refinement.transform.scale == pytest.approx(float(reference["s"][0]), abs=1e-7)

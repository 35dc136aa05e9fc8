import dataclasses
import json

import numpy as np
import pytest

from facekit.cli.main import run
from facekit.errors import UsageError
from facekit.evaluate.albedo import AlbedoOptions, evaluate_albedo
from facekit.fit.albedo import AlbedoFitConfig
from facekit.morphable import load_model
from facekit.morphable.native import write_native


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """The built-in head with one mode: skin from light to dark."""
    base = load_model("builtin")
    tone = (-0.5 * base.albedo_mean * [0.8, 1.0, 1.17]).astype(np.float32)[None]
    path = tmp_path_factory.mktemp("model") / "coloured.npz"
    write_native(dataclasses.replace(base, albedo_modes=tone), path)
    return path


def test_what_a_prior_says_is_what_is_fitted(coloured):
    """A light known to be bright makes dark skin of the same picture, and the other way round."""
    options = AlbedoOptions(count=3, size=160, model=str(coloured))
    dark, bright = (
        evaluate_albedo(options, AlbedoFitConfig(level=3 * (level,), exposure_std=0.05))
        for level in (0.8, -0.8)
    )
    assert [i["ita_deg"] for i in dark["items"]] == [i["ita_deg"] for i in bright["items"]]
    for one, other in zip(dark["items"], bright["items"], strict=True):
        assert one["mean_albedo"] == other["mean_albedo"]
        assert one["fitted_luminance"] < other["fitted_luminance"] - 0.02
    metrics = dark["metrics"]
    assert metrics["ratio"] == pytest.approx(metrics["fitted"] / metrics["mean_albedo"])
    for key in ("fitted", "mean_albedo"):
        # The best gain takes away what tone and light share.
        assert metrics[f"{key}_pattern"] < metrics[key]
    assert sum(group["count"] for group in dark["groups"].values()) == 3


def test_the_command(coloured, tmp_path, capsys):
    folder = tmp_path / "report"
    arguments = ["eval", "albedo", "--model", str(coloured), "--count", "1", "--size", "160"]
    assert run([*arguments, "-o", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["name"] == "albedo"
    assert (folder / "report.json").is_file()
    assert run(arguments) == 0
    assert "pattern ratio" in capsys.readouterr().out


def test_a_model_without_modes_is_refused(tmp_path):
    base = dataclasses.replace(
        load_model("builtin"),
        albedo_modes=np.zeros((0, load_model("builtin").num_vertices, 3), np.float32),
    )
    write_native(base, tmp_path / "bare.npz")
    with pytest.raises(UsageError, match="no albedo modes"):
        evaluate_albedo(AlbedoOptions(count=1, model=str(tmp_path / "bare.npz")))

from dataclasses import replace

import numpy as np
import pytest
from toy_scans import scan_model

from facekit.basis.registered import write_head, write_index
from facekit.basis.template_model import template_of_model
from facekit.errors import InputError
from facekit.evaluate.bases import compare_bases, registered_errors
from facekit.geometry.rotations import euler_to_matrix

MODEL = scan_model()


def heads(folder, extra=0.0):
    sha = template_of_model(MODEL).sha256
    rng = np.random.default_rng(0)
    rows = [write_head(folder, MODEL.mean, subject="source_mean", template_sha256=sha)]
    for i in range(3):
        head = MODEL.shape(rng.standard_normal(MODEL.num_identity)).astype(float)
        head[:, 2] += extra * np.sin(MODEL.mean[:, 1] / 4) * (MODEL.mean[:, 2] > 0)
        head = head @ euler_to_matrix(0.1 * i, 0.0, 0.0).T + [10.0, 0.0, 5.0]
        rows.append(write_head(folder, head, subject=f"s{i}", template_sha256=sha))
    write_index(folder, rows)
    return folder


def test_heads_of_the_model_are_expressed_wherever_they_stand(tmp_path):
    found = registered_errors(MODEL, heads(tmp_path))
    assert [item.head for item in found] == ["s0", "s1", "s2"]
    assert max(item.corresponded_mm for item in found) < 0.05
    assert max(item.surface_mm for item in found) < 0.05


def test_what_no_mode_expresses_is_left_over(tmp_path):
    folder = heads(tmp_path, extra=1.0)
    fewer = replace(MODEL, identity_modes=MODEL.identity_modes[:3], name="few")
    document = compare_bases({"all": MODEL, "few": fewer}, folder)
    one, other = (document["models"][name]["metrics"] for name in ("all", "few"))
    assert 0.3 < one["corresponded_mm"] < other["corresponded_mm"]
    assert one["surface_mm"] < one["corresponded_mm"] and one["now_median_mm"] is None


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"index\.csv"):
        compare_bases({"a": MODEL}, tmp_path)

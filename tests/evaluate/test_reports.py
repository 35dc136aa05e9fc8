import json

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.evaluate.reports import write_report


def test_report_and_curve(tmp_path):
    folder = tmp_path / "a" / "b"
    files = write_report(
        folder, {"metrics": {"median": 1.0}}, distances=[np.array([1.0, 3]), np.array([2.0, 9])]
    )
    assert [f.name for f in files] == ["report.json", "curve.csv"]
    assert json.loads(files[0].read_text())["metrics"]["median"] == 1
    rows = files[1].read_text().splitlines()
    assert rows[0] == "error_mm,percent"
    curve = dict(tuple(map(float, row.split(","))) for row in rows[1:])
    assert (curve[0.0], curve[1.0], curve[2.98], curve[8.0]) == (0, 25, 50, 75)


def test_without_distances_there_is_no_curve(tmp_path):
    assert len(write_report(tmp_path, {})) == 1
    assert write_report(tmp_path, {}, distances=[])[1].read_text().count(",0.0000") == 401


def test_output_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        write_report(tmp_path / "file" / "out", {})

import json

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.evaluate.reports import rows_csv, write_error_report, write_report


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


def test_items_become_rows(tmp_path):
    rows = [{"a": 1, "b": None}, {"b": [1, 2], "c": {"d": [3]}}, {"c": [[1, 2], [3, 4]]}]
    assert rows_csv(rows).splitlines() == [
        "a,b,c", "1,,", ',1; 2,"{""d"": [3]}"', ',,"[[1, 2], [3, 4]]"',
    ]  # fmt: skip
    files = write_report(tmp_path, {"items": rows})
    assert [f.name for f in files] == ["report.json", "items.csv"]
    assert (tmp_path / "items.csv").read_text() == rows_csv(rows)


def test_named_errors_have_a_curve_each(tmp_path):
    document = {"protocol": {"name": "distance"}, "items": [{"head": 1}]}
    errors = {"a": np.array([1.0, 3.0]), "b": np.array([0.5, np.inf])}
    files = write_error_report(tmp_path, document, errors, limit=4.0, what="error", unit="%")
    assert [f.name for f in files] == ["report.json", "items.csv", "curve.csv", "curve.png"]
    rows = [row.split(",") for row in (tmp_path / "curve.csv").read_text().splitlines()]
    assert rows[0] == ["error_percent", "a", "b"]
    assert [float(x) for x in rows[101]] == [1.0, 50.0, 50.0]
    assert [float(x) for x in rows[-1]] == [4.0, 100.0, 50.0]

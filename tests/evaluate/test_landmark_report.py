import json

import numpy as np
import pytest

from facekit.evaluate.landmark_report import write_landmark_report
from facekit.io.images import read_image


def document(errors):
    items = [{"image": f"{k}", "missing": e is None, "mean": e} for k, e in enumerate(errors)]
    return {"protocol": {"unit": "percent"}, "items": items}


def columns(path):
    header, *rows = path.read_text().splitlines()
    return header.split(","), np.array([[float(v) for v in row.split(",")] for row in rows])


def test_curves_count_missed_images(tmp_path):
    written = write_landmark_report(tmp_path / "out", document([1.0, 4.0, 20.0, None]))
    names = ["report.json", "items.csv", "curve.csv", "curve.png"]
    assert [path.name for path in written] == names
    rows = (tmp_path / "out" / "items.csv").read_text().splitlines()
    assert rows == ["image,error", "0,1.0", "1,4.0", "2,20.0", "3,"]
    names, table = columns(tmp_path / "out" / "curve.csv")
    assert names == ["error_percent", "percent"]
    for error, percent in ((0.5, 0), (1.0, 25), (3.95, 25), (4.0, 50), (10.0, 50)):
        row = np.abs(table[:, 0] - error).argmin()
        assert table[row, 1] == percent
    assert read_image(tmp_path / "out" / "curve.png").ndim == 3


def test_several_detectors_share_one_picture(tmp_path):
    both = {
        "protocol": {"unit": "percent"},
        "detectors": {"a": document([1.0, 2.0]), "b": document([None, 9.0])},
    }
    write_landmark_report(tmp_path, both)
    names, table = columns(tmp_path / "curve.csv")
    assert names == ["error_percent", "a", "b"]
    assert table[-1].tolist() == pytest.approx([10, 100, 50])
    assert (tmp_path / "items.csv").read_text() == "image,a,b\n0,1.0,\n1,2.0,9.0\n"
    assert json.loads((tmp_path / "report.json").read_text()) == both

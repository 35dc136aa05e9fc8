import csv

import numpy as np
import pytest
from PIL import Image
from scan_case import face

from facekit.errors import InputError
from facekit.evaluate.scan_reports import (
    ScanEvaluation,
    ScanItem,
    items_csv,
    plot_title,
    scan_document,
    strictly,
    summary,
    write_scan_report,
)
from facekit.export.curves import draw_curves
from facekit.export.heat import draw_heat_map, heat_colours

ITEMS = [
    ScanItem("a", "x", 1.0, np.array([1.0, 1.0]), {"scale": 2.0}),
    ScanItem("b", "x", 4.0, np.array([4.0]), warnings=("doubtful", "very")),
    ScanItem("c", "y", error="gone"),
    ScanItem("d", error="no scan", unmatched=True),
]


def test_summary_is_over_items():
    result = summary(ITEMS)
    assert (result["median"], result["mean"], result["std"]) == (2.5, 2.5, 1.5)
    assert [result[k] for k in ("count", "missing", "unmatched", "warned")] == [2, 1, 1, 1]
    assert summary(ITEMS[2:])["mean"] is None
    document = scan_document(ITEMS, protocol={"name": "n"}, controls={"mean": ITEMS[:1]})
    assert list(document["groups"]) == ["x", "y"]
    assert document["controls"]["mean"]["mean"] == 1
    assert [row["missing"] for row in document["items"]] == [False, False, True, True]


def test_strict_takes_the_value_away():
    refused = strictly(ITEMS[1])
    assert refused.value is None
    assert "doubtful; very" in refused.error
    assert strictly(ITEMS[0]) is ITEMS[0]
    assert strictly(ITEMS[2]) is ITEMS[2]


def test_csv_has_a_row_for_each():
    rows = list(csv.DictReader(items_csv(ITEMS).splitlines()))
    assert [row["name"] for row in rows] == list("abcd")
    assert rows[0]["scale"] == "2.0"
    assert rows[1]["warnings"] == "doubtful; very"
    assert (rows[2]["value"], rows[2]["error"]) == ("", "gone")


def test_report_files(tmp_path):
    document = scan_document(ITEMS, protocol={"name": "n"})
    evaluation = ScanEvaluation(ITEMS, document, {"mean": ITEMS[1:2]})
    files = write_scan_report(tmp_path / "r", evaluation)
    names = ["report.json", "curve.csv", "items.csv", "curve.png", "curve_items.png"]
    assert {f.name for f in files} >= set(names)
    empty = ScanEvaluation(ITEMS[2:], scan_document(ITEMS[2:], protocol={}), {})
    assert {f.name for f in write_scan_report(tmp_path / "e", empty)} >= {"items.csv"}
    with pytest.raises(InputError, match="cannot be made"):
        write_scan_report(tmp_path / "r/items.csv/x", evaluation)


def test_a_curve_rises_where_the_errors_are(tmp_path):
    path = draw_curves(tmp_path / "c.png", {"one": np.full(9, 4.0)}, limit=8.0, xlabel="mm")
    image = np.asarray(Image.open(path)).astype(int)
    blue = (np.abs(image - [0, 114, 178]).sum(axis=2) < 30)[60:480]
    columns = np.flatnonzero(blue.sum(axis=0) > 100)
    # A step at the middle of the axis, which runs from 70 to 820.
    assert abs(columns.mean() - 445) < 5
    with pytest.raises(InputError, match="positive limit"):
        draw_curves(tmp_path / "c.png", {}, limit=0, xlabel="mm")


def test_heat_map_shows_errors_where_they_are(tmp_path):
    scan = face(60, 80)
    right = scan.vertices[:, 0] > 0
    errors = np.where(right, 5.0, 0.0)
    path = draw_heat_map(
        tmp_path / "h.png", scan.vertices, scan.faces, errors,
        axes=(np.array([0, 1.0, 0]), np.array([0, 0, 1.0])),
    )  # fmt: skip
    image = np.asarray(Image.open(path)).astype(int)
    assert image.shape == (460, 945, 3)
    # The scale's end says more than its number: a second line stands under it.
    words = (image[60:80, 872:] < 100).sum(), (image[80:96, 872:] < 100).sum()
    assert min(words) > 50
    assert not (image[96:200, 872:] < 100).any()
    # Turbo ends in dark red and begins in dark blue; the person's left is image right.
    left_side, right_side = image[200, 120], image[200, 300]
    assert right_side[0] > right_side[2]
    assert left_side[2] > left_side[0]
    np.testing.assert_allclose(heat_colours(np.array([0.0, 9.0]), limit=5.0)[1][0], 0.48, atol=0.02)
    with pytest.raises(InputError, match="errors"):
        draw_heat_map(tmp_path / "h.png", scan.vertices, scan.faces, errors[:5], axes=([0], [0]))


def test_plots_say_whether_they_are_metrical():
    assert plot_title({"protocol": {"name": "now", "metrical": True}}) == "now, metrical"
    assert plot_title({"protocol": {"name": "now", "metrical": False}}) == "now"
    assert plot_title({"protocol": {}}) == ""

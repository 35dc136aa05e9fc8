import csv
import json

from facekit.export.report import write_failures, write_index, write_summary


def test_summary_has_the_columns_in_order_and_keeps_odd_names(tmp_path):
    rows = [{"input": 'a, "b".jpg', "quality": 0.5, "extra": 1}, {"input": "é.png"}]
    text = write_summary(tmp_path / "s.csv", rows, ["input", "quality"]).read_text("utf-8")
    assert list(csv.reader(text.splitlines())) == [
        ["input", "quality"],
        ['a, "b".jpg', "0.5"],
        ["é.png", ""],
    ]


def test_failures_are_a_list_even_when_none(tmp_path):
    assert json.loads(write_failures(tmp_path / "f.json", []).read_text()) == []


def test_the_page_escapes_names_and_links_relatively(tmp_path):
    rows = [{"folder": "a b/<x>", "input": "<script>.jpg", "yaw_deg": 4.3, "distance_mm": 700}]
    failures = [{"input": "<bad>", "error": "no <face>"}]
    page = write_index(
        tmp_path / "index.html", rows, failures, title="T", files=["face.glb"]
    ).read_text("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;.jpg" in page
    assert "href='a%20b/%3Cx%3E/face.glb'" in page
    assert "yaw 4.3° · distance 700 mm" in page
    assert "no &lt;face&gt;" in page
    assert "1 face, 1 without a result" in page.replace("\n", "")

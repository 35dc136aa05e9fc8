import csv
import json

import numpy as np
import pytest
from scan_case import face, write_face

from facekit.cli.main import run
from facekit.errors import InputError
from facekit.evaluate.comparison import (
    against_controls,
    compare_items,
    compare_methods,
    compare_with_control,
    comparison_csv,
    sentence,
    write_comparison,
)
from facekit.evaluate.scan_reports import ScanEvaluation, ScanItem, scan_document


def items(values, *, persons=20):
    return [
        ScanItem(f"i{k}", "g", float(v), np.full(3, v, np.float32), person=f"p{k % persons}")
        for k, v in enumerate(values)
    ]


def evaluation(rows, controls=None):
    document = scan_document(rows, protocol={"name": "toy"}, controls=controls)
    return ScanEvaluation(rows, document, controls or {})


def test_a_known_difference_is_found_on_shared_items_only():
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 60)
    first = [*items(base), ScanItem("gone", error="x")]
    second = [*items(base - 0.1 + rng.normal(0, 0.02, 60))[5:], ScanItem("i0", error="y")]
    result = compare_items(first, second)
    assert result["items"] == 55
    assert result["persons"] == 20
    assert result["mean_difference"] == pytest.approx(-0.1, abs=0.01)
    assert result["low"] < result["mean_difference"] < result["high"] < 0
    assert (result["verdict"], result["better_on_percent"]) == ("better", 100)
    assert compare_items(second, first)["verdict"] == "worse"
    assert compare_items(first, second) == result
    noise = items(base + rng.normal(0, 0.3, 60))
    assert compare_items(items(base), noise)["verdict"] == "undecided"
    assert compare_items(first, [ScanItem("other", value=1.0)]) is None


def test_items_of_one_person_count_as_one():
    rng = np.random.default_rng(1)
    shift = np.repeat(rng.normal(0, 1, 12), 30)
    base = np.ones(360)

    def rows(values, persons):
        return [
            ScanItem(f"i{k}", value=float(v), person=str(p))
            for k, (v, p) in enumerate(zip(values, persons, strict=True))
        ]

    persons = np.repeat(np.arange(12), 30)
    own = compare_items(rows(base, persons), rows(base + shift, persons))
    free = compare_items(rows(base, range(360)), rows(base + shift, range(360)))
    assert own["high"] - own["low"] > 3 * (free["high"] - free["low"])
    few = compare_items(rows(base[:60], persons[:60]), rows(base[:60] + 1, persons[:60]))
    assert few["persons"] == 2
    assert few["verdict"] == "undecided"
    assert "fewer than 10" in sentence("b", {"than": "a", **few}, unit="mm")


def test_controls_are_paired_by_scan_or_person():
    """One value a person, or one a scan: each method is compared with it on the same heads."""
    base = np.linspace(1, 2, 40)
    method = items(base, persons=20)
    by_person = [ScanItem(f"p{k}", value=float(base[k])) for k in range(20)]
    found = compare_with_control(by_person, method)
    expected = np.mean([base[k] - base[k % 20] for k in range(40)])
    assert found["mean_difference"] == pytest.approx(expected)
    assert (found["items"], found["persons"]) == (40, 20)
    by_scan = [ScanItem(item.name, value=item.value + 0.25) for item in method]
    found = compare_with_control(by_scan, method)
    assert found["mean_difference"] == pytest.approx(-0.25)
    assert found["verdict"] == "better"
    assert compare_with_control([ScanItem("p0", error="x")], method) is None
    table = against_controls(evaluation(method, {"mean_face": by_scan, "none": []}))
    assert list(table) == ["mean_face"]
    assert "A against mean_face: -0.250 mm" in sentence("A", table["mean_face"], unit="mm")


def test_one_document_and_one_plot(tmp_path):
    base = np.linspace(1, 2, 30)
    control = {"mean_face": items(base + 1)}
    methods = {"A": evaluation(items(base), control), "B": evaluation(items(base + 0.5), control)}
    document = compare_methods(methods, value="error", unit="mm")
    assert list(document["methods"]) == ["A", "B"]
    assert document["controls"]["mean_face"]["mean"] == pytest.approx(2.5)
    assert document["comparisons"]["B"]["than"] == "A"
    assert document["comparisons"]["B"]["verdict"] == "worse"
    json.dumps(document, allow_nan=False)
    files = write_comparison(tmp_path, methods, document, limit=4.0, unit="mm", value="error")
    names = {f.relative_to(tmp_path).as_posix() for f in files}
    assert names >= {"report.json", "items.csv", "curve.csv", "curve.png", "curve_items.png"}
    assert names >= {"A/report.json", "B/items.csv"}
    rows = list(csv.DictReader((tmp_path / "items.csv").read_text().splitlines()))
    assert float(rows[3]["B"]) - float(rows[3]["A"]) == pytest.approx(0.5)
    curve = list(csv.reader((tmp_path / "curve.csv").read_text().splitlines()))
    assert curve[0] == ["error_mm", "A", "B", "mean_face"]
    assert [float(x) for x in curve[-1]] == [4.0, 100.0, 100.0, 100.0]
    assert document["against_controls"]["B"]["mean_face"]["mean_difference"] < 0
    with pytest.raises(InputError, match="two methods"):
        compare_methods({"A": methods["A"]}, value="error", unit="mm")
    nothing = sentence("B", {"than": "A", "items": 0}, unit="mm")
    assert "no item" in nothing


def test_csv_leaves_out_strangers_and_keeps_gaps():
    rows = [ScanItem("a", value=1.0), ScanItem("b", error="x"), ScanItem("z", unmatched=True)]
    text = comparison_csv({"A": evaluation(rows), "B": evaluation(items([3.0]))})
    assert text.splitlines() == ["name,group,person,A,B", "a,,a,1.0,", "b,,b,,", "i0,g,p0,,3.0"]


@pytest.fixture
def micc(tmp_path):
    for k in range(2):
        write_face(tmp_path / f"data/s{k}/frontal1.obj", face(seed=k, noise=0.2), marks="five")
        for name, noise in (("one", 0.3), ("two", 1.5)):
            write_face(tmp_path / f"{name}/s{k}.obj", face(seed=9 + k, noise=noise), marks="five")
    return tmp_path


def test_command_compares_folders(micc, capsys):
    data = ["--data", str(micc / "data"), "--model", "none"]
    pair = [str(micc / "one"), f"noisy={micc / 'two'}"]
    assert run(["eval", "micc", "--compare", *pair, *data, "-o", str(micc / "r"), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document["methods"]) == ["one", "noisy"]
    assert document["comparisons"]["noisy"]["mean_difference"] > 0.3
    assert "noisy against one: +" in captured.err
    assert (micc / "r/curve.png").is_file()
    assert (micc / "r/noisy/heat/s0.png").is_file()
    assert run(["eval", "micc", *pair, *data]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["method", "mm", "median"]
    assert lines[1].split()[:2] == ["one", "all"]
    assert run(["eval", "micc", "--compare", pair[0], *data]) == 2
    assert "two folders" in capsys.readouterr().err
    assert run(["eval", "micc", "a=x", "a=y", *data]) == 2


def test_methods_with_different_items_are_said_to_be(micc, capsys):
    """The table's rows are each over their own items; differences are over what both have."""
    (micc / "two/s1.obj").unlink()
    arguments = ["eval", "micc", str(micc / "one"), str(micc / "two"), "--model", "none"]
    assert run([*arguments, "--data", str(micc / "data"), "--json"]) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    found = document["comparisons"]["two"]
    assert (found["items"], found["only_here"], found["only_there"]) == (1, 0, 1)
    assert "one has 1 item that two has not" in captured.err
    assert "on 1 items" in captured.err


def test_names_are_as_long_as_they_must_be():
    from pathlib import Path

    from facekit.cli.eval_compare import named_predictions

    found = named_predictions([Path("/a/x/fit"), Path("/b/y/fit"), Path("k=/c")], False)
    assert list(found) == ["x_fit", "y_fit", "k"]
    assert found["k"] == Path("/c")
    assert list(named_predictions([Path("/a/b.npy")], False)) == ["b"]


def test_any_number_of_processes_gives_the_same_document(micc, capsys):
    arguments = ["eval", "micc", str(micc / "one"), "--data", str(micc / "data"), "--json"]
    (micc / "one/s1.obj").write_text("nothing\n")
    documents = []
    for jobs in ("1", "2"):
        assert run([*arguments, "--model", "none", "--jobs", jobs]) == 5
        documents.append(capsys.readouterr().out)
    assert documents[0] == documents[1]
    assert "s1.obj" in documents[0]

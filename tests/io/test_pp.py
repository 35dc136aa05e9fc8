import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.pp import read_pp

POINTS = np.array([[-43.3, 35.9, 85.7], [1e-3, -2.5e1, 0], [7, 8, 9.25]])


def document(header="", names=("a", "b", "c")):
    points = "".join(
        f' <point x="{x}" y="{y}" z="{z}" active="{i % 2}" name="{name}"/>\n'
        for i, ((x, y, z), name) in enumerate(zip(POINTS, names, strict=True))
    )
    return f"<!DOCTYPE PickedPoints>\n<PickedPoints>\n{header}{points}</PickedPoints>\n"


@pytest.mark.parametrize(
    "header", ["", ' <DocumentData>\n  <User name="x"/>\n </DocumentData>\n', "\n" * 20]
)
def test_points_come_in_order_whatever_the_header(tmp_path, header):
    path = tmp_path / "scan.pp"
    path.write_text(document(header))
    result = read_pp(path)
    np.testing.assert_array_equal(result.points, POINTS)
    assert result.names == ("a", "b", "c")


def test_no_points(tmp_path):
    path = tmp_path / "scan.pp"
    path.write_text("<PickedPoints/>")
    assert read_pp(path).points.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x y z", "XML"),
        ("<a><point x='1' y='2'/></a>", "point 0"),
        ("<a><point x='1' y='2' z='q'/></a>", "point 0"),
        ("<a><point x='1' y='2' z='nan'/></a>", "finite"),
    ],
)
def test_rejections(tmp_path, text, message):
    path = tmp_path / "scan.pp"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pp(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_pp(tmp_path / "none.pp")

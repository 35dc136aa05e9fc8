import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io import obj
from facekit.io.obj_text import read_tables

TEXTS = [
    "v 0.1 -2.5e-3 3\nv 1 2 3\nv +1. .5 -0\nf 1 2 3\n",
    "# c\nv 0 0 0 0.1 0.2 0.3\nv 1 0 0 1 1 1\nv 0 1 0 0 0 0\nvt 0.5 0.25\nf 1/1 2/1 3/1",
    "v 0 0 0\r\nv 1 0 0\r\nv 0 1 0\r\nvt 0 0 0\r\nvt 1 0 0\r\nvn 0 0 1\r\nf 1/1/1 2/2/1 3/1/1\r\n",
    "v 0 0 0\nv  1\t0 0 \nv 0 1 0\nf 1//1 2//1 3//1\nusemtl x\nf 3 2 1 \n",
    "v 1e2 1e-7 12345678.125\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 3 2",
]


@pytest.mark.parametrize("text", TEXTS)
def test_compiled_and_plain_reader_agree_to_the_bit(tmp_path, text):
    path = tmp_path / "a.obj"
    path.write_bytes(text.encode())
    fast, slow = obj._plain_mesh(path.read_bytes()), obj._any_mesh(path, path.read_bytes())
    assert fast is not None
    for name in ("vertices", "faces", "uvs", "face_uvs", "colours"):
        a, b = getattr(fast, name), getattr(slow, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_written_numbers_come_back_correctly_rounded():
    rng = np.random.default_rng(0)
    numbers = rng.normal(scale=10.0 ** rng.integers(-6, 6, (3000, 1)), size=(3000, 3))
    for form in ("%.4f", "%.6f", "%.9g", "%.12e"):
        lines = [" ".join([form] * 3) % tuple(row) for row in numbers.tolist()]
        text = "".join(f"v {line}\n" for line in lines) + "f 1 2 3\n"
        tables = read_tables(text.encode())
        expected = np.array([[float(word) for word in line.split()] for line in lines])
        np.testing.assert_array_equal(tables.vertices, expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 4 3\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n",
        "v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 x\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 1.2345678901234567890\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 1e300\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 1e\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0 0\rv 1 0 0\rv 0 1 0\rf 1 2 3\r",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/ 2 3/x\n",
    ],
)
def test_the_unusual_is_left_to_the_plain_reader(text):
    assert read_tables(text.encode()) is None


def test_what_both_readers_take_and_refuse(tmp_path):
    path = tmp_path / "a.obj"
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    path.write_bytes(corners.replace("\n", "\r").encode() + b"f 1 2 3\r")
    assert obj.read_obj(path).faces.tolist() == [[0, 1, 2]]
    path.write_text(corners + "v 1 1 0\nf 1 2 4 3\n")
    assert len(obj.read_obj(path).faces) == 2
    path.write_text(corners.replace("0 1 0", "0 1 1.2345678901234567890") + "f 1 2 3\n")
    assert obj.read_obj(path).vertices[2, 2] == pytest.approx(1.2345678901234567, abs=1e-15)
    for bad in (corners + "f 1 2 9\n", "v 0 0 a\nf 1 1 1\n", "f 1 2 3\n"):
        path.write_text(bad)
        with pytest.raises(InputError):
            obj.read_obj(path)

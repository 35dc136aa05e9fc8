import json

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.points3d import read_points3d, read_vertex_mask

SEVEN = np.arange(21.0).reshape(7, 3)


def test_every_layout(tmp_path):
    np.save(tmp_path / "a.npy", SEVEN[None])
    rows = "\n".join(f"{x} {y} {z}" for x, y, z in SEVEN)
    (tmp_path / "b.txt").write_text("# seven\n" + rows.replace(" ", ", "))
    (tmp_path / "c.lnd").write_text("\n".join(f"{i} {r}" for i, r in enumerate(rows.split("\n"))))
    points = "".join(f'<point x="{x}" y="{y}" z="{z}"/>' for x, y, z in SEVEN)
    (tmp_path / "d.pp").write_text(f"<PickedPoints>{points}</PickedPoints>")
    (tmp_path / "e.json").write_text(json.dumps(SEVEN.tolist()))
    (tmp_path / "f.json").write_text(json.dumps({"frame": "x", "points": SEVEN.tolist()}))
    (tmp_path / "g.json").write_text(json.dumps({"now7": SEVEN.tolist(), "image": "x"}))
    np.savez(tmp_path / "h.npz", now7=SEVEN, other=np.ones(3))
    vertices = np.random.default_rng(0).normal(size=(30, 3))
    vertices[10:17] = SEVEN
    (tmp_path / "i.txt").write_text("\n".join(f"point_{i} {10 + i}" for i in range(7)))
    for name in ["a.npy", "b.txt", "c.lnd", "d.pp", "e.json", "f.json", "g.json", "h.npz", "i.txt"]:
        found = read_points3d(tmp_path / name, vertices=vertices)
        assert list(found) == ["now7"], name
        np.testing.assert_array_equal(found["now7"], SEVEN)


def test_params_give_two_sets(tmp_path):
    np.savez(tmp_path / "p.npz", now7=SEVEN, landmarks_3d_mm=np.ones((68, 3)))
    assert set(read_points3d(tmp_path / "p.npz")) == {"now7", "ibug68"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 2 3\n4 5 6\n", "got 2"),
        ("a.txt", "1 2 3\n4 5 six\n", "cannot be read"),
        ("a.txt", "\n".join(["1 2 nan"] * 5), "point 0"),
        ("a.txt", "1 2 3 4 5\n", "three numbers a line"),
        ("a.txt", "nose 4\n", "no mesh"),
        ("a.json", "{}", "a list of points"),
        ("a.json", '{"five": [[1, 2, 3]]}', "five has 5 points, got 1"),
        ("a.json", "[[1, 2], [3, 4]]", "three numbers"),
        ("a.xyz", "1 2 3", "got '.xyz'"),
        ("a.npy", "no", "cannot be read"),
    ],
)
def test_rejections(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_points3d(tmp_path / name)
    with pytest.raises(InputError):
        read_points3d(tmp_path / "none.npy")


def test_vertex_masks(tmp_path):
    (tmp_path / "a.txt").write_text("4 2, 2\n0")
    assert read_vertex_mask(tmp_path / "a.txt", 6).tolist() == [0, 2, 4]
    (tmp_path / "b.txt").write_text("0\n1\n1\n0")
    assert read_vertex_mask(tmp_path / "b.txt", 4).tolist() == [1, 2]
    assert read_vertex_mask(tmp_path / "b.txt", 6).tolist() == [0, 1]
    np.save(tmp_path / "c.npy", np.array([False, True, False]))
    assert read_vertex_mask(tmp_path / "c.npy", 3).tolist() == [1]
    for text, message in (("7", "in \\[0, 6\\)"), ("1.5", "in"), ("x", "expected"), ("", "no ver")):
        (tmp_path / "d.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            read_vertex_mask(tmp_path / "d.txt", 6)

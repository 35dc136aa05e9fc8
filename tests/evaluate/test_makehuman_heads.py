import os
from pathlib import Path

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.evaluate import makehuman_heads as heads
from facekit.evaluate.heads import read_heads
from facekit.evaluate.interior import WARN_SHARE, interior_points
from facekit.evaluate.now import crop_scan
from facekit.simulate.subject import open_foreign_heads


def write_target(folder, name, rows):
    path = folder / "targets" / f"{name}.target"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i} {x:.4f} {y:.4f} {z:.4f}\n" for i, x, y, z in rows]
    path.write_text("# basetarget\n" + "".join(lines))


def vertex_lines(vertices):
    return "".join(f"v {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in vertices.tolist())


def face_line(row):
    return "f " + " ".join(str(i + 1) for i in row) + "\n"


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """A mesh of MakeHuman's numbering whose head is the landmarks' faces and two eyes."""
    root = tmp_path_factory.mktemp("makehuman")
    rng = np.random.default_rng(0)
    vertices = np.tile([0.0, -5.0, 0.0], (heads.VERTICES, 1))
    marks = np.array([row[:3] for row in heads._LANDMARKS])
    vertices[np.unique(marks)] = rng.uniform(-0.9, 0.9, (len(np.unique(marks)), 3)) + [0, 7, 0]
    eyes = np.arange(14000, 14008).reshape(2, 4)
    vertices[eyes] = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]]) * 0.1 + [0, 7, 3]
    text = vertex_lines(vertices)
    text += "g body\nf 9001 9002 9003\n"  # below the neck
    text += "".join(face_line(row) for row in np.unique(marks, axis=0))
    for group, row in zip(("helper-l-eye", "helper-r-eye"), eyes, strict=True):
        text += f"g {group}\n" + face_line(row)
    (root / "base.obj").write_text(text)
    first = int(marks[0, 0])
    for sex in heads._SEXES:
        for age in heads._AGES:
            for race in heads._RACES:
                write_target(root, f"macrodetails/{race}-{sex}-{age}", [(first, 0.1, 0, 0)])
            for which in ("average", "max", "min"):
                name = f"macrodetails/universal-{sex}-{age}-averagemuscle-{which}weight"
                write_target(root, name, [(first, 0, 0.2, 0)])
    write_target(root, "nose/nose-scale-incr", [(int(marks[1, 0]), 0, 0, 0.3)])
    write_target(root, "nose/nose-scale-decr", [(int(marks[1, 0]), 0, 0, -0.3)])
    write_target(root, "expression/units/caucasian/mouth-open", [(int(marks[2, 0]), 0, -0.2, 0)])
    return root


def test_heads_are_the_base_and_its_targets(assets, tmp_path):
    path = heads.write_makehuman_heads(assets / "base.obj", tmp_path / "h.npz", count=3, seed=1)
    with np.load(path) as file:
        data = dict(file)
    assert len(data["neutral"]) == 3
    assert len(data["eye_faces"]) == 4
    moved = (data["expressed"].astype(float) - data["neutral"]) * float(data["quantum_mm"])
    changed = np.abs(moved).max(axis=(0, 2)) > 0
    assert changed.sum() == 1
    assert (moved[:, changed, 1] < 0).all()
    assert (moved[:, changed, 1] > -20.01).all()
    # The shares of ancestries and ages add up to one, whatever they are.
    neutral = data["neutral"].astype(float) * float(data["quantum_mm"])
    base = np.array([[float(x) for x in line.split()[1:]]
                     for line in (assets / "base.obj").read_text().splitlines()
                     if line.startswith("v ")]) * 100  # fmt: skip
    kept = np.unique(np.array([row[:3] for row in heads._LANDMARKS]))
    shift = neutral[:, 5] - base[kept[5]]
    first = np.flatnonzero(kept == heads._LANDMARKS[0][0])[0]
    np.testing.assert_allclose(
        neutral[:, first] - base[kept[first]] - shift, [[10, 20, 0]] * 3, atol=0.03
    )
    again = heads.write_makehuman_heads(assets / "base.obj", tmp_path / "g.npz", count=2, seed=1)
    with np.load(again) as file:
        np.testing.assert_array_equal(file["neutral"], data["neutral"][:2])
    assert read_heads(path).landmark_vertices.shape == (7, 3)
    np.testing.assert_allclose(data["landmark_weights"].sum(axis=1), 1, atol=1e-6)


def test_rejections(assets, tmp_path):
    output = tmp_path / "h.npz"
    with pytest.raises(InputError, match="found none"):
        heads.write_makehuman_heads(tmp_path / "base.obj", output, count=1)
    with pytest.raises(InputError, match="at least 1 head"):
        heads.write_makehuman_heads(assets / "base.obj", output, count=0)
    with pytest.raises(InputError, match=r"\.target files"):
        heads.write_makehuman_heads(assets / "base.obj", output, count=1, targets=tmp_path)
    (tmp_path / "small.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match="19158 vertices, got 3"):
        heads.write_makehuman_heads(tmp_path / "small.obj", output, count=1)
    write_target(tmp_path, "nose/nose-x-incr", [(0, 0, 0, 0)])
    with pytest.raises(InputError, match="expected macrodetails/"):
        heads.write_makehuman_heads(
            assets / "base.obj", output, count=1, targets=tmp_path / "targets"
        )
    body = (assets / "base.obj").read_text().replace("g helper", "g other")
    (tmp_path / "base.obj").write_text(body)
    with pytest.raises(InputError, match="groups body"):
        heads.write_makehuman_heads(tmp_path / "base.obj", output, count=1)


DATA = Path(os.environ.get("FACEKIT_TEST_DATA", "")) / "makehuman_head/makehuman_head.npz"


@pytest.mark.skipif(
    "FACEKIT_TEST_DATA" not in os.environ or not DATA.is_file(),
    reason="FACEKIT_TEST_DATA names no folder with makehuman_head",
)
def test_the_real_assets(tmp_path):
    with np.load(DATA) as file:
        data = dict(file)
    groups = [str(name) for name in data["group_names"]]
    text = [vertex_lines(data["vertices"])]
    for polygon, group in zip(data["polygons"], data["polygon_group"], strict=True):
        text.append(f"g {groups[group]}\n" + face_line(polygon))
    (tmp_path / "base.obj").write_text("".join(text))
    wanted = ("macrodetails", heads._EXPRESSIONS, "nose", "chin")
    for k, name in enumerate(str(n) for n in data["target_names"]):
        if name.startswith(wanted) and not any(w in name for w in ("baby", "child", "maxmuscle")):
            rows = slice(*data["target_ptr"][k : k + 2])
            index, delta = data["target_index"][rows], data["target_delta"][rows]
            write_target(tmp_path, name, [(i, *d) for i, d in zip(index, delta, strict=True)])
    path = heads.write_makehuman_heads(tmp_path / "base.obj", tmp_path / "heads.npz", count=3)
    found = read_heads(path)
    people = open_foreign_heads(path)
    with np.load(path) as file:
        skin = file["skin_faces"]
    for number in range(3):
        marks = people.subject(number).neutral_landmarks
        assert 70 < np.linalg.norm(marks[36] - marks[45]) < 110
        assert marks[30, 2] > marks[36, 2] + 10
        vertices = found.neutral[number]
        scan, seven = found.scan(number)
        crop = crop_scan(vertices, seven)
        outer = crop[np.isin(crop, found.scan_faces)]
        ahead = np.array([0, 0, 1.0])
        assert interior_points(vertices, skin, outer, outwards=ahead).share < WARN_SHARE
        assert interior_points(vertices, skin, crop, outwards=ahead).share > 0.1
        assert len(scan) > 2500

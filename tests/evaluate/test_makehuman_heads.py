import os
from pathlib import Path

import numpy as np
import pytest

from facekit.detect.landmark_sets import FLIP68
from facekit.errors import InputError
from facekit.evaluate import makehuman_heads as heads
from facekit.evaluate.heads import read_heads
from facekit.evaluate.interior import WARN_SHARE, interior_points
from facekit.evaluate.makehuman_assets import is_makehuman
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


def archive(root, path):
    """The same assets in one file, as plain arrays."""
    names, index, delta, ends = [], [], [], [0]
    for file in sorted((root / "targets").rglob("*.target"), reverse=True):
        rows = [r.split() for r in file.read_text().splitlines() if not r.startswith("#")]
        names.append(file.relative_to(root / "targets").as_posix().removesuffix(".target"))
        index += [int(row[0]) for row in rows]
        delta += [[float(x) for x in row[1:]] for row in rows]
        ends.append(len(index))
    vertices, polygons, groups, current = [], [], [], ""
    for line in (root / "base.obj").read_text().splitlines():
        kind, *rest = line.split()
        if kind == "v":
            vertices.append([float(x) for x in rest])
        elif kind == "g":
            current = rest[0]
        else:
            polygons.append(([int(i) - 1 for i in rest] + [-1])[:4])
            groups.append(current)
    labels = sorted(set(groups))
    np.savez(
        path,
        vertices=np.float32(vertices),
        polygons=np.int32(polygons),
        polygon_group=np.int16([labels.index(group) for group in groups]),
        group_names=np.array(labels),
        target_names=np.array(names),
        target_ptr=np.int64(ends),
        target_index=np.int32(index),
        target_delta=np.float32(delta),
    )
    return path


def test_wherever_the_assets_lie_the_heads_are_the_same(assets, tmp_path):
    """Files side by side, MakeHuman's own folders, or one archive, named or in a folder."""
    packed = archive(assets, tmp_path / "packed.npz")
    data = tmp_path / "makehuman/data"
    (data / "3dobjs").mkdir(parents=True)
    (data / "3dobjs/base.obj").write_bytes((assets / "base.obj").read_bytes())
    (data / "targets").symlink_to(assets / "targets")
    made = [
        heads.write_makehuman_heads(place, tmp_path / f"{k}.npz", count=2, seed=4).read_bytes()
        for k, place in enumerate(
            (assets / "base.obj", assets, packed, packed.parent, data, data / "3dobjs/base.obj")
        )
    ]
    assert len(set(made)) == 1
    assert is_makehuman(packed)
    assert is_makehuman(assets)
    assert not is_makehuman(tmp_path / "0.npz")
    assert not is_makehuman(tmp_path / "none.npz")


def test_damaged_archives_are_named(assets, tmp_path):
    with np.load(archive(assets, tmp_path / "packed.npz")) as file:
        data = dict(file)
    for change, text in (
        ({"polygon_group": None}, "arrays polygon_group"),
        ({"target_ptr": data["target_ptr"][:-1]}, "does not fit"),
        ({"vertices": data["vertices"][:7]}, "19158 vertices, got 7"),
    ):
        arrays = {k: v for k, v in (data | change).items() if v is not None}
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(InputError, match=text):
            heads.read_makehuman_head(tmp_path / "bad.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="3dobjs"):
        heads.read_makehuman_head(tmp_path / "empty")


def test_heads_with_other_places(assets, tmp_path):
    head = heads.read_makehuman_head(assets / "base.obj")
    assert (head.keep[head.skin] < 14000).all()
    assert (head.keep[head.eyes] >= 14000).all()
    assert {tuple(f) for f in head.outer.tolist()} <= {tuple(f) for f in head.skin.tolist()}
    shape = head.vertices[head.keep][None] - [0, 7, 0]
    places = [(*row[:3], 0.25, 0.5) for row in reversed(heads._LANDMARKS)]
    path = heads.write_heads(tmp_path / "h.npz", head, shape, shape + 0.1, places=places, seed=3)
    with np.load(path) as file:
        data = dict(file)
    np.testing.assert_array_equal(
        head.keep[data["landmark_vertices"]], [place[:3] for place in places]
    )
    np.testing.assert_allclose(data["landmark_weights"], [[0.25, 0.25, 0.5]] * 51)
    np.testing.assert_allclose(data["expressed"] - data["neutral"].astype(float), 1000)
    below = [(9000, 9001, 9002, 0.0, 0.0), *places[1:]]
    with pytest.raises(InputError, match="landmarks are gone"):
        heads.write_heads(tmp_path / "g.npz", head, shape, shape, places=below)


def test_places_are_proper_and_in_order():
    weights = heads._weights(heads._LANDMARKS)
    assert weights.min() > -1e-6
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert len(heads._LANDMARKS) == 51
    corners = np.array([row[:3] for row in heads._LANDMARKS])
    assert corners.min() >= 0
    assert corners.max() < heads.VERTICES


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
    base = heads.read_makehuman_head(tmp_path / "base.obj")
    corners = 100 * base.vertices[np.array([row[:3] for row in heads._LANDMARKS])]
    points = np.einsum("nk,nkd->nd", heads._weights(heads._LANDMARKS), corners)
    mirrored = points[FLIP68[17:] - 17] * [-1, 1, 1]
    np.testing.assert_allclose(points, mirrored, atol=0.2)
    # From the person's right to their left: brows, nostrils, and the lips outside and inside.
    for row in ((17, 27), (31, 36), (48, 55), (60, 65)):
        assert (np.diff(points[slice(*(np.array(row) - 17)), 0]) > 1).all()
    assert (np.diff(points[10:14, 1]) < 0).all()
    assert (points[[44, 45, 46], 1] > points[[50, 49, 48], 1]).all()
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

import dataclasses

import numpy as np

from facekit.detect.landmark_sets import FLIP68, dense_to_ibug68
from facekit.geometry.alignment import align_similarity
from facekit.morphable import load_model
from facekit.train.portraits import load_portraits
from facekit.train.renders import OPTIONS, write_renders

SMALL = dataclasses.replace(OPTIONS, size=96, yaw_deg=20.0, pitch_deg=5.0, roll_deg=5.0)


def test_renders_are_a_portraits_folder(tmp_path):
    model = load_model("builtin")
    steps = []
    path = write_renders(
        tmp_path, model, 6, seed=3, options=SMALL, progress=lambda *a: steps.append(a)
    )
    assert path.name == "labels_renders.npz" and steps[-1] == (6, 6)
    portraits = load_portraits(tmp_path)
    assert len(portraits) == 6 and portraits.rendered.all() and (portraits.weights == 1).all()
    # Pictures of one head stay together.
    by_name = dict(zip(portraits.names, portraits.split, strict=True))
    assert len({by_name[f"renders/{k:06d}.png"] for k in range(4)}) == 1
    for points in portraits.points:
        ibug = dense_to_ibug68(points)
        assert ibug[36, 0] < ibug[45, 0] and ibug[27, 1] < ibug[8, 1]
        eyes = np.linalg.norm(ibug[36, :2] - ibug[45, :2])
        # The nose's tip is nearer than the ears' front, in the same unit as x and y.
        depth = ibug[[0, 16], 2].mean() - ibug[30, 2]
        assert 0.6 * eyes < depth < 1.6 * eyes
        shape = np.linalg.norm(ibug[:, None] - ibug[None], axis=2)
        assert np.abs(shape - shape[FLIP68][:, FLIP68]).max() < 0.4 * eyes


def test_a_picture_does_not_depend_on_the_count(tmp_path):
    model = load_model("builtin")
    for count in (1, 2):
        write_renders(tmp_path / str(count), model, count, seed=1, options=SMALL)
    a, b = (tmp_path / str(c) / "renders/000000.png" for c in (1, 2))
    assert a.read_bytes() == b.read_bytes()


def test_variety_widens_shapes(tmp_path):
    model = load_model("builtin")
    points = []
    options = dataclasses.replace(SMALL, views=1, distance_mm=(2000.0, 2500.0))
    for variety in (0.0, 2.0):
        folder = tmp_path / str(variety)
        write_renders(folder, model, 4, seed=2, variety=variety, options=options)
        with np.load(folder / "labels_renders.npz") as table:
            points.append(table["landmarks478"])
    mean, varied = (
        np.stack([align_similarity(p, group[0]).apply(p) for p in group]) for group in points
    )
    # Without variety all are the mean head, seen in a little perspective.
    assert mean.std(0).mean() < 0.5 * varied.std(0).mean()

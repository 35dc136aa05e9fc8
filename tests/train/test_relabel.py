import numpy as np
import pytest
from portrait_data import draw_portrait, write_portraits

from facekit.detect.landmark_sets import FLIP478
from facekit.errors import InputError
from facekit.train.relabel import label_by_views, relabel, views


class Landmarker:
    """Knows the truth of one image and errs by crop: a fixed offset in the crop, and noise."""

    def __init__(self, image, truth, offset=0.0, noise=0.0):
        self.image, self.truth, self.offset, self.noise = image, truth, offset, noise
        self.rng = np.random.default_rng(0)

    def points(self, image, crop):
        truth = self.truth.astype(float)
        if not np.array_equal(image, self.image):  # the mirror image
            truth = truth[FLIP478] * [-1, 1, 1] + [image.shape[1] - 1, 0, 0]
        inside = crop.apply(truth[:, :2]) + [self.offset, 0]
        inside += self.rng.normal(0, self.noise, inside.shape) if self.noise else 0
        return np.column_stack([crop.inverse().apply(inside), truth[:, 2]]), 0.9


def test_views_come_in_mirrored_pairs():
    pairs = views(9)
    assert len(pairs) == 8
    for a, b in zip(pairs[::2], pairs[1::2], strict=True):
        assert b == a._replace(mirror=True) and not a.mirror
    assert pairs == views(9) and pairs[2:] != views(9, seed=1)[2:]


def test_a_perfect_landmarker_is_repeated():
    image, truth = draw_portrait(np.random.default_rng(0))
    start = truth + 3
    points, presence, spread = label_by_views(image, start, Landmarker(image, truth), views(6))
    assert np.allclose(points, truth, atol=1e-3)
    assert presence == pytest.approx(0.9) and spread < 1e-6


def test_mirroring_removes_a_left_right_bias():
    image, truth = draw_portrait(np.random.default_rng(1))
    landmarker = Landmarker(image, truth, offset=1.0)
    points, _, spread = label_by_views(image, truth, landmarker, views(8))
    assert abs((points - truth)[:, 0].mean()) < 0.01
    assert spread > 0


def test_averaging_lowers_noise():
    image, truth = draw_portrait(np.random.default_rng(2))

    def error(count):
        landmarker = Landmarker(image, truth, noise=1.0)
        points, _, _ = label_by_views(image, truth, landmarker, views(count))
        return np.abs(points - truth)[:, :2].mean()

    assert error(32) < 0.4 * error(2)


def test_a_folder_keeps_its_other_arrays(tmp_path):
    folder = write_portraits(tmp_path / "data", count=4)

    class Constant:
        def points(self, image, crop):
            points = np.random.default_rng(0).uniform(20, 100, (478, 3))
            return points, 0.7

    steps = []
    files = relabel(
        folder, tmp_path / "out", Constant(), num_views=2, progress=lambda *a: steps.append(a)
    )
    assert [f.name for f in files] == ["labels_first.npz", "labels_second.npz"]
    assert steps[-1] == (4, 4)
    with np.load(files[0]) as new, np.load(folder / files[0].name) as old:
        assert (new["files"] == old["files"]).all()
        assert (new["identity128"] == old["identity128"]).all()
        assert new["landmark_score"] == pytest.approx(0.7)
        assert new["landmark_spread"].shape == (2,)


def test_rejections(tmp_path):
    image, truth = draw_portrait(np.random.default_rng(0))
    with pytest.raises(InputError, match="at least one pair"):
        label_by_views(image, truth, Landmarker(image, truth), [])
    with pytest.raises(InputError, match="labels_<set>"):
        relabel(tmp_path, tmp_path / "out", None)

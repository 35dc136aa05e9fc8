import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.alignment import similarity_motions
from facekit.morphable import load_model
from facekit.simulate.irregular import IrregularShapes
from facekit.simulate.sampler import ModelSubjects
from facekit.train.params_losses import shape_metric


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


def test_what_a_model_can_make_comes_back_as_coefficients(model):
    shapes = IrregularShapes(model, 1.0)
    truth = np.random.default_rng(0).standard_normal(model.num_identity)
    moved = np.tensordot(truth, model.identity_modes, 1)
    found = np.tensordot(shapes.coefficients(moved) - truth, model.identity_modes, 1)
    assert np.sqrt(shape_metric(model, found[None])[0, 0]) < 0.02
    # A mere growth of the head is no coefficient's doing.
    grown = 0.01 * (model.mean - model.mean[model.regions["scan"]].mean(0))
    assert np.abs(shapes.coefficients(grown)).max() < 0.02


def test_departures_are_smooth_mostly_symmetric_and_of_their_size(model):
    shapes = IrregularShapes(model, 2.0)
    rows = model.regions["scan"]
    sizes = []
    for seed in range(5):
        moved = shapes.departure(np.random.default_rng(seed))
        sizes.append(np.sqrt((moved[rows] ** 2).sum(1).mean()))
        mirrored = moved[model.mirror] * [-1, 1, 1]
        assert np.abs(moved - mirrored)[rows].mean() < 0.5 * np.abs(moved)[rows].mean()
        ends = model.faces[rows[model.faces].all(1)][:, :2]
        edge = np.linalg.norm(model.mean[ends[:, 0]] - model.mean[ends[:, 1]], axis=1)
        jump = np.linalg.norm(moved[ends[:, 0]] - moved[ends[:, 1]], axis=1)
        assert np.percentile(jump / edge, 99) < 0.6
    assert min(sizes) > 0 and max(sizes) <= 2.0 + 1e-9


def test_departures_leave_the_pose_to_the_pose(model):
    """Least squares by modes and similarity together find no similarity in them."""
    shapes = IrregularShapes(model, 8.0)
    rows = np.flatnonzero(model.regions["scan"])
    modes = model.identity_modes[:, rows].astype(float)
    motions = similarity_motions(model.mean[rows])
    columns = np.concatenate([modes, motions]).reshape(len(modes) + 7, -1).T
    for seed in range(3):
        moved = shapes.departure(np.random.default_rng(seed))[rows]
        found = np.linalg.lstsq(columns, moved.ravel(), rcond=None)[0][-7:]
        carried = np.tensordot(found, motions, 1)
        assert np.sqrt((carried**2).sum(1).mean()) < 0.06 * np.sqrt((moved**2).sum(1).mean())


def test_the_label_is_nearer_to_the_head_than_the_coefficients_it_began_with(model):
    shapes = IrregularShapes(model, 2.0)
    moved = shapes.departure(np.random.default_rng(3))
    metric = shape_metric(model, moved[None])[0, 0]
    found = np.tensordot(shapes.coefficients(moved), model.identity_modes, 1)
    rest = shape_metric(model, (moved - found)[None])[0, 0]
    assert rest < 0.7 * metric


def test_a_drawn_person_has_its_label(model):
    people = ModelSubjects(model, irregular_mm=1.5)
    one = people.draw(np.random.default_rng(4), 0)
    plain = model.shape(one.identity)
    off = shape_metric(model, (one.neutral - plain)[None].astype(float))[0, 0]
    assert 0 < np.sqrt(off) < 1.5
    again = people.express(np.random.default_rng(5), one)
    np.testing.assert_array_equal(again.neutral, one.neutral)
    np.testing.assert_array_equal(again.identity, one.identity)


def test_rejections(model):
    with pytest.raises(InputError, match="0 mm or more"):
        IrregularShapes(model, -1.0)

import dataclasses

import numpy as np
import pytest
import torch
from portrait_data import symmetric_shape, write_portraits

from facekit.detect.landmark_sets import FLIP478, dense_to_ibug68
from facekit.errors import InputError
from facekit.learn.loop import LoopConfig
from facekit.train.landmark_crops import (
    box_error,
    draw_shares,
    eye_error,
    jittered_crop,
    mean_shapes,
)
from facekit.train.landmarks import LandmarkConfig, LandmarkTask, wing_loss
from facekit.train.portraits import load_portraits

CONFIG = LandmarkConfig(
    loop=LoopConfig(steps=4, threads=1),
    batch_size=8,
    size=64,
    patch=4,
    widths=(4, 8, 8, 8),
    depths=(1, 1, 1, 1),
    hidden=8,
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = write_portraits(tmp_path_factory.mktemp("portraits"))
    portraits = load_portraits(folder, splits=("train", "validation"))
    return LandmarkTask(CONFIG, portraits.subset("train"), portraits.subset("validation"))


def test_batches_depend_on_the_step_alone(task):
    first, _, again, other = task.batch(3), task.batch(4), task.batch(3), task.batch(5)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.images, other.images)


def test_targets_lie_on_the_drawn_dots():
    # Without distortion of the pixels the dots must be dark at the targets.
    import tempfile
    from pathlib import Path

    quiet = dataclasses.replace(CONFIG, size=128, occlusion=0.0, negatives=0.0, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        portraits = load_portraits(write_portraits(Path(folder)), splits=("train", "validation"))
    task = LandmarkTask(quiet, portraits.subset("train"), portraits.subset("validation"))
    batch = task.batch(0)
    darker = []
    for image, points in zip(batch.images.numpy(), batch.points.numpy(), strict=True):
        pixels = np.round((points + 0.5) * 128 - 0.5).astype(int)
        grey = image.mean(0)
        for index in (33, 263, 468, 473):
            x, y = pixels[index]
            if 8 <= x < 120 and 8 <= y < 120:
                around = grey[y - 8 : y + 9 : 4, x - 8 : x + 9 : 4]
                darker.append(grey[y, x] - np.median(around))
    assert np.median(darker) < -20


def test_negatives_carry_no_points(task):
    batch = task.batch(11)
    nothing = batch.presence[:, 0] == 0
    assert (batch.weights[nothing] == 0).all()
    seen = torch.cat([task.batch(s).presence for s in range(20)])
    assert 0.0 < float((seen == 0).float().mean()) < 0.2


def test_loss_falls_on_one_batch(task):
    model = task.build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = task.batch(0)
    losses = []
    for _ in range(30):
        loss = task.loss(model, batch)
        assert all(torch.isfinite(v) for v in loss.values())
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        losses.append(float(loss["loss"].detach()))
    assert losses[-1] < losses[0] - 0.2


def test_the_spread_does_not_pull_on_the_points(task):
    model = task.build_model()
    loss = task.loss(model, task.batch(0))
    loss["spread"].backward()
    assert model.points.weight.grad is None or not model.points.weight.grad.any()
    assert model.spread.weight.grad.any()


def test_evaluation_of_the_mean_shape_is_bad_but_finite(task):
    figures = task.evaluate(task.build_model().eval())
    assert 0.5 < figures["score"] < 60 and np.isfinite(list(figures.values())).all()
    assert figures == task.evaluate(task.build_model().eval())


def test_wing_loss():
    error = torch.tensor([0.0, 0.001, -0.001, 0.03, 0.5])
    loss = wing_loss(error, 0.03, 0.006)
    assert loss[0] == 0 and torch.isclose(loss[1], loss[2])
    assert float(loss[1]) == pytest.approx(0.03 * np.log(1 + 0.001 / 0.006), rel=1e-5)
    # Continuous at the width, slope 1 beyond.
    near = wing_loss(torch.tensor([0.03 - 1e-7, 0.03 + 1e-7]), 0.03, 0.006)
    assert float(near[1] - near[0]) == pytest.approx(0, abs=1e-5)
    assert float(loss[4] - loss[3]) == pytest.approx(0.47, rel=1e-4)


def test_mean_shapes_are_symmetric(task):
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(30, 478, 3)) * 2 + task._train.points[:1]
    for mean in mean_shapes(shapes.astype(np.float32)):
        assert np.allclose(mean[FLIP478] * [-1, 1], mean, atol=1e-9)


def test_eye_error_is_percent_of_the_outer_eyes():
    truth = np.random.default_rng(0).normal(size=(478, 2)) * 10
    distance = np.linalg.norm(truth[33] - truth[263])
    moved = truth + np.array([0.02 * distance, 0])
    assert eye_error(moved, truth) == pytest.approx(2.0)


def test_box_error_is_percent_of_the_diagonal():
    truth = np.random.default_rng(0).normal(size=(478, 2)) * 10
    diagonal = np.linalg.norm(np.ptp(dense_to_ibug68(truth), axis=0))
    assert box_error(truth + [0.03 * diagonal, 0], truth) == pytest.approx(3.0)


def test_tight_crops_move_less_than_wide_ones():
    points = symmetric_shape()[:, :2] * 50 + 100

    def spread(tight):
        rng = np.random.default_rng(0)
        matrices = [
            jittered_crop(points, rng, size=100, margin=1.3, tight=tight) for _ in range(60)
        ]
        return np.std([m[:, :2] @ points[4] + m[:, 2] for m in matrices], axis=0).max()

    assert spread(True) < 3 < spread(False) < 15


def test_shares_of_renders_and_of_rare_smiles(task):
    train = task._train
    count = len(train)
    smile = np.where(np.arange(count) < count // 4, 0.9, 0.0).astype(np.float32)
    mixed = dataclasses.replace(train, smile=smile)
    even = draw_shares(mixed, 0.3, 1.0)
    assert even[smile > 0.5].sum() == pytest.approx(even[smile < 0.5].sum())
    plain = draw_shares(mixed, 0.3, 0.0)
    assert plain == pytest.approx(train.weights)
    rendered = np.arange(count) >= count - 5
    share = draw_shares(dataclasses.replace(mixed, rendered=rendered), 0.3, 0.5)
    assert share.sum() == pytest.approx(1.0) and share[rendered].sum() == pytest.approx(0.3)


def test_empty_splits_are_refused(task):
    with pytest.raises(InputError, match="train and validation"):
        LandmarkTask(CONFIG, task._train, task._train.subset("validation"))

import dataclasses

import numpy as np
import pytest
import torch
from portrait_data import write_portraits

from facekit.errors import InputError
from facekit.learn.loop import LoopConfig
from facekit.metrics.boxes import average_precision
from facekit.networks.detector import STRIDES
from facekit.train.collage import Collage, CollageConfig, CollageFace, faceless
from facekit.train.detector import (
    DetectorConfig,
    DetectorTask,
    Matches,
    calibrate,
    cell_targets,
    match_collages,
)
from facekit.train.portraits import load_portraits

CONFIG = DetectorConfig(
    loop=LoopConfig(steps=4, threads=1),
    collage=CollageConfig(size=128, most=120.0),
    batch_size=4,
    widths=(4, 8, 8, 8),
    depths=(1, 1, 1, 1),
    neck=8,
    validation_count=6,
    mined=0,
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = write_portraits(tmp_path_factory.mktemp("portraits"))
    portraits = load_portraits(folder, splits=("train", "validation"))
    return DetectorTask(CONFIG, portraits.subset("train"), portraits.subset("validation"))


def face(x, y, w, h, ignore=False):
    five = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
    return CollageFace(np.array([x, y, w, h], float), five * [w, h] + [x, y], ignore)


class Oracle(torch.nn.Module):
    """Answers with the targets of the collages it is asked for, in order."""

    def __init__(self, collages, size):
        super().__init__()
        self.collages, self.size, self.at = collages, size, 0

    def forward(self, images):
        maps = [[] for _ in STRIDES]
        for _ in range(len(images)):
            kind, values = cell_targets(self.collages[self.at].faces, self.size)
            self.at += 1
            begin = 0
            for level, stride in enumerate(STRIDES):
                n = self.size // stride
                cells = slice(begin, begin + n * n)
                begin += n * n
                grid = np.zeros((15, n, n), np.float32)
                grid[0] = np.where(kind[cells] == 1, 6.0, -6.0).reshape(n, n)
                grid[1:] = values[cells].T.reshape(14, n, n)
                maps[level].append(grid)
        return [torch.from_numpy(np.stack(m)) for m in maps]


def test_targets_decode_to_the_faces_they_came_from(task):
    wanted = [
        face(10, 20, 18, 24),
        face(60, 30, 40, 50),
        face(40, 90, 30, 30),
        face(5, 60, 84, 100),
    ]
    for single in wanted:
        collage = Collage(np.zeros((128, 128, 3), np.uint8), [single])
        found = match_collages(Oracle([collage], 128), [collage])
        assert found.hit.all() and len(found.hit) == 1
        assert found.best.tolist() == pytest.approx([1 / (1 + np.exp(-6))])
        assert found.five_error < 1e-3


def test_a_perfect_answer_has_average_precision_one(task):
    found = match_collages(Oracle(task.validation, 128), task.validation)
    # Overlapping faces may share cells; nearly all are still found, and nothing else.
    assert found.hit.all()
    assert average_precision(found.scores, found.hit, len(found.sizes)) > 0.8


def test_ignored_faces_are_not_judged():
    kind, _ = cell_targets([face(20, 20, 60, 60, ignore=True)], 128)
    assert (kind == -1).any() and not (kind == 1).any()
    collage = Collage(np.zeros((128, 128, 3), np.uint8), [face(20, 20, 60, 60, ignore=True)])
    answer = Collage(collage.image, [face(20, 20, 60, 60)])
    found = match_collages(Oracle([answer], 128), [collage])
    assert len(found.scores) == 0 and len(found.sizes) == 0


def test_batches_depend_on_the_step_alone(task):
    for a, b in zip(task.batch(2), task.batch(2), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(task.batch(2).images, task.batch(3).images)


def test_collages_label_what_they_show(task):
    rng = np.random.default_rng(0)
    boxes = 0
    for _ in range(30):
        collage = task._maker.draw(rng)
        assert collage.image.shape == (128, 128, 3) and collage.image.dtype == np.uint8
        for one in collage.faces:
            if one.ignore:
                continue
            boxes += 1
            low, high = one.box[:2], one.box[:2] + one.box[2:]
            # More than half of a wanted face is inside, and its points lie in its box.
            inside = np.clip(np.minimum(high, 128) - np.maximum(low, 0), 0, None).prod()
            assert inside > 0.4 * one.box[2:].prod()
            assert (one.five >= low - 2).all() and (one.five <= high + 2).all()
            assert one.five[0, 0] < one.five[1, 0] or abs(np.diff(one.five[:2, 1])[0]) > 3
    assert boxes > 20


def test_loss_falls_on_one_batch(task):
    model = task.build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = task.batch(0)
    losses = []
    for _ in range(30):
        loss = task.loss(model, batch)
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        losses.append(float(loss["loss"].detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_a_batch_without_faces_has_a_loss(task):
    model = task.build_model()
    batch = task.batch(0)
    empty = batch._replace(kind=torch.zeros_like(batch.kind))
    assert torch.isfinite(task.loss(model, empty)["loss"])


def test_calibration_finds_the_hit_rate():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20000)
    hit = rng.random(20000) < 1 / (1 + np.exp(-(1.7 * logit - 0.8)))
    matches = Matches(1 / (1 + np.exp(-logit)), hit, np.ones(1), np.ones(1), 0.0)
    slope, offset = calibrate(matches)
    assert slope == pytest.approx(1.7, abs=0.1) and offset == pytest.approx(-0.8, abs=0.1)
    upside_down = matches._replace(hit=~hit)
    with pytest.raises(InputError, match="train longer"):
        calibrate(upside_down)


def test_faceless_pieces_do_not_touch_the_face():
    image = np.zeros((120, 100, 3), np.uint8)
    image[30:80, 30:70] = 255
    points = np.array([[30.0, 30], [69, 79]])
    pieces = [faceless(image, points, np.random.default_rng(s)) for s in range(40)]
    assert any(p is not None for p in pieces)
    assert all(p is None or p.max() == 0 for p in pieces)


def test_empty_splits_are_refused(task):
    portraits = task._maker._portraits
    with pytest.raises(InputError, match="train and validation"):
        DetectorTask(dataclasses.replace(CONFIG), portraits, portraits.subset("validation"))

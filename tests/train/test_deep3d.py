import dataclasses
import json

import numpy as np
import pytest
import torch
from weak_faces import DrawnWeak, random_values

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.learn.loop import LoopConfig, RunInfo, train
from facekit.morphable import load_model
from facekit.train.deep3d import Deep3DConfig, Deep3DTask, stacked, weak_losses
from facekit.train.deep3d_data import skin_mask
from facekit.train.deep3d_face import Deep3DFace, Deep3DLayout, deep3d_layout, read_layout
from facekit.types import Camera

STILL = {"shift": 0.0, "scale": 0.0, "turn_deg": 0.0, "flip": 0.0}
LOOP = LoopConfig(
    steps=60,
    learning_rate=1e-3,
    warmup_steps=0,
    weight_decay=0.0,
    ema_decay=0.9,
    precision="fp32",
    threads=1,
    report_every=10,
    evaluate_every=30,
    save_every=60,
)
SMALL = Deep3DConfig(loop=LOOP, batch_size=8, size=64, backbone="resnet18", validation_count=8)


@pytest.fixture(scope="module")
def model():
    whole = load_model("builtin")
    return dataclasses.replace(whole, identity_modes=whole.identity_modes[:6])


@pytest.fixture(scope="module")
def coloured(model):
    """The same with two albedo modes."""
    rng = np.random.default_rng(0)
    modes = 0.05 * rng.standard_normal((2, model.num_vertices, 3)).astype(np.float32)
    return dataclasses.replace(model, albedo_modes=modes)


@pytest.fixture(scope="module")
def faces(model):
    return DrawnWeak(model, 6, 2)


@pytest.fixture(scope="module")
def task(model, faces):
    return Deep3DTask(SMALL, model, faces, faces)


def as_drawn(faces, rows):
    """The pictures as they were drawn, not cropped anew."""
    return stacked(
        [
            (
                faces.images[i].transpose(2, 0, 1),
                np.full((64, 64), 255, np.uint8),
                faces.points[i],
                1,
            )
            for i in rows
        ]
    )


def test_the_published_order():
    layout = Deep3DLayout((80, 64, 80, 3, 27, 3))
    assert layout.length == 257 and layout.heads == (80, 64, 80, 3, 27, 2, 1)
    starts = [layout.part(name).start for name in ("id", "exp", "tex", "angle", "gamma", "trans")]
    assert starts == [0, 80, 144, 224, 227, 254]
    assert read_layout(layout.document(), "x") == layout
    with pytest.raises(InputError, match="layout"):
        read_layout({"schema": "other"}, "x.pth")
    with pytest.raises(InputError, match="expected one of id"):
        layout.part("identity")


def test_nothing_said_is_the_mean_face_where_crops_have_faces(model):
    face = Deep3DFace(model)
    placed = face.place(torch.zeros(1, face.layout.length))
    # Ten decimetres away under 1015 pixels: the eyes lie where the crop rule puts the standard
    # face's, to a few millimetres that heads differ by.
    eyes = placed.points[0, [36, 39, 42, 45]].mean(0)
    np.testing.assert_allclose(eyes, [111.5, 111.5 - 102 * 0.29], atol=6)
    _, coverage = face.draw(placed)
    assert coverage[0, 112, 112] == 1 and coverage[0, 3, 3] == 0
    # An even light of 0.8 in the first band: colours are albedo times a constant.
    shade = (placed.colours / placed.albedo.clamp(min=1e-3)).detach()
    np.testing.assert_allclose(shade, 0.8 * np.pi / np.sqrt(4 * np.pi), rtol=1e-4)


def test_params_say_the_same(model):
    face = Deep3DFace(model, size=128)
    rng = np.random.default_rng(3)
    for _ in range(3):
        values = random_values(face.layout, rng)
        low, high = face.torch.expression_bounds.T.numpy()
        part = face.layout.part("exp")
        values[part] = np.clip(values[part], low, high)
        params = face.params(values)
        camera = Camera(
            params["intrinsics"], params["rotation"], params["translation_mm"], 128, 128
        )
        shape = model.shape(params["identity"], params["expression"])
        marks = project(camera, model.landmark_points("ibug68", shape))[:, :2]
        placed = face.place(torch.from_numpy(values)[None])
        np.testing.assert_allclose(placed.points[0].detach(), marks, atol=2e-3)
        assert np.linalg.det(params["rotation"]) == pytest.approx(1)


def test_the_truth_costs_nothing_but_its_prior(task, faces):
    rows = [0, 3]
    values = torch.from_numpy(np.stack([faces.values[i] for i in rows]))
    losses = task.losses(values, as_drawn(faces, rows))
    assert losses["landmark"] == pytest.approx(0, abs=1e-6)
    # The root's epsilon, and 8 bits.
    assert losses["photometric"] < 4e-3
    at = task.face().split(values)
    prior = (at.identity**2).sum() + 0.8 * (at.expression**2).sum()
    assert losses["prior"] == pytest.approx(float(prior) / 2, rel=1e-5)
    low, high = task.face().torch.expression_bounds.T
    excess = torch.maximum(low - at.expression, at.expression - high).clamp(min=0)
    assert losses["bounds"] == pytest.approx(float(excess.square().sum()) / 2, rel=1e-4)
    assert "constancy" not in losses and "feature" not in losses
    expected = 1.92 * losses["photometric"] + 1.6e-3 * losses["landmark"] + 3e-4 * losses["prior"]
    expected = expected + 10 * losses["whiteness"] + 1e-2 * losses["bounds"]
    assert losses["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_landmarks_count_in_pixels_of_224(model, faces):
    small = Deep3DFace(model, size=64)
    values = torch.from_numpy(faces.values[0])[None]
    batch = as_drawn(faces, [0])
    moved = batch._replace(landmarks=batch.landmarks + torch.tensor([2.0, 0]))
    found = weak_losses(small, SMALL, values, moved, None)["landmark"]
    # 57 weights of 1 and 11 of 20 over 68 points, (2 * 3.5)^2.
    assert found == pytest.approx((57 + 11 * 20) / 68 * 49, rel=1e-3)
    halved = weak_losses(small, SMALL, values, moved._replace(weights=torch.tensor([0.5])), None)
    assert halved["landmark"] == pytest.approx(float(found) / 2, rel=1e-4)


def test_every_loss_has_the_gradient_of_its_value(coloured):
    faces = DrawnWeak(coloured, 1, 2)
    face = Deep3DFace(coloured, size=64)

    class Grey(torch.nn.Module):
        """A recogniser that sees a coarse picture."""

        def forward(self, crops):
            return torch.nn.functional.avg_pool2d(crops, 28).flatten(1)

    rng = np.random.default_rng(1)
    start = torch.from_numpy(np.stack(faces.values)) + 0.05
    start[:, face.layout.part("exp")] = start[:, face.layout.part("exp")].abs() - 2
    batch = as_drawn(faces, [0, 1])
    config = dataclasses.replace(SMALL, bounds=1.0)
    values = start.clone().requires_grad_()
    losses = weak_losses(face, config, values, batch, Grey())
    names = {"photometric", "landmark", "prior", "whiteness", "constancy", "feature", "bounds"}
    assert names < losses.keys()
    for name in sorted(names):
        (gradient,) = torch.autograd.grad(losses[name], values, retain_graph=True)
        if name in ("photometric", "feature"):
            # Which face a pixel sees is held: these follow what slides under the pixels only, so
            # light and colour are what finite differences can check.
            part = slice(face.layout.part("tex").start, face.layout.part("gamma").stop)
            keep = torch.zeros_like(start)
            keep[:, part] = 1
            keep[:, face.layout.part("angle")] = 0
        else:
            keep = torch.ones_like(start)
        away = torch.from_numpy(rng.standard_normal(start.shape).astype(np.float32)) * keep
        # Some expressions are put well outside their bounds, the others stay inside.
        step = 1e-2 / away.norm()
        ends = [
            weak_losses(face, config, start + sign * step * away, batch, Grey())[name]
            for sign in (1, -1)
        ]
        measured = float(ends[0] - ends[1]) / (2 * float(step))
        assert float((gradient * away).sum()) == pytest.approx(measured, rel=0.03, abs=2e-3), name


def test_a_mirrored_sample_is_the_mirrored_picture(model, faces):
    still = dataclasses.replace(SMALL, **STILL)
    plain = Deep3DTask(still, model, faces, faces)
    turned = Deep3DTask(dataclasses.replace(still, flip=1.0), model, faces, faces)
    one, two = (
        task.sample(faces.weak_face(1), np.random.default_rng(0)) for task in (plain, turned)
    )
    np.testing.assert_array_equal(one[0][:, :, ::-1], two[0])
    # The right eye's outer corner is now the left one's, at 63 - x.
    np.testing.assert_allclose(two[2][45], one[2][36] * [-1, 1] + [63, 0])
    np.testing.assert_allclose(two[2][30], one[2][30] * [-1, 1] + [63, 0])


def test_a_moved_sample_keeps_points_and_pixels_together(model, faces):
    task = Deep3DTask(dataclasses.replace(SMALL, flip=0.0), model, faces, faces)
    face = faces.weak_face(0)
    dot = np.zeros((64, 64, 3), np.uint8)
    x, y = np.round(face.landmarks[30]).astype(int)
    dot[y - 1 : y + 2, x - 1 : x + 2] = 255
    for seed in range(4):
        image, _, points, _ = task.sample(face._replace(image=dot), np.random.default_rng(seed))
        rows, columns = np.nonzero(image[0] > 60)
        place = [columns.mean(), rows.mean()]
        np.testing.assert_allclose(place, points[30], atol=1.2)


def test_batches_are_functions_of_seed_and_step(task, model, faces):
    one, two = task.batch(5), task.batch(5)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.images, task.batch(6).images)
    other = dataclasses.replace(SMALL, loop=dataclasses.replace(LOOP, seed=1))
    assert not torch.equal(Deep3DTask(other, model, faces, faces).batch(5).images, one.images)


def test_skin_by_the_table_is_skin_by_the_mixtures():
    from facekit.fit.terms.skin import skin_probability

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    away = np.abs(skin_mask(image) / 255 - skin_probability(image))
    assert np.median(away) < 0.02 and away.mean() < 0.03


def test_masks(model, faces):
    face = faces.weak_face(0)._replace(skin=False)
    half = np.zeros((64, 64), np.uint8)
    half[:, :32] = 255
    face = face._replace(mask=half)
    still = {**STILL, "size": 64}

    def mask(kind, given):
        config = dataclasses.replace(SMALL, mask=kind, **still)
        return Deep3DTask(config, model, faces, faces).sample(given, None)[1]

    skin = mask("skin", face)
    assert set(np.unique(mask("label", face)[:, :20])) == {255}
    np.testing.assert_array_equal(mask("both", face), np.minimum(skin, mask("label", face)))
    # A mask of Deep3D's layout is one of skin already.
    np.testing.assert_array_equal(mask("skin", face._replace(skin=True)), mask("label", face))
    with pytest.raises(InputError, match="mask"):
        dataclasses.replace(SMALL, mask="hair")


class Linear(torch.nn.Module):
    """Coefficients linear in the picture's coarse pixels, zero at first."""

    def __init__(self, length):
        super().__init__()
        self.read = torch.nn.Linear(3 * 12 * 12, length)
        torch.nn.init.zeros_(self.read.weight)
        torch.nn.init.zeros_(self.read.bias)

    def forward(self, images):
        return self.read(torch.nn.functional.adaptive_avg_pool2d(images - 0.5, 12).flatten(1))


def test_training_beats_the_mean_face(model, tmp_path):
    faces, others = DrawnWeak(model, 16, 2), DrawnWeak(model, 4, 2, first=100)
    task = Deep3DTask(dataclasses.replace(SMALL, **STILL), model, faces, others)
    network = Linear(task.face().layout.length)
    with torch.no_grad():
        before = task.evaluate(network)
    assert before["shape_mm"] == pytest.approx(before["mean_face_mm"], rel=1e-5)
    record = train(task, network, LOOP, tmp_path, RunInfo("deep3d", {}))
    assert record["score"] < 0.7 * before["score"]
    assert record["landmarks"] < 0.9 * before["landmarks"]
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [x["loss"] for x in lines if "loss" in x]
    assert losses[-1] < 0.5 * losses[0]
    # Faces with what the network says drawn over them, at every validation.
    from facekit.io.images import read_image

    sheet = read_image(tmp_path / "previews" / "step-00000060.jpg").astype(float)
    assert sheet.shape == (384, 1536, 3)
    crop, over = sheet[:192, :192], sheet[:192, 192:384]
    assert np.abs(crop - over)[60:130, 60:130].mean() > 10
    assert np.abs(crop - over)[:4, :4].mean() < 3


def test_lengths_follow_the_model(model, coloured):
    assert deep3d_layout(model).sizes == (6, 53, 0, 3, 27, 3)
    face = Deep3DFace(coloured, size=64)
    values = torch.zeros(2, face.layout.length)
    values[1, face.layout.part("tex")] = 1.0
    placed = face.place(values)
    assert placed.albedo.shape[0] == 2
    assert (placed.albedo[0] - placed.albedo[1]).abs().max() > 0.01

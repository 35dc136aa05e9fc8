import dataclasses

import numpy as np
import pytest
import torch
from weak_faces import DrawnWeak

from facekit.errors import InputError
from facekit.geometry.mesh import vertex_normals
from facekit.learn.loop import LoopConfig
from facekit.morphable import load_model
from facekit.train.basis_training import BasisConfig, BasisTask
from facekit.train.deep3d import stacked
from facekit.train.learned_modes import LearnedModes, smooth_fields, with_new_modes

CONFIG = BasisConfig(
    loop=LoopConfig(steps=2, precision="fp32", threads=1, warmup_steps=0),
    size=64,
    backbone="resnet18",
    batch_size=4,
    fields=40,
    validation_count=4,
)


@pytest.fixture(scope="module")
def model():
    whole = load_model("builtin")
    return dataclasses.replace(whole, identity_modes=whole.identity_modes[:4])


@pytest.fixture(scope="module")
def fields(model):
    return smooth_fields(model, 40)


def test_fields_are_smooth_and_fade(model, fields):
    assert fields.values.shape == (40, model.num_vertices)
    assert fields.roughness[0] == pytest.approx(0, abs=1e-6) and fields.roughness[-1] == 1
    assert (np.diff(fields.roughness) >= 0).all()
    # The smoothest field is one number on the face, and nothing at the back of the head.
    face = model.regions["face"]
    np.testing.assert_allclose(np.abs(fields.values[0][face]), 1, atol=1e-2)
    back = model.mean[:, 2] < -60
    assert back.any() and np.abs(fields.values[:, back]).max() < 0.05
    np.testing.assert_array_equal(smooth_fields(model, 40).values, fields.values)
    with pytest.raises(InputError, match="fields"):
        smooth_fields(model, 0)


def test_corrections_move_vertices_points_and_the_written_model_alike(model, fields):
    from facekit.fit.first_order.face import TorchFace
    from facekit.fit.landmark_basis import build_landmark_basis

    face = TorchFace(model, build_landmark_basis(model), "cpu")
    modes = LearnedModes(model, fields, rate=2.0)
    same = modes.shapes(face)
    torch.testing.assert_close(same.mean, face.mean)
    torch.testing.assert_close(same.marks_modes, face.marks_modes)
    with torch.no_grad():
        modes.steps.normal_(std=0.1)
    changed, written = modes.shapes(face), modes.model(model)
    weights = torch.tensor([[0.5, -1.0, 2.0, 0.3, *[0.2] * model.num_expression]])
    shape = written.shape(weights[0, :4].numpy(), weights[0, 4:].numpy())
    region = model.regions["face"]
    vertices = np.unique(model.faces[region[model.faces].all(1)])
    expected = shape[vertices] - face.centre
    found = changed.vertices(weights)[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    marks = written.landmark_points("ibug68", shape) - face.centre
    np.testing.assert_allclose(changed.marks(weights)[0].detach(), marks, atol=2e-3)
    costs = modes.penalties()
    squares = 4 * modes.steps.detach().square().sum(-1)
    departure, roughness = (costs[name].item() for name in ("departure", "roughness"))
    assert departure == pytest.approx(float(squares.sum(1).mean()), rel=1e-5)
    assert 0 < roughness < departure


def test_new_modes_are_small_and_smooth(model, fields):
    assert with_new_modes(model, 0, fields, seed=0) is model
    grown = with_new_modes(model, 2, fields, seed=0)
    assert grown.num_identity == 6 and grown.sha256 != model.sha256
    np.testing.assert_array_equal(grown.identity_modes[:4], model.identity_modes)
    size = np.sqrt((grown.identity_modes[4:] ** 2).sum(2).mean(1))
    np.testing.assert_allclose(size, 0.1, rtol=1e-3)


def test_a_removed_mode_comes_back(model):
    """Its direction is found from pictures and points alone; all else about the faces is known."""
    faces = DrawnWeak(model, 20, 2)
    less = dataclasses.replace(model, identity_modes=model.identity_modes[1:])
    config = dataclasses.replace(CONFIG, new_modes=1, fields=60, batch_size=20)
    task = BasisTask(config, less, faces, faces)
    network = task.build_model()
    true = np.stack(faces.values)
    # The removed coefficient is unknown; the new mode's comes last.
    rest = torch.from_numpy(np.insert(true[:, 1:], less.num_identity, 0, axis=1))
    people = torch.arange(len(faces)) // 2
    code = torch.nn.Parameter(0.1 * torch.randn(20, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.Adam(
        [{"params": [network.modes.steps], "lr": 3e-3}, {"params": [code], "lr": 6e-2}]
    )
    rows = [
        (faces.images[i].transpose(2, 0, 1), np.full((64, 64), 255, np.uint8), faces.points[i], 1)
        for i in range(len(faces))
    ]
    place = less.num_identity
    for step in range(40):
        some = torch.from_numpy(np.random.default_rng(step).permutation(len(faces))[:20])
        values = rest[some].clone()
        values[:, place] = code[people[some]]
        shapes = network.modes.shapes(task.face().torch)
        losses = task.losses(values, stacked([rows[i] for i in some]), shapes=shapes)
        costs = network.modes.penalties()
        loss = losses["loss"] + 1e-3 * costs["departure"] + 1e-2 * costs["roughness"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    region = model.regions["face"]
    normals = vertex_normals(model.mean, model.faces)[region]
    found, removed = (
        (modes[region] * normals).sum(1)
        for modes in (
            network.modes.model(task.model).identity_modes[-1],
            model.identity_modes[0],
        )
    )
    cosine = found @ removed / np.linalg.norm(found) / np.linalg.norm(removed)
    assert abs(cosine) > 0.9
    codes = np.corrcoef(code.detach().numpy(), true[::2, 0])[0, 1]
    assert np.sign(codes) == np.sign(cosine) and abs(codes) > 0.7


def test_the_network_and_the_modes_learn(model):
    faces = DrawnWeak(model, 3, 2)
    task = BasisTask(CONFIG, model, faces, faces)
    network = task.build_model()
    losses = task.loss(network, task.batch(0))
    assert losses["departure"] == 0 and losses["roughness"] == 0
    losses["loss"].backward()
    assert network.modes.steps.grad[0].any()
    assert network.reader.heads[0].weight.grad.any()
    network.eval()
    with torch.no_grad():
        figures = task.evaluate(network)
    assert "shape_mm" not in figures and figures["landmarks"] > 0
    with pytest.raises(InputError, match="nothing below 0"):
        dataclasses.replace(CONFIG, roughness=-1.0)

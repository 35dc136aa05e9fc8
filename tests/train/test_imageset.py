import dataclasses

import numpy as np
import pytest
import torch
from weak_faces import DrawnWeak

from facekit.errors import InputError
from facekit.learn.loop import LoopConfig
from facekit.morphable import load_model
from facekit.networks.deep3d import Deep3DNetwork
from facekit.train.imageset import ImageSetConfig, ImageSetNetwork, ImageSetTask, people_of

LOOP = LoopConfig(steps=20, learning_rate=2e-2, warmup_steps=0, precision="fp32", threads=1)
CONFIG = ImageSetConfig(
    loop=LOOP, size=64, backbone="resnet18", batch_size=8, views=4, hidden=16, validation_count=16
)


@pytest.fixture(scope="module")
def model():
    whole = load_model("builtin")
    return dataclasses.replace(whole, identity_modes=whole.identity_modes[:4])


@pytest.fixture(scope="module")
def faces(model):
    return DrawnWeak(model, 6, 4)


@pytest.fixture(scope="module")
def task(model, faces):
    return ImageSetTask(CONFIG, model, faces, faces)


class Known(torch.nn.Module):
    """Reads the truth off the picture's number; dark pictures' identities are far off.

    The first feature says how dark a picture is; the others, which picture it is.
    """

    def __init__(self, faces, part, noise):
        super().__init__()
        values = torch.from_numpy(np.stack(faces.values)).clone()
        self.backbone = torch.nn.Module()
        self.backbone.units = 1 + len(values)
        self.poor = torch.arange(len(values)) % 2 == 1
        away = torch.randn(len(values), part.stop, generator=torch.Generator().manual_seed(0))
        values[:, part] += noise * away * self.poor[:, None]
        self.table = torch.nn.Parameter(values)
        self.pictures = torch.from_numpy(np.stack(faces.images)).permute(0, 3, 1, 2).flatten(1)

    def seen(self, images):
        pixels = (255 * images).round().to(torch.uint8).flatten(1)
        found = (pixels[:, None] == self.pictures).all(-1).float()
        return torch.cat([found @ self.poor.float()[:, None], found], dim=1)

    def read(self, features):
        return features[:, 1:] @ self.table


class Undisturbed(ImageSetTask):
    """Takes pictures as they were drawn."""

    def sample(self, face, rng):
        full = np.full((64, 64), 255, np.uint8)
        return face.image.transpose(2, 0, 1), full, face.landmarks, 1.0


def test_confidence_beats_the_plain_mean(model, faces):
    task = Undisturbed(CONFIG, model, faces, faces)
    part = task.face().layout.part("id")
    torch.manual_seed(0)
    network = ImageSetNetwork(Known(faces, part, 1.5), model.num_identity, hidden=8)
    # Confidence may look at the darkness alone, not at who it is.
    with torch.no_grad():
        network.confidence.hidden.weight[:, 1:] = 0
    frozen = [p.clone() for p in network.reader.parameters()]
    optimizer = torch.optim.Adam(network.confidence.parameters(), lr=5e-2)
    with torch.no_grad():
        before = task.evaluate(network)
    assert before["shape_mm"] == pytest.approx(before["plain_shape_mm"])
    assert before["spread"] == 0
    for step in range(15):
        optimizer.zero_grad()
        task.loss(network, task.batch(step))["loss"].backward()
        network.confidence.hidden.weight.grad[:, 1:] = 0
        optimizer.step()
    with torch.no_grad():
        after = task.evaluate(network)
    assert after["shape_mm"] < 0.75 * after["plain_shape_mm"]
    assert after["plain_shape_mm"] < after["single_shape_mm"]
    assert after["score"] < after["plain_score"]
    assert all(map(torch.equal, frozen, network.reader.parameters()))


def test_the_reader_stays_as_it_is(task):
    network = task.build_model()
    network.train()
    assert not network.reader.training and network.confidence.training
    assert not any(p.requires_grad for p in network.reader.parameters())
    state = {k: v.clone() for k, v in network.reader.state_dict().items()}
    torch.nn.init.normal_(network.reader.heads[0].weight)
    state["heads.0.weight"] = network.reader.heads[0].weight.clone()
    task.loss(network, task.batch(0))["loss"].backward()
    assert all(torch.equal(v, network.reader.state_dict()[k]) for k, v in state.items())
    assert network.confidence.confidence.weight.grad.any()
    assert isinstance(network.reader, Deep3DNetwork)


def test_sets_are_of_one_person(task, faces):
    batch = task.batch(2)
    assert batch.sets.tolist() == [0] * 4 + [1] * 4
    again = task.batch(2)
    assert torch.equal(batch.faces.images, again.faces.images)
    values = torch.randn(8, task.face().layout.length)
    joined = task._joined(values, torch.ones(8, 4), batch.sets)
    torch.testing.assert_close(joined[:4, :4], values[:4, :4].mean(0).expand(4, 4))
    assert torch.equal(joined[:, 4:], values[:, 4:])


def test_everybody_with_two_photographs():
    found = people_of(["b", "a", "", "b", "a", "c", ""], "train")
    assert [rows.tolist() for rows in found] == [[1, 4], [0, 3]]
    with pytest.raises(InputError, match="--persons folders"):
        people_of(["a", "b", ""], "validation")


def test_bad_settings():
    with pytest.raises(InputError, match="views"):
        dataclasses.replace(CONFIG, views=1)
    with pytest.raises(InputError, match="views"):
        dataclasses.replace(CONFIG, views=9)


def test_a_preview_shows_whole_sets(task):
    network = task.build_model().eval()
    with torch.no_grad():
        assert task.preview(network).shape == (2 * 192, 4 * 2 * 192, 3)

"""Training in 8 bits: the export computes what was trained."""

import copy
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from facekit.errors import InputError, ItemError
from facekit.networks.params import ParameterExport, ParameterNetwork
from facekit.train.onnx import export_onnx
from facekit.train.qat import RoundedRelu, on_grid, rounded_network, train_quantised
from facekit.train.quantise import quantise_onnx

OUTPUTS = ("coefficients", "log_sigma", "presence")


class Toy:
    """Pictures of stripes, whose mean colours are to be told."""

    def batch(self, step):
        rng = np.random.default_rng((3, step))
        colours = rng.uniform(0, 255, (16, 3, 4))
        noise = rng.normal(0, 12, (16, 3, 64, 64))
        image = np.clip(np.repeat(colours, 16, axis=2)[:, :, :, None] + noise, 0, 255)
        return SimpleNamespace(
            images=torch.from_numpy(image.astype(np.uint8)),
            truth=torch.from_numpy(colours.reshape(16, 12) / 64 - 2).float(),
        )

    def loss(self, model, batch):
        return {"loss": ((model(batch.images.float()).coefficients - batch.truth) ** 2).mean()}

    def evaluate(self, model):
        with torch.no_grad():
            batches = [self.batch(100_000 + k) for k in range(4)]
            losses = [float(self.loss(model, batch)["loss"]) for batch in batches]
        return {"score": float(np.mean(losses))}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = ParameterNetwork(
        12, size=64, patch=4, widths=(8, 16, 16), depths=(1, 2, 1), hidden=32
    )
    task = Toy()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(120):
        optimizer.zero_grad()
        task.loss(network, task.batch(step))["loss"].backward()
        optimizer.step()
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = train_quantised(task, network, steps=60, first=1000, learning_rate=1e-3)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), "the network that came in is left as it was"
    return task, network, result


def write(network, folder, images, **options):
    export_onnx(
        ParameterExport(copy.deepcopy(network)),
        torch.full((2, 64, 64, 3), 127, dtype=torch.uint8),
        folder / "float.onnx",
        input_name="image",
        outputs={name: {0: "N"} for name in OUTPUTS},
        dynamic={0: "N"},
        metadata={},
        tolerance=1e-2,
    )
    path = folder / "int8.onnx"
    quantise_onnx(folder / "float.onnx", path, images, dense="hidden", **options)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), {"image": images})


def test_the_export_is_what_was_trained(trained, tmp_path):
    task, _, result = trained
    batch = task.batch(200_000)
    images = np.ascontiguousarray(batch.images.numpy().transpose(0, 2, 3, 1))
    rounded = rounded_network(result.network).eval()
    relus = [m for m in rounded.modules() if isinstance(m, RoundedRelu)]
    for relu, most in zip(relus, result.ranges, strict=True):
        relu.widen(most)
    with torch.no_grad():
        expected = rounded(batch.images.float())
        exact = result.network(batch.images.float())
    found = write(result.network, tmp_path, images, ranges=result.ranges)
    rounding = float((expected.coefficients - exact.coefficients).std())
    # What is left are values between two steps, and outputs stored in half precision.
    apart = found[0] - expected.coefficients.numpy()
    assert np.sqrt((apart**2).mean()) < 0.6 * rounding
    np.testing.assert_allclose(found[1], expected.log_sigma.numpy(), atol=5e-3)
    np.testing.assert_allclose(found[2], torch.sigmoid(expected.presence).numpy(), atol=5e-3)
    with pytest.raises(InputError, match="ranges: expected 5"):
        write(result.network, tmp_path, images, ranges=result.ranges[:-1])


def test_training_makes_the_rounded_network_better(trained):
    _, _, result = trained
    assert result.after["score"] < result.before["score"]


def test_weights_lie_on_their_grids(trained):
    _, _, result = trained
    layers = [m for m in result.network.features.modules() if isinstance(m, torch.nn.Conv2d)]
    for layer in [*layers, result.network.hidden]:
        weight = layer.weight.detach()
        step = weight.abs().flatten(1).amax(1) / 64
        levels = weight.flatten(1) / step[:, None]
        assert float((levels - levels.round()).abs().max()) < 1e-3
    assert len(layers) == len(result.ranges) == 5


def test_the_same_again_is_the_same(trained):
    task, network, result = trained
    again = train_quantised(task, network, steps=60, first=1000, learning_rate=1e-3)
    assert again.ranges == result.ranges
    assert torch.equal(again.network.hidden.weight, result.network.hidden.weight)


def test_gradients_pass_the_rounding():
    weight = torch.randn(3, 5, requires_grad=True)
    (on_grid(weight) * torch.arange(5.0)).sum().backward()
    torch.testing.assert_close(weight.grad, torch.arange(5.0).expand(3, 5))
    relu = RoundedRelu().eval()
    relu.widen(2.0)
    x = torch.tensor([-1.0, 0.5, 1.9999, 3.0], requires_grad=True)
    y = relu(x)
    torch.testing.assert_close(y.detach(), torch.tensor([0.0, 64 * 2 / 255, 2.0, 2.0]))
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_training_that_makes_it_worse_is_left_out(trained):
    task, network, result = trained
    spoiled = train_quantised(task, network, steps=4, first=0, learning_rate=3.0)
    assert spoiled.after["score"] > spoiled.before["score"]
    exact = rounded_network(network).hidden.linear.weight
    torch.testing.assert_close(spoiled.network.hidden.weight, on_grid(exact))
    assert spoiled.before["score"] == pytest.approx(result.before["score"], rel=0.05)


def test_what_cannot_be_trained_is_named(trained):
    task, network, _ = trained
    with pytest.raises(InputError, match="at least 1 step"):
        train_quantised(task, network, steps=0, first=0)
    with pytest.raises(InputError, match="MobileNet"):
        rounded_network(ParameterNetwork(3, size=64, mobilenet=0.25))
    broken = SimpleNamespace(
        batch=task.batch,
        evaluate=lambda model: {"score": 1.0},
        loss=lambda model, batch: {"loss": model(batch.images.float()).presence.sum() * np.nan},
    )
    with pytest.raises(ItemError, match="diverged"):
        train_quantised(broken, network, steps=1, first=0)

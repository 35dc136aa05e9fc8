import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from facekit.errors import InputError, ItemError
from facekit.networks.landmarks import LandmarkExport, LandmarkNetwork
from facekit.networks.params import ParameterExport, ParameterNetwork
from facekit.train.onnx import export_onnx
from facekit.train.quantise import quantise_onnx


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantise")
    torch.manual_seed(0)
    network = LandmarkNetwork(size=64, widths=(8, 16, 16, 16), depths=(1, 1, 2, 1), hidden=16)
    with torch.no_grad():
        network.points.weight.normal_(0, 0.05)
        # Running statistics as a trained network has them.
        for _ in range(20):
            network(torch.randint(0, 256, (8, 3, 64, 64)).float())
    export_onnx(
        LandmarkExport(network.eval()),
        torch.full((2, 64, 64, 3), 127, dtype=torch.uint8),
        folder / "float.onnx",
        input_name="image",
        outputs={"points": {0: "N"}, "log_sigma": {0: "N"}, "presence": {0: "N"}},
        dynamic={0: "N"},
        metadata={"facekit.size": "64"},
        tolerance=1e-2,
    )
    images = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3)).astype(np.uint8)
    return folder, images, quantise_onnx(folder / "float.onnx", folder / "int8.onnx", images)


def run(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["points"], {"image": images})[0]


def test_same_function_up_to_the_grid(files):
    folder, images, differences = files
    exact, rounded = run(folder / "float.onnx", images), run(folder / "int8.onnx", images)
    error = float(np.sqrt(np.mean((exact - rounded) ** 2)))
    assert error == pytest.approx(differences["points"], rel=0.05)
    assert 0 < error < 0.1 * exact.std(axis=0).mean() + 2e-3


def test_convolutions_are_integers_within_seven_bits(files):
    folder, _, _ = files
    model = onnx.load(folder / "int8.onnx")
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    arrays = [onnx.numpy_helper.to_array(t) for t in weights]
    kernels = [a for a in arrays if a.ndim == 4]
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert len(kernels) == len(convolutions) == 6
    assert max(np.abs(k.astype(int)).max() for k in kernels) <= 64
    assert {p.key: p.value for p in model.metadata_props}["facekit.size"] == "64"


def test_dense_weights_are_bytes(files):
    folder, _, _ = files
    model = onnx.load(folder / "int8.onnx")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    bytes_ = [a for a in stored.values() if a.dtype == np.int8 and a.ndim == 2]
    assert [a.shape for a in bytes_] == [(956, 16)]  # smaller layers stay as they are
    assert np.abs(bytes_[0].astype(int)).max() == 127
    exact = onnx.load(folder / "float.onnx")
    (weights,) = (
        onnx.numpy_helper.to_array(t).astype(np.float32)
        for t in exact.graph.initializer
        if tuple(t.dims) == (956, 16)
    )
    (scale,) = (a for name, a in stored.items() if name.endswith(".scale") and a.shape == (956, 1))
    assert np.abs(bytes_[0] * scale - weights).max() <= 0.51 * scale.max()


def test_any_batch_size(files):
    folder, images, _ = files
    assert np.allclose(run(folder / "int8.onnx", images)[:1], run(folder / "int8.onnx", images[:1]))


def test_wrong_images_are_refused(files):
    folder, images, _ = files
    with pytest.raises(InputError, match="images"):
        quantise_onnx(folder / "float.onnx", folder / "x.onnx", images[..., :2])
    with pytest.raises((InputError, ItemError)):
        quantise_onnx(folder / "float.onnx", folder / "x.onnx", images[:, :32].astype(np.float32))
    assert not (folder / "x.onnx").exists()


def test_chosen_convolutions_stay_as_they_are(files):
    folder, images, _ = files
    path = folder / "kept.onnx"
    quantise_onnx(folder / "float.onnx", path, images, keep=("features.0/", "features.5/"))
    stored = onnx.load(path).graph.initializer
    kernels = [t for t in stored if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert len(kernels) == 4
    with pytest.raises(InputError, match="no convolution named"):
        quantise_onnx(folder / "float.onnx", path, images, keep=("elsewhere",))


def test_numbers_are_rounded_once_between_layers(files):
    folder, _, _ = files
    model = onnx.load(folder / "int8.onnx")
    users = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
    for node in model.graph.node:
        if node.op_type == "Conv":
            # The ReLU is what the grid cannot express: it begins at zero.
            assert users[node.output[0]] == ["QuantizeLinear"]
    # Pixels are bytes already.
    image = next(node for node in model.graph.node if "image" in node.input)
    assert users[image.output[0]] == ["DequantizeLinear"]


def rows(path, images, name):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([name], {"image": images})[0]


def test_a_dense_layer_multiplies_bytes(files):
    folder, images, differences = files
    path = folder / "dense.onnx"
    told = quantise_onnx(folder / "float.onnx", path, images, dense="hidden")
    # Its weights are rounded as finely as those of the convolutions before it.
    assert told["points"] < 1.3 * differences["points"]
    model = onnx.load(path)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    (layer,) = (n for n in model.graph.node if n.op_type == "Gemm" and "hidden" in n.name)
    made = {n.output[0]: n for n in model.graph.node}
    weight, step, zero = (stored[name] for name in made[layer.input[1]].input)
    assert weight.dtype == np.int8
    assert np.abs(weight.astype(int)).max() == 64
    assert len(step) == len(weight)
    assert not zero.any()
    assert stored[made[layer.input[2]].input[0]].dtype == np.int32
    one = rows(path, images[:1], "points")
    np.testing.assert_allclose(one, rows(path, images, "points")[:1], atol=1e-6)
    with pytest.raises(InputError, match="one dense layer"):
        quantise_onnx(folder / "float.onnx", path, images, dense="nowhere")


def test_a_dense_layer_of_other_features_stays_in_float(tmp_path):
    torch.manual_seed(0)
    network = ParameterNetwork(9, size=64, hidden=16, mobilenet=0.25)
    network(torch.randint(0, 256, (8, 3, 64, 64)).float())
    export_onnx(
        ParameterExport(network.eval()),
        torch.full((2, 64, 64, 3), 127, dtype=torch.uint8),
        tmp_path / "float.onnx",
        input_name="image",
        outputs={name: {0: "N"} for name in ("coefficients", "log_sigma", "presence")},
        dynamic={0: "N"},
        metadata={},
        tolerance=1e-2,
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    quantise_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", images, dense="hidden")
    model = onnx.load(tmp_path / "int8.onnx")
    (layer,) = (n for n in model.graph.node if n.op_type == "Gemm" and "hidden" in n.name)
    made = {n.output[0]: n.op_type for n in model.graph.node}
    assert made.get(layer.input[1]) != "DequantizeLinear"
    # Here pixels are shifted before the convolutions: that is not left out.
    assert "Cast" in {n.op_type for n in model.graph.node if n.output[0] in layer_inputs(model)}


def layer_inputs(model):
    return {name for node in model.graph.node for name in node.input}


def test_ranges_hold_what_most_images_reach(files, tmp_path):
    folder, images, _ = files
    # One image in sixteen drives every layer far beyond what the others do.
    rare = np.arange(len(images)) % 16 == 5
    calm = (96 + images // 4).astype(np.uint8)
    calm[rare] = images[rare] // 128 * 255
    errors = {}
    for reach in (1.0, 0.9):
        path = tmp_path / f"{reach}.onnx"
        quantise_onnx(folder / "float.onnx", path, calm, reach=reach)
        exact, rounded = run(folder / "float.onnx", calm), run(path, calm)
        errors[reach] = np.sqrt(((exact - rounded)[~rare] ** 2).mean())
    assert errors[0.9] < 0.9 * errors[1.0]


def test_the_range_is_that_of_the_images(tmp_path):
    """Of a layer that hands brightness on, the range is the share's brightness."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.ReLU())
    with torch.no_grad():
        network[0].weight.fill_(1 / 3)
        network[0].bias.zero_()

    class Brightness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network

        def forward(self, image):
            return self.layers(image.permute(0, 3, 1, 2).float()).mean((1, 2, 3))[:, None], image

    export_onnx(
        Brightness(),
        torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
        tmp_path / "float.onnx",
        input_name="image",
        outputs={"mean": {0: "N"}, "same": {0: "N"}},
        dynamic={0: "N"},
        metadata={},
        tolerance=1e-2,
    )
    levels = np.arange(1, 22, dtype=np.uint8) * 10  # 10 to 210
    images = np.broadcast_to(levels[:, None, None, None], (21, 4, 4, 3)).copy()
    quantise_onnx(tmp_path / "float.onnx", tmp_path / "int8.onnx", images, reach=0.9)
    session = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"))
    found = session.run(["mean"], {"image": images})[0][:, 0]
    assert found == pytest.approx(np.minimum(levels, 190), abs=1.5)

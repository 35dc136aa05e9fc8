import numpy as np
import pytest
import torch
from torch import nn

from facekit.errors import InputError, MissingDependencyError
from facekit.fit.terms.identity import ARCFACE_FIVE, identity_loss, warp
from facekit.fit.terms.onnx_network import load_onnx

FIVE = torch.tensor(ARCFACE_FIVE, dtype=torch.float64)


def turned(five, *, scale=1.7, angle=0.4, shift=(30.0, 12.0)):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    return five @ matrix.T + torch.tensor(shift, dtype=torch.float64)


def ramp(height, width):
    """A picture that says where each pixel's centre is."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).double()[None]


def small_network(size=16):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8 * (size // 4) ** 2, 12),
        nn.BatchNorm1d(12),
    ).eval()


def test_the_crop_has_the_five_points_at_their_places():
    five = turned(FIVE)
    crop = warp(ramp(280, 300), five[None])[0]
    for place, target in zip(five, FIVE, strict=True):
        x, y = (int(v) for v in target.round())
        away = target - torch.tensor([x, y])
        found = crop[:2, y, x] + turned(away, shift=(0, 0))
        torch.testing.assert_close(found, place, atol=1e-9, rtol=0)


def test_outside_the_picture_is_zero_and_sizes_scale():
    crop = warp(torch.ones(1, 30, 30, 3).double(), turned(FIVE, shift=(-400.0, 0))[None])
    assert float(crop.abs().max()) == 0
    half = warp(ramp(280, 300), turned(FIVE)[None], size=56)[0]
    whole = warp(ramp(280, 300), turned(FIVE)[None])[0]
    torch.testing.assert_close(half[:, 20, 30], whole[:, 40, 60], atol=1e-6, rtol=0)


def test_one_picture_twice_costs_nothing_and_its_turned_copy_little():
    image = torch.rand(2, 40, 40, 3, generator=torch.Generator().manual_seed(0))
    five = (FIVE * 0.3).float().expand(2, -1, -1)
    network = small_network()
    same = identity_loss(network, image, image, five, five, size=16)
    assert float(same.detach()) == pytest.approx(0, abs=1e-6)
    other = identity_loss(network, image, image.flip(2), five, five, size=16)
    assert 0.01 < float(other.detach()) < 2


def test_gradients_go_to_the_rendered_picture_alone():
    network = small_network().double()
    image = torch.rand(1, 9, 9, 3, generator=torch.Generator().manual_seed(0)).double()
    five = (FIVE * 0.08)[None]
    check = lambda r: identity_loss(network, image, r, five, five, size=16)  # noqa: E731
    assert torch.autograd.gradcheck(check, (image.flip(1).clone().requires_grad_(),))
    leaf, points = image.clone().requires_grad_(), five.clone().requires_grad_()
    value = identity_loss(network, leaf, image.flip(2).requires_grad_(), points, points, size=16)
    found = torch.autograd.grad(value, (leaf, points), allow_unused=True)
    assert found == (None, None)


def test_identity_rejections():
    image, five = torch.rand(1, 9, 9, 3), torch.zeros(1, 5, 2)
    with pytest.raises(InputError, match="all five points"):
        identity_loss(small_network(), image, image, five, five, size=16)
    with pytest.raises(InputError, match="five: expected shape"):
        warp(image, five[:, :4])
    with pytest.raises(InputError, match=r"expected \(1, K\) features"):
        identity_loss(lambda c: c, image, image, *[FIVE[None].float()] * 2)


def export(network, path, size=16):
    """Write a network of the layers above as ONNX, node by node."""
    onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, current = [], [], "crops"

    def constant(tensor):
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        return name

    for number, layer in enumerate(network):
        target, inputs, settings = f"t{number}", [current], {}
        if isinstance(layer, nn.Conv2d):
            kind = "Conv"
            inputs += [constant(layer.weight), constant(layer.bias)]
            settings = {"strides": layer.stride, "pads": [*layer.padding] * 2,
                        "group": layer.groups}  # fmt: skip
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            kind = "BatchNormalization"
            tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            inputs += [constant(tensor) for tensor in tensors]
        elif isinstance(layer, nn.PReLU):
            kind = "PRelu"
            inputs.append(constant(layer.weight[:, None, None]))
        elif isinstance(layer, nn.MaxPool2d):
            kind, settings = "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}
        elif isinstance(layer, nn.Linear):
            kind, settings = "Gemm", {"transB": 1}
            inputs += [constant(layer.weight), constant(layer.bias)]
        else:
            kind = {nn.Flatten: "Flatten", nn.Dropout: "Dropout", nn.Softmax: "Softmax"}[
                type(layer)
            ]
        nodes.append(helper.make_node(kind, inputs, [target], **settings))
        current = target
    shape = [None, 3, size, size]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, [None, 12])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))


def test_an_onnx_network_gives_what_onnxruntime_gives_and_has_gradients(tmp_path):
    import onnxruntime

    network = small_network()
    network[1].running_mean.uniform_(-0.2, 0.2)
    export(network, tmp_path / "r.onnx")
    loaded = load_onnx(tmp_path / "r.onnx")
    crops = torch.rand(3, 3, 16, 16)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(tmp_path / "r.onnx"), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"crops": crops.numpy()})[0]
    ours = crops.clone().requires_grad_()
    features = loaded(ours)
    np.testing.assert_allclose(features.detach(), expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(features.square().sum(), ours)
    twin = crops.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(network(twin).square().sum(), twin)
    torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


def test_files_that_are_no_usable_network(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the onnx package is not installed")
    with pytest.raises(InputError, match="no such network file"):
        load_onnx(tmp_path / "gone.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x00\x01 not a network")
    with pytest.raises(InputError, match="expected an ONNX"):
        load_onnx(tmp_path / "bad.onnx")
    export(nn.Sequential(nn.Flatten(), nn.Softmax()), tmp_path / "soft.onnx")
    with pytest.raises(InputError, match="Softmax are not supported"):
        load_onnx(tmp_path / "soft.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"facekit\[onnx\]"):
        load_onnx(tmp_path / "soft.onnx")

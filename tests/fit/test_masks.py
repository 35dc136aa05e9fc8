"""Masks from files and from networks of known outputs."""

from pathlib import Path

import numpy as np
import pytest

from facekit.errors import InputError, ItemError, UsageError
from facekit.fit.masks import Segmentation, find_mask, read_mask
from facekit.fit.pixels import shrunk_mask
from facekit.io.discover import InputImage
from facekit.io.images import write_image
from facekit.types import DetectedFace

onnx = pytest.importorskip("onnx")
FACE = DetectedFace(np.array([40.0, 30.0, 50.0, 50.0]), 1.0)


def network(path, *, classes=4, side=32, labels=False, first=True, dtype=None):
    """A network whose class k has the score 20 times channel k % 3's deviation from 1/2."""
    from onnx import TensorProto, helper, numpy_helper

    kind = dtype or TensorProto.FLOAT
    shape = [1, 3, side, side] if first else [1, side, side, 3]
    weight = np.zeros((classes, 3, 1, 1), np.float32)
    for k in range(classes):
        weight[k, k % 3] = 20
    bias = np.full(classes, -10.0, np.float32)
    bias[3:] = -1000
    nodes = []
    name = "picture"
    if not first:
        nodes.append(helper.make_node("Transpose", [name], ["turned"], perm=[0, 3, 1, 2]))
        name = "turned"
    nodes.append(helper.make_node("Conv", [name, "weight", "bias"], ["scores"]))
    if labels:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["out"], axis=1, keepdims=0))
    given = helper.make_tensor_value_info("picture", kind, shape)
    out = helper.make_tensor_value_info(
        "out" if labels else "scores", TensorProto.INT64 if labels else TensorProto.FLOAT, None
    )
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "test", [given], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def picture():
    """Left of column 65 red, right of it green."""
    image = np.zeros((100, 120, 3), np.uint8)
    image[:, :65, 0] = 255
    image[:, 65:, 1] = 255
    return image


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_a_network_marks_its_classes_in_the_photographs_pixels(tmp_path, labels, first):
    path = network(tmp_path / "n.onnx", labels=labels, first=first, side=90)
    mask = Segmentation(path, (0,), "unit").mask(picture(), FACE)
    assert mask.shape == (100, 120)
    assert mask.dtype == np.float32
    # The crop is 90 px about (65, 55).
    assert mask[15:95, 25:60].min() > 0.99
    assert mask[15:95, 70:105].max() < 0.01
    assert mask[:, :18].max() == 0
    both = Segmentation(path, (0, 1), "unit").mask(picture(), FACE)
    assert both[15:95, 25:105].min() > 0.99


class Recording:
    """A network that keeps what it was given."""

    def __init__(self, network):
        self.network, self.given = network, {}
        self.session, self.outputs = network.session, network.outputs

    def __call__(self, **inputs):
        self.given = inputs
        return self.network(**inputs)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("unit", 0, 1), ("signed", -1, 1), ("byte", 0, 255), ("imagenet", -2.12, 2.25)],
)
def test_ranges_scale_the_input(tmp_path, name, low, high):
    segmentation = Segmentation(network(tmp_path / "n.onnx"), (0,), name)
    recording = Recording(segmentation.network)
    segmentation.__dict__["network"] = recording
    segmentation.mask(picture(), FACE)
    red = recording.given["picture"][0, 0]
    assert red.min() == pytest.approx(low, abs=0.01)
    assert red.max() == pytest.approx(high, abs=0.01)


def test_a_network_of_another_kind_is_rejected(tmp_path):
    path = network(tmp_path / "n.onnx")
    with pytest.raises(InputError, match="more than 7 classes"):
        Segmentation(path, (7,)).mask(picture(), FACE)
    with pytest.raises(UsageError, match="range"):
        Segmentation(path, (1,), "wide")
    with pytest.raises(UsageError, match="labels"):
        Segmentation(path, ())
    with pytest.raises(InputError, match="ONNX"):
        Segmentation(tmp_path / "none.onnx").mask(picture(), FACE)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(InputError, match="cannot load"):
        Segmentation(broken).mask(picture(), FACE)


def test_masks_are_found_beside_the_image_and_in_a_folder(tmp_path):
    image = InputImage(tmp_path / "photos" / "a" / "x.jpg", "a/x")
    folder = tmp_path / "masks"
    assert find_mask(image) is None
    assert find_mask(image, folder) is None
    for path in ("photos/a/x.mask.png", "masks/a/x.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / path, np.zeros((4, 4, 3), np.uint8))
    assert find_mask(image) == tmp_path / "photos/a/x.mask.png"
    assert find_mask(image, folder) == folder / "a/x.png"
    write_image(folder / "a" / "x.mask.png", np.zeros((4, 4, 3), np.uint8))
    assert find_mask(image, folder) == folder / "a/x.mask.png"
    own = InputImage(folder / "a" / "x.png", "x")
    assert find_mask(own, folder / "a") == folder / "a/x.mask.png"
    # A photograph is not its own mask.
    (folder / "a" / "x.mask.png").unlink()
    assert find_mask(own, folder / "a") is None


def test_a_masks_values_and_size(tmp_path):
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[:, 30:] = 255
    mask[:, :10, 0] = 51
    path = tmp_path / "m.png"
    write_image(path, mask)
    full = read_mask(path, 60, 40)
    np.testing.assert_allclose(full[:, :10], 0.2, atol=1e-6)
    assert full[:, 10:30].max() == 0
    assert full[:, 30:].min() == 1
    half = read_mask(path, 30, 20)
    assert half.shape == (20, 30)
    np.testing.assert_allclose(half[:, 16:], 1)
    with pytest.raises(ItemError, match="proportions"):
        read_mask(path, 60, 60)
    with pytest.raises(ItemError, match="no such file"):
        read_mask(Path(tmp_path / "none.png"), 60, 40)


def test_a_shrunk_mask_keeps_off_what_a_blur_would_spread():
    mask = np.ones((60, 60))
    mask[25:35, 25:35] = 0
    kept = shrunk_mask(mask, 4.0)
    assert kept[30, 19:41].max() == 0
    assert kept[30, 18] == 1
    assert kept[0, 0] == 1

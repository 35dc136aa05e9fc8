import numpy as np
import onnx
import pytest
import torch

from facekit.errors import InputError, ItemError
from facekit.train.onnx import export_onnx


class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(48, 40)

    def forward(self, image):
        return self.layer(image.float().flatten(1) / 255), image.float().mean((1, 2, 3))


def export(module, path, tolerance=1e-4):
    return export_onnx(
        module,
        torch.zeros(2, 4, 4, 3, dtype=torch.uint8),
        path,
        input_name="image",
        outputs={"values": {0: "N"}, "mean": {0: "N"}},
        dynamic={0: "N"},
        metadata={"facekit.schema": "toy/1", "facekit.numbers": [1, 2.5]},
        tolerance=tolerance,
    )


def test_export_is_half_the_size_and_the_same_function(tmp_path):
    import onnxruntime

    module = Toy()
    worst = export(module, tmp_path / "toy.onnx")
    assert set(worst) == {"values", "mean"} and max(worst.values()) < 1e-4
    model = onnx.load(tmp_path / "toy.onnx")
    assert {p.key: p.value for p in model.metadata_props}["facekit.numbers"] == "[1, 2.5]"
    kinds = {t.data_type for t in model.graph.initializer if np.prod(t.dims) >= 64}
    assert kinds == {onnx.TensorProto.FLOAT16}
    session = onnxruntime.InferenceSession(str(tmp_path / "toy.onnx"))
    for count in (1, 5):  # any batch size
        image = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
        with torch.no_grad():
            expected = module(torch.from_numpy(image))[0].numpy()
        assert np.allclose(session.run(["values"], {"image": image})[0], expected, atol=1e-4)


def test_a_file_that_differs_is_refused(tmp_path):
    with pytest.raises(ItemError, match="differs from torch"):
        export(Toy(), tmp_path / "toy.onnx", tolerance=-1.0)


def test_weights_beyond_half_precision_are_refused(tmp_path):
    module = Toy()
    with torch.no_grad():
        module.layer.weight[0, 0] = 1e6
    with pytest.raises(InputError, match="half precision"):
        export(module, tmp_path / "toy.onnx")

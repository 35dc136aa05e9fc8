"""A recognition network from an ONNX file, in torch, so that it has gradients.

onnxruntime only runs networks forwards; a term needs the gradient at the picture. The operators
here are those of convolutional recognisers (ArcFace's residual networks, MobileFaceNet, FaceNet).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facekit.errors import InputError, MissingDependencyError

Values = list[Any]
Settings = dict[str, Any]


class OnnxNetwork(nn.Module):
    """A feed-forward ONNX graph with one picture as input; its first output is returned.

    Its weights take no gradient; a call's input does. Batch norm and dropout run as in inference.
    """

    def __init__(self, graph: Any, to_array: Callable[[Any], np.ndarray]) -> None:
        super().__init__()
        self._nodes = [
            (node.op_type, list(node.input), list(node.output), _settings(node, to_array))
            for node in graph.node
        ]
        self._constants = [entry.name for entry in graph.initializer]
        for number, entry in enumerate(graph.initializer):
            self.register_buffer(f"constant_{number}", torch.from_numpy(to_array(entry).copy()))
        inputs = [entry.name for entry in graph.input if entry.name not in self._constants]
        if len(inputs) != 1:
            raise InputError(f"ONNX network: expected one input, got {inputs}")
        self._input, self._output = inputs[0], graph.output[0].name
        unknown = sorted({kind for kind, *_ in self._nodes} - _PLAIN.keys() - _WITH_SETTINGS.keys())
        if unknown:
            raise InputError(
                f"ONNX network: operators {', '.join(unknown)} are not supported; give the network "
                "as a torch module"
            )

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (B, 3, S, S) to the network's first output."""
        values: dict[str, Any] = {"": None, self._input: crops}
        for number, name in enumerate(self._constants):
            values[name] = self.get_buffer(f"constant_{number}")
        for kind, inputs, outputs, settings in self._nodes:
            given = [values[name] for name in inputs]
            values[outputs[0]] = (
                _PLAIN[kind](*given) if kind in _PLAIN else _WITH_SETTINGS[kind](given, settings)
            )
        return values[self._output]


def load_onnx(path: Path) -> OnnxNetwork:
    """Load a network file.

    Args:
        path: an ``.onnx`` file whose input is a batch of crops.

    Raises:
        MissingDependencyError: the onnx package is missing.
        InputError: no such file, no ONNX, several inputs, or an operator that is not supported.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError(
            "an ONNX recognition network needs the onnx package: pip install 'facekit[onnx]'"
        ) from error
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise InputError(f"{path}: there is no such network file")
    try:
        model = onnx.load(str(path))
    except (DecodeError, ValueError) as error:
        raise InputError(f"{path}: expected an ONNX file: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: expected an ONNX network, got a graph without nodes or outputs")
    return OnnxNetwork(model.graph, numpy_helper.to_array).eval()


def _settings(node: Any, to_array: Callable[[Any], np.ndarray]) -> Settings:
    found: Settings = {}
    for entry in node.attribute:
        # ONNX's codes: 1 float, 2 integer, 3 string, 4 tensor, 6 floats, 7 integers.
        if entry.type == 4:
            found[entry.name] = torch.from_numpy(to_array(entry.t).copy())
        elif entry.type in (1, 2, 3):
            found[entry.name] = {1: entry.f, 2: entry.i, 3: entry.s}[entry.type]
        elif entry.type in (6, 7):
            found[entry.name] = list(entry.floats if entry.type == 6 else entry.ints)
    return found


def _padded(x: Tensor, settings: Settings, value: float = 0.0) -> Tensor:
    if settings.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise InputError("ONNX network: auto_pad is not supported; export with explicit pads")
    top, left, bottom, right = settings.get("pads") or [0, 0, 0, 0]
    if not any((top, left, bottom, right)):
        return x
    return functional.pad(x, (left, right, top, bottom), value=value)


def _conv(v: Values, s: Settings) -> Tensor:
    bias = v[2] if len(v) > 2 else None
    return functional.conv2d(
        _padded(v[0], s), v[1], bias, s.get("strides", [1, 1]), 0, s.get("dilations", [1, 1]),
        s.get("group", 1),
    )  # fmt: skip


def _norm(v: Values, s: Settings) -> Tensor:
    x, scale, shift, mean, variance = v
    return functional.batch_norm(x, mean, variance, scale, shift, eps=s.get("epsilon", 1e-5))


def _max_pool(v: Values, s: Settings) -> Tensor:
    x = _padded(v[0], s, -torch.inf)
    return functional.max_pool2d(
        x, s["kernel_shape"], s.get("strides"), ceil_mode=bool(s.get("ceil_mode", 0))
    )


def _average_pool(v: Values, s: Settings) -> Tensor:
    if any(s.get("pads") or []) and not s.get("count_include_pad", 0):
        raise InputError("ONNX network: average pooling that leaves out its padding is unsupported")
    return functional.avg_pool2d(
        _padded(v[0], s), s["kernel_shape"], s.get("strides"),
        ceil_mode=bool(s.get("ceil_mode", 0)),
    )  # fmt: skip


def _gemm(v: Values, s: Settings) -> Tensor:
    a = v[0].T if s.get("transA", 0) else v[0]
    b = v[1].T if s.get("transB", 0) else v[1]
    out = s.get("alpha", 1.0) * (a @ b)
    return out if len(v) < 3 or v[2] is None else out + s.get("beta", 1.0) * v[2]


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    # 0 keeps a size.
    return x.reshape([x.shape[k] if n == 0 else n for k, n in enumerate(shape.tolist())])


def _flatten(v: Values, s: Settings) -> Tensor:
    axis = s.get("axis", 1)
    first = int(np.prod(v[0].shape[:axis]))
    return v[0].reshape(first, -1)


def _clip(v: Values, s: Settings) -> Tensor:
    low = v[1] if len(v) > 1 else s.get("min")
    high = v[2] if len(v) > 2 else s.get("max")
    return v[0].clamp(low, high)


def _axes(v: Values, s: Settings) -> list[int] | None:
    axes = v[1] if len(v) > 1 and v[1] is not None else s.get("axes")
    return None if axes is None else [int(axis) for axis in axes]


def _mean(v: Values, s: Settings) -> Tensor:
    axes, keep = _axes(v, s), bool(s.get("keepdims", 1))
    return v[0].mean(tuple(range(v[0].dim())) if axes is None else axes, keepdim=keep)


def _norm2(v: Values, s: Settings) -> Tensor:
    axes, keep = _axes(v, s), bool(s.get("keepdims", 1))
    return torch.linalg.vector_norm(v[0], dim=axes, keepdim=keep)


def _squeeze(v: Values, s: Settings) -> Tensor:
    axes = _axes(v, s)
    return v[0].squeeze() if axes is None else v[0].squeeze(tuple(axes))


def _unsqueeze(v: Values, s: Settings) -> Tensor:
    out = v[0]
    for axis in sorted(_axes(v, s) or []):
        out = out.unsqueeze(axis)
    return out


def _lp_normalise(v: Values, s: Settings) -> Tensor:
    return functional.normalize(v[0], p=s.get("p", 2), dim=s.get("axis", -1))


def _constant(v: Values, s: Settings) -> Tensor:
    if v or "value" not in s:
        raise InputError("ONNX network: expected constants given as tensors")
    return s["value"]


# Operators that have settings, then those that only have inputs.
_WITH_SETTINGS: dict[str, Callable[[Values, Settings], Any]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _norm,
    "Clip": _clip,
    "Concat": lambda v, s: torch.cat(v, s["axis"]),
    "Constant": _constant,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "LeakyRelu": lambda v, s: functional.leaky_relu(v[0], s.get("alpha", 0.01)),
    "LpNormalization": _lp_normalise,
    "MaxPool": _max_pool,
    "ReduceL2": _norm2,
    "ReduceMean": _mean,
    "Squeeze": _squeeze,
    "Transpose": lambda v, s: v[0].permute(s["perm"]),
    "Unsqueeze": _unsqueeze,
}
_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "Div": torch.div,
    "Dropout": lambda x, *_: x,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Identity": lambda x: x,
    "MatMul": torch.matmul,
    "Mul": torch.mul,
    "PRelu": lambda x, slope: torch.where(x >= 0, x, x * slope),
    "Pow": torch.pow,
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Sigmoid": torch.sigmoid,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
}

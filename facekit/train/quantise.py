"""Exported networks with 8-bit convolutions: a third of the time, two thirds of the size."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError, ItemError, MissingDependencyError
from facekit.io.atomic import atomic_path
from facekit.train.onnx import store_half

# A ReLU after a convolution costs nothing and halves the range that is rounded. Dense layers run
# in float unless they are named: most cost little and lose much.
OPERATIONS = ("Conv", "Relu")
_LEAST_STORED = 4096
# Images that the ranges of activations are taken from; all tell what rounding did.
_CALIBRATION = 512
# Largest 8-bit weight: 7 bits; see ``quantise_onnx``.
LARGEST_WEIGHT = 64


# Share of calibration crops that ranges hold, of networks that also see crops without a face: those
# few drive the last layers to twenty times what any face does, and steps as coarse as that make
# the answers for a still face tremble.
REACH = 0.95


class SampledTask(Protocol):
    """A task whose batches are crops; see ``learn.loop.Task``."""

    config: Any

    def batch(self, step: int) -> Any:
        """Return a batch with ``images`` (N, 3, S, S) uint8."""


def calibration_images(task: SampledTask, count: int) -> np.ndarray:
    """Return (N, S, S, 3) uint8 images of the training persons that no step has seen."""
    first = task.config.loop.steps
    steps = -(-count // task.config.batch_size)
    batches = [task.batch(first + k).images.numpy() for k in range(steps)]
    return np.ascontiguousarray(np.concatenate(batches).transpose(0, 2, 3, 1))


def quantise_onnx(
    source: Path,
    path: Path,
    images: np.ndarray,
    *,
    keep: Sequence[str] = (),
    dense: str | None = None,
    ranges: Sequence[float] | None = None,
    reach: float = 1.0,
) -> dict[str, float]:
    """Write a network of ``export_onnx`` with 8-bit convolutions.

    Convolutions' weights are signed, one scale per output channel, within 7 bits (processors
    without VNNI add pairs of products in 16 bits, which 8 bits would overflow); activations are
    unsigned, one scale per tensor, over the range that the images reach; pixels are read as they
    are. Sums run in 32 bits. Dense layers run in float but for ``dense``; their weights are stored
    as 8-bit numbers, one scale per output.

    Args:
        source: the float file; one input.
        path: the 8-bit file.
        images: (N, H, W, 3) uint8 inputs that span what the network will see; 500 are enough.
        keep: parts of the names of convolutions that stay in float: those whose rounding the
            answers feel most.
        dense: part of the name of a dense layer that is to run in 8 bits as well: a large one
            behind the convolutions, whose weights take longer to fetch than to multiply. One
            that reads anything else than rounded features stays in float.
        ranges: the largest value of each ReLU behind a convolution, in their order, of a network
            that was trained with them; None takes what the images reach.
        reach: share of the images that lie within the ranges of ReLUs whole; what the others
            reach beyond is cut off. See ``REACH``.

    Returns:
        Root mean square difference from the float file over the images, per output.

    Raises:
        MissingDependencyError: the ``onnx`` package is missing.
        ItemError: onnxruntime cannot quantise the file.
    """
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "8-bit export needs the onnx package: pip install 'facekit[onnx]'"
        ) from error
    images = check_array(images, "images", shape=("N", "H", "W", 3), dtype="uint8")
    model = onnx.load(source)
    _widen(model)
    name = model.graph.input[0].name
    kept = _left_alone(model, keep, str(source))
    if ranges is None and reach < 1:
        ranges = _reached(model, kept, images[:_CALIBRATION], reach)
    grids = _pixel_grid(model) | ({} if ranges is None else _given_grids(model, kept, ranges))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(images[:_CALIBRATION])

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._rest, None)
            return None if image is None else {name: image[None]}

    root = logging.getLogger()
    level = root.level
    # It recommends a preparation that plain convolutions do not need.
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "quantised.onnx"
            quantize_static(
                model,
                file,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATIONS),
                nodes_to_exclude=kept,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"TensorQuantOverrides": grids},
            )
            quantised = onnx.load(file)
    except (ValueError, RuntimeError) as error:
        raise ItemError(f"{source}: cannot be quantised ({error})") from error
    finally:
        root.setLevel(level)
    _read_pixels(quantised)
    if dense is not None:
        _round_dense(quantised, dense)
    _store_bytes(quantised)
    store_half(quantised)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(quantised)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(quantised.SerializeToString())
    return _differences(Path(source), Path(path), images)


def _widen(model: Any) -> None:
    """Undo ``store_half``: weights become float32 initialisers again."""
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: index for index, tensor in enumerate(graph.initializer)}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            index = stored[node.input[0]]
            values = numpy_helper.to_array(graph.initializer[index]).astype(np.float32)
            graph.initializer[index].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _left_alone(model: Any, keep: Sequence[str], where: str) -> list[str]:
    """Return the convolutions that stay in float, and what follows no 8-bit convolution."""
    nodes = model.graph.node
    convolutions = {node.output[0]: node.name for node in nodes if node.op_type == "Conv"}
    for part in keep:
        if not any(part in name for name in convolutions.values()):
            raise InputError(f"keep: {where} has no convolution named like {part!r}")
    kept = [name for name in convolutions.values() if any(part in name for part in keep)]
    rounded = {output for output, name in convolutions.items() if name not in kept}
    return kept + [
        node.name for node in nodes if node.op_type == "Relu" and node.input[0] not in rounded
    ]


def _pixel_grid(model: Any) -> dict[str, list[dict[str, Any]]]:
    """Return, for the tensor of pixels made float, the grid that pixels lie on."""
    from onnx import TensorProto

    pixels = {
        one.name for one in model.graph.input if one.type.tensor_type.elem_type == TensorProto.UINT8
    }
    grid = {"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Transpose" and node.input[0] in pixels:
            pixels.add(node.output[0])
        elif node.op_type == "Cast" and node.input[0] in pixels:
            found[node.output[0]] = [dict(grid)]
    return found


def _rounded_relus(model: Any, kept: Sequence[str]) -> list[str]:
    """Return the outputs of the ReLUs that are to be rounded, in their order."""
    return [n.output[0] for n in model.graph.node if n.op_type == "Relu" and n.name not in kept]


def _reached(model: Any, kept: Sequence[str], images: np.ndarray, share: float) -> list[float]:
    """Return the range of each rounded ReLU that a share of the images lies within whole."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [f"{name}.most" for name in _rounded_relus(model, kept)]
    for name in names:
        relu = name.removesuffix(".most")
        watched.graph.node.append(
            helper.make_node("ReduceMax", [relu], [name], axes=[1, 2, 3], keepdims=0)
        )
        watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]))
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0].name
    most = [session.run(names, {given: image[None]}) for image in images]
    return np.maximum(np.quantile(np.array(most)[..., 0], share, axis=0), 1e-6).tolist()


def _given_grids(
    model: Any, kept: Sequence[str], ranges: Sequence[float]
) -> dict[str, list[dict[str, Any]]]:
    """Return, for each rounded ReLU's output, the grid from zero to its given range."""
    rounded = _rounded_relus(model, kept)
    if len(rounded) != len(ranges):
        raise InputError(f"ranges: expected {len(rounded)}, one a ReLU, got {len(ranges)}")
    zero = np.array(0, np.uint8)
    return {
        name: [{"scale": np.array(most / 255, np.float32), "zero_point": zero}]
        for name, most in zip(rounded, ranges, strict=True)
    }


def _read_pixels(model: Any) -> None:
    """Leave out that pixels become float and 8-bit numbers again: they are the same numbers."""
    nodes = model.graph.node
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for cast in [n for n in nodes if n.output[0] in _pixel_grid(model)]:
        following = users.get(cast.output[0], [])
        if [n.op_type for n in following] != ["QuantizeLinear"]:
            continue
        (rounding,) = following
        for user in users[rounding.output[0]]:
            user.input[list(user.input).index(rounding.output[0])] = cast.input[0]
        nodes.remove(cast)
        nodes.remove(rounding)


def _round_dense(model: Any, name: str) -> None:
    """Let a dense layer multiply 8-bit numbers where rounded features are what it reads.

    Weights are within 7 bits as those of convolutions are.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    layer = _dense_layer(model, name)
    flatten = makers.get(layer.input[0])
    widening = None if flatten is None else makers.get(flatten.input[0])
    if flatten is None or flatten.op_type != "Flatten":
        return
    if widening is None or widening.op_type != "DequantizeLinear":
        return
    step = float(numpy_helper.to_array(stored[widening.input[1]]))
    weight, bias = (numpy_helper.to_array(stored[k]).astype(np.float64) for k in layer.input[1:3])
    scale = np.maximum(np.abs(weight).max(axis=1) / LARGEST_WEIGHT, 1e-9).astype(np.float32)
    # Features are rounded before they are laid out flat: bytes are moved instead of floats.
    flat = f"{flatten.output[0]}.byte"
    flattened = helper.make_node("Flatten", [widening.input[0]], [flat], axis=1)
    widened = helper.make_node("DequantizeLinear", [flat, *widening.input[1:]], [flatten.output[0]])
    parts = {
        "weight": (np.round(weight / scale[:, None]).astype(np.int8), scale, np.int8),
        "bias": (
            np.round(bias / (np.float64(scale) * step)).astype(np.int32),
            (scale * np.float32(step)).astype(np.float32),
            np.int32,
        ),
    }
    nodes = [flattened, widened]
    for place, (part, (values, steps, kind)) in enumerate(parts.items(), start=1):
        base = f"{layer.input[place]}.{part}"
        graph.initializer.extend(
            [
                numpy_helper.from_array(values, f"{base}.byte"),
                numpy_helper.from_array(steps, f"{base}.step"),
                numpy_helper.from_array(np.zeros(len(steps), kind), f"{base}.zero"),
            ]
        )
        graph.initializer.remove(stored[layer.input[place]])
        inputs = [f"{base}.{one}" for one in ("byte", "step", "zero")]
        layer.input[place] = f"{base}.whole"
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{base}.whole"], axis=0))
    where = list(graph.node).index(flatten)
    before, after = list(graph.node)[:where], list(graph.node)[where + 1 :]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])


def _dense_layer(model: Any, name: str) -> Any:
    """Return the one dense layer with a part of a name.

    Raises:
        InputError: there is none, or more than one.
    """
    found = [n for n in model.graph.node if n.op_type == "Gemm" and name in n.name]
    if len(found) != 1:
        raise InputError(f"quantising: expected one dense layer named like {name!r}")
    return found[0]


def _store_bytes(model: Any) -> None:
    """Store dense layers' weights as int8 times a scale per row, which loading multiplies out."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    dense = {node.input[1] for node in graph.node if node.op_type == "Gemm"}
    nodes, scales = [], []
    for index, tensor in enumerate(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.name not in dense or values.dtype != np.float32 or values.size < _LEAST_STORED:
            continue
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, 1e-12)
        name = tensor.name
        rounded = np.round(values / scale).astype(np.int8)
        graph.initializer[index].CopyFrom(numpy_helper.from_array(rounded, f"{name}.byte"))
        scales.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        whole = f"{name}.whole"
        nodes.append(helper.make_node("Cast", [f"{name}.byte"], [whole], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [whole, f"{name}.scale"], [name]))
    graph.initializer.extend(scales)
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def _differences(source: Path, path: Path, images: np.ndarray) -> dict[str, float]:
    import onnxruntime

    sessions = [
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for file in (source, path)
    ]
    name = sessions[0].get_inputs()[0].name
    names = [output.name for output in sessions[0].get_outputs()]
    squares = dict.fromkeys(names, 0.0)
    for image in images:
        exact, rounded = (session.run(names, {name: image[None]}) for session in sessions)
        for output, a, b in zip(names, exact, rounded, strict=True):
            squares[output] += float(np.mean((a - b) ** 2)) / len(images)
    return {output: float(np.sqrt(value)) for output, value in squares.items()}

"""Exported networks with 8-bit convolutions: a third of the time, two thirds of the size."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.errors import ItemError, MissingDependencyError
from facekit.io.atomic import atomic_path
from facekit.train.onnx import store_half

# Convolutions only: the few dense layers at the end cost little and lose the most. Their weights
# are stored as bytes all the same.
OPERATIONS = ("Conv",)
_LEAST_STORED = 4096


def quantise_onnx(source: Path, path: Path, images: np.ndarray) -> dict[str, float]:
    """Write a network of ``export_onnx`` with 8-bit convolutions.

    Convolutions' weights are signed, one scale per output channel, within 7 bits (processors
    without VNNI add pairs of products in 16 bits, which 8 bits would overflow); activations are
    unsigned, one scale per tensor, over the range that the images reach. Sums run in 32 bits.
    Dense layers run in float; their weights are stored as 8-bit numbers, one scale per output.

    Args:
        source: the float file; one input.
        path: the 8-bit file.
        images: (N, H, W, 3) uint8 inputs that span what the network will see; 500 are enough.

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

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(images)

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
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            quantised = onnx.load(file)
    except (ValueError, RuntimeError) as error:
        raise ItemError(f"{source}: cannot be quantised ({error})") from error
    finally:
        root.setLevel(level)
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

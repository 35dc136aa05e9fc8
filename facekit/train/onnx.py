"""Trained networks to ONNX files: fused, half-size weights, checked against torch."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facekit.errors import InputError, ItemError, MissingDependencyError
from facekit.io.atomic import atomic_path

OPSET = 17


def export_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    *,
    input_name: str,
    outputs: Mapping[str, dict[int, str]],
    dynamic: dict[int, str],
    metadata: Mapping[str, Any],
    tolerance: float,
) -> dict[str, float]:
    """Write a module as ONNX with weights stored in half precision, and check it.

    Weights are stored as float16 and widened when the file is loaded: half the size, the same
    speed. All sums run in float32.

    Args:
        module: in evaluation mode.
        example: one input; the dynamic axes may have any size.
        path: the ``.onnx``.
        input_name: of the one input; outputs: names to dynamic axes, in order.
        dynamic: dynamic axes of the input.
        metadata: strings, or values that are stored as JSON.
        tolerance: largest allowed difference between torch (with the rounded weights) and
            onnxruntime, on the example and on noise.

    Returns:
        Largest absolute difference per output.

    Raises:
        MissingDependencyError: the ``onnx`` package is missing.
        ItemError: the file computes something else than the module.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX export needs the onnx package: pip install 'facekit[onnx]'"
        ) from error
    module = module.eval()
    _round_weights(module)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor
        torch.onnx.export(
            module,
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=[input_name],
            output_names=list(outputs),
            dynamic_axes={input_name: dynamic, **outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    store_half(model)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return _compare(module, example, Path(path), input_name, list(outputs), tolerance)


def export_crop_network(
    module: nn.Module,
    size: int,
    path: Path,
    *,
    outputs: Sequence[str],
    metadata: Mapping[str, Any],
    tolerance: float,
) -> dict[str, float]:
    """Write a network of crops as ONNX: input ``image`` uint8 (N, S, S, 3) RGB, any N.

    Args:
        module, path, tolerance: see ``export_onnx``.
        size: side S, which ``facekit.size`` notes.
        outputs: names, in order; their first axis is N.
        metadata: beside the size.
    """
    return export_onnx(
        module,
        torch.full((2, size, size, 3), 127, dtype=torch.uint8),
        path,
        input_name="image",
        outputs={name: {0: "N"} for name in outputs},
        dynamic={0: "N"},
        metadata={**metadata, "facekit.size": str(size)},
        tolerance=tolerance,
    )


def _round_weights(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            rounded = parameter.half().float()
            if not torch.isfinite(rounded).all():
                raise InputError("export: a weight is too large for half precision")
            parameter.copy_(rounded)


def store_half(model: Any) -> None:
    """Store large float initialisers as float16 behind a Cast that loading folds away."""
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < 64 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        stored = numpy_helper.from_array(half, f"{name}.half")
        graph.initializer[index].CopyFrom(stored)
        casts.append(helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _compare(
    module: nn.Module,
    example: Tensor,
    path: Path,
    input_name: str,
    names: list[str],
    tolerance: float,
) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, example.shape).astype(np.uint8))
    worst = dict.fromkeys(names, 0.0)
    for image in (example, noise):
        with torch.no_grad():
            expected = module(image)
        found = session.run(names, {input_name: image.numpy()})
        for name, e, f in zip(names, expected, found, strict=True):
            worst[name] = max(worst[name], float(np.abs(e.numpy() - f).max()))
    for name, difference in worst.items():
        if not difference <= tolerance:
            raise ItemError(
                f"{path}: output {name} differs from torch by {difference:.3g} "
                f"(allowed {tolerance:.3g}); the export is wrong"
            )
    return worst

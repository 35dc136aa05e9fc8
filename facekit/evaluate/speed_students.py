"""The parameter network's time beside that of the published baseline's shape.

How long a network takes depends on its shape and not on its weights: shapes are timed untrained,
exported and quantised as trained ones are. For this, torch and onnx are needed.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from facekit.detect.parameters import ASSET
from facekit.detect.session import Network, open_asset, open_file
from facekit.errors import MissingDependencyError
from facekit.evaluate.photographs import photograph
from facekit.evaluate.speed import SpeedCase, Work
from facekit.io.images import resize
from facekit.morphable.builtin import list_assets, load_builtin
from facekit.morphable.layout import model_layout

BASELINE = "mobilenet-v1-0.5"
BASELINE_KEY = f"student.{BASELINE}.float.1t"
OWN = "parameters.pass.1t"
# Pictures that the untrained networks' ranges are taken from.
_PICTURES = 8


def student_cases() -> list[SpeedCase]:
    """Return the shipped network, the baseline in float, and on request every student's shape."""
    own = SpeedCase(OWN, "the shipped parameter network alone, one crop", _shipped, calls=50)
    shipped = ASSET in {entry.name for entry in list_assets()}
    shapes = [
        SpeedCase(
            f"student.{name}.{kind}.1t",
            f"a parameter network of the shape {name}, untrained, {kind}, one crop",
            partial(_shape, name, kind),
            calls=50,
            on_request=True,
        )
        for name in _names()
        for kind in ("float", "int8")
    ]
    baseline = next(case for case in shapes if case.key == BASELINE_KEY)
    shapes[shapes.index(baseline)] = replace(
        baseline, on_request=False, peer_of=OWN if shipped else ""
    )
    return [*([own] if shipped else []), *shapes]


def _names() -> tuple[str, ...]:
    """The students' names; their shapes are read where torch is."""
    return ("patch5-s", "patch4-s", "patch8-s", "patch8-xs", BASELINE)


def _shipped() -> Work:
    return _pass(open_asset(ASSET, threads=1))


def _shape(name: str, kind: str) -> Work:
    return _pass(open_file(untrained(name, kind), threads=1))


def _pass(network: Network) -> Work:
    side = int(network.metadata["facekit.size"])
    crop = resize(photograph(), side / 512)[None]
    return lambda: network(image=crop)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="facekit-")


@cache
def untrained(name: str, kind: str) -> Path:
    """Write a student's shape with random weights as ONNX and return the file.

    Args:
        name: of a student of ``facekit distill``.
        kind: ``float`` or ``int8``.

    Raises:
        MissingDependencyError: torch or onnx is missing.
    """
    path = Path(_folder().name) / f"{name}.{kind}.onnx"
    try:
        import torch

        from facekit.networks.params import ParameterExport, ParameterNetwork
        from facekit.train.distil import STUDENTS
        from facekit.train.onnx import export_crop_network
        from facekit.train.quantise import quantise_onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"speed: the shape {name} needs torch: pip install 'facekit[train]'"
        ) from error
    size = STUDENTS[name]["size"]
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 20, (_PICTURES, size, size, 3))
    pictures = np.clip(resize(photograph(), size / 512) + noise, 0, 255).astype(np.uint8)
    if kind == "int8":
        quantise_onnx(untrained(name, "float"), path, pictures, dense="hidden")
        return path
    torch.manual_seed(0)
    network = ParameterNetwork(model_layout(load_builtin()).length, **STUDENTS[name])
    with torch.no_grad():
        # Running statistics, so that what the layers see is as large as in a trained network.
        for _ in range(4):
            network(torch.from_numpy(pictures.transpose(0, 3, 1, 2)).float())
    export_crop_network(
        ParameterExport(network.eval()),
        size,
        path,
        outputs=ParameterExport.OUTPUTS,
        metadata={},
        tolerance=1e-2,
    )
    return path

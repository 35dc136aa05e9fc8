"""Fitted photographs in folders: what ``facekit fit`` wrote, for learning a model on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facekit.errors import InputError
from facekit.io.params import read_params
from facekit.morphable.model import MorphableModel

_FITS, _TRUTH = "params.npz", "truth"


class FittedFaces(NamedTuple):
    """Values of params files, in the order of their paths, and those that cannot be used."""

    faces: list[dict[str, Any]]
    failures: list[dict[str, str]]


def read_fitted(paths: Sequence[Path], model: MorphableModel) -> FittedFaces:
    """Read every ``params.npz`` below folders, or the truth files of ``simulate photos``.

    Files of another model are failures: their coefficients mean something else.

    Args:
        paths: folders, or single files.
        model: with which the photographs were fitted.

    Raises:
        InputError: a path is missing, or nothing was found.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: expected a folder of facekit fit; there is none")
        found = [path] if path.is_file() else sorted(path.rglob(_FITS))
        if not found:
            found = [p for p in sorted(path.rglob("*.npz")) if p.parent.name == _TRUTH]
        files += found
    if not files:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names}: expected {_FITS} files (facekit fit writes them), found none")
    faces, failures = [], []
    for file in files:
        try:
            values = read_params(file)
        except InputError as error:
            failures.append({"input": str(file), "error": str(error)})
            continue
        if values["meta"].get("model_sha256") != model.sha256:
            other = values["meta"].get("model", "another model")
            failures.append(
                {"input": str(file), "error": f"was fitted with {other}, not with {model.name}"}
            )
            continue
        faces.append(values)
    return FittedFaces(faces, failures)

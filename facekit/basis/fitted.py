"""Fitted photographs in folders: what ``facekit fit`` wrote, for learning a model on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError, ItemError
from facekit.fit.vertex_colours import VertexColours, vertex_colours
from facekit.io.discover import find_images
from facekit.io.images import read_image
from facekit.io.params import params_camera, read_params
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


class FittedColours(NamedTuple):
    """Photographs' colours at a model's vertices, and those that cannot be used."""

    colours: list[VertexColours]
    failures: list[dict[str, str]]


def read_colours(
    faces: Sequence[Mapping[str, Any]],
    folder: Path,
    model: MorphableModel,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FittedColours:
    """Read the photographs that faces were fitted to, vertex by vertex.

    Args:
        faces: see ``read_fitted``.
        folder: searched for each face's photograph by its file name.
        model: with which the photographs were fitted.
        progress: called with (done, total).

    Raises:
        InputError: no such folder, or no image in it.
    """
    places: dict[str, list[Path]] = {}
    for item in find_images([folder]):
        places.setdefault(item.path.name, []).append(item.path)
    colours: list[VertexColours] = []
    failures: list[dict[str, str]] = []
    for number, face in enumerate(faces):
        name = str(face["meta"].get("image", ""))
        try:
            colours.append(_colours(face, places.get(name, []), model))
        except ItemError as error:
            failures.append({"input": name, "error": str(error)})
        if progress:
            progress(number + 1, len(faces))
    return FittedColours(colours, failures)


def _colours(
    face: Mapping[str, Any], places: Sequence[Path], model: MorphableModel
) -> VertexColours:
    if len(places) != 1:
        raise ItemError(f"expected one photograph of this name, found {len(places)}")
    image = read_image(places[0])
    camera = params_camera(face)
    if image.shape[:2] != (camera.height, camera.width):
        raise ItemError(
            f"{places[0]}: the fit was to an image of {camera.width} x {camera.height} pixels, "
            f"this one has {image.shape[1]} x {image.shape[0]}"
        )
    if face["meta"].get("mirrored"):
        image = np.ascontiguousarray(image[:, ::-1])
    vertices = model.shape(face["identity"], face["expression"])
    seen = vertex_colours(image, vertices, model.faces, camera)
    # A thousand photographs in half precision take 0.4 GB.
    return seen._replace(basis=seen.basis.astype(np.float16))

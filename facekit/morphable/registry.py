"""Models by name or path."""

from __future__ import annotations

from pathlib import Path

from facekit.errors import InputError
from facekit.morphable.builtin import load_builtin
from facekit.morphable.model import MorphableModel
from facekit.morphable.native import is_native, read_native

BUILTIN_NAME = "builtin"


def load_model(name_or_path: str | Path) -> MorphableModel:
    """Return the model of a name (``builtin``) or of a facekit model file.

    Raises:
        InputError: no such name or file, or the file has another format.
    """
    if str(name_or_path) == BUILTIN_NAME:
        return load_builtin()
    path = Path(name_or_path)
    if not path.exists():
        raise InputError(
            f"{path}: expected 'builtin' or a model file; there is neither a model of that name"
            " nor such a file"
        )
    if path.is_file() and is_native(path):
        return read_native(path)
    raise InputError(
        f"{path}: expected a facekit model (.npz); convert a foreign one first:"
        f" facekit models convert {path} -o model.npz"
    )

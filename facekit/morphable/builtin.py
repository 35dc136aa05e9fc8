"""The built-in model and the shipped assets' manifest."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from facekit.errors import InputError
from facekit.morphable.model import MorphableModel
from facekit.morphable.native import read_native

_ASSETS = Path(__file__).parents[1] / "assets"
BUILTIN = "builtin_model"


class Asset(NamedTuple):
    """A shipped file: path, version, sha256, licence and the commands that rebuild it."""

    name: str
    path: Path
    version: str
    sha256: str
    licence: str
    recipe: str


def list_assets() -> list[Asset]:
    """Return the shipped assets in the manifest's order.

    Raises:
        InputError: the manifest is missing or damaged.
    """
    path = _ASSETS / "manifest.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["assets"]
        return [
            Asset(
                entry["name"],
                _ASSETS / entry["file"],
                entry["version"],
                entry["sha256"],
                entry["licence"],
                entry["recipe"],
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: the manifest of the shipped files is missing or damaged ({error});"
            " install facekit again"
        ) from error


def asset(name: str) -> Asset:
    """Return a shipped asset after verifying that its file has the manifest's sha256.

    Raises:
        InputError: no such asset, its file is missing, or it was changed.
    """
    for entry in list_assets():
        if entry.name == name:
            _verify(entry)
            return entry
    known = ", ".join(entry.name for entry in list_assets())
    raise InputError(f"asset {name!r}: there is none; the shipped ones are {known}")


@cache
def load_builtin() -> MorphableModel:
    """Return the built-in model; read and verified once a process. Do not change its arrays."""
    return read_native(asset(BUILTIN).path)


def _verify(entry: Asset) -> None:
    if not entry.path.is_file():
        raise InputError(f"{entry.path}: the shipped file is missing; install facekit again")
    actual = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    if actual != entry.sha256:
        raise InputError(
            f"{entry.path}: expected sha256 {entry.sha256[:12]}…, got {actual[:12]}…; the file was"
            " changed or cut off, install facekit again"
        )

"""Models by name or path, in facekit's own format or a foreign one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from facekit.errors import InputError
from facekit.morphable.builtin import load_builtin
from facekit.morphable.model import MorphableModel
from facekit.morphable.native import is_native, read_native

BUILTIN_NAME = "builtin"


class ModelFormat(NamedTuple):
    """A readable format: what it is, how it is recognised, and its reader."""

    name: str
    description: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, Sequence[int] | None], MorphableModel]


def load_model(name_or_path: str | Path) -> MorphableModel:
    """Return the model of a name (``builtin``) or of a file or folder of any known format.

    Raises:
        InputError: no such name or file, an unknown format, or damaged contents.
        MissingDependencyError: the format needs an optional package.
    """
    if str(name_or_path) == BUILTIN_NAME:
        return load_builtin()
    return read_model(Path(name_or_path))


def read_model(
    path: Path, *, format_name: str | None = None, now7: Sequence[int] | None = None
) -> MorphableModel:
    """Read a model file or folder.

    Args:
        path: of the model.
        format_name: one of ``model_formats()``; None recognises it by name and contents.
        now7: vertex numbers of outer and inner corner of the right eye, inner and outer corner of
            the left, the nose's base, right and left mouth corner. They put a foreign model
            without landmarks of its own into the built-in head frame.

    Raises:
        InputError, MissingDependencyError: see ``load_model``.
    """
    if not path.exists():
        raise InputError(
            f"{path}: expected 'builtin' or a model; there is neither a model of that name nor"
            " such a file or folder"
        )
    formats = model_formats()
    known = ", ".join(f.name for f in formats)
    if format_name is not None:
        for item in formats:
            if item.name == format_name:
                return item.read(path, now7)
        raise InputError(f"model format {format_name!r}: expected one of {known}")
    for item in formats:
        if item.recognise(path):
            return item.read(path, now7)
    raise InputError(f"{path}: is no model of a known format ({known}); name it with --format")


def model_formats() -> list[ModelFormat]:
    """Return the readable formats, in the order in which they are tried."""
    return [
        ModelFormat("facekit", "facekit's own .npz", _is_own, lambda p, _: read_native(p)),
        ModelFormat("deep3d", "Deep3D's BFM_model_front.mat", _named("front", ".mat"), _deep3d),
        ModelFormat("bfm2009", "Basel Face Model 2009 .mat", _named("", ".mat"), _bfm2009),
        ModelFormat("bfm2017", "Basel Face Model 2017/2019 .h5", _named("", ".h5"), _bfm2017),
        ModelFormat("flame", "FLAME 2020/2023 .pkl", _named("", ".pkl"), _flame),
        ModelFormat("eos", "Surrey Face Model, eos .bin", _named("", ".bin"), _eos),
        ModelFormat("ict", "ICT-FaceKit's folder of .obj", _is_ict, _ict),
        ModelFormat("makehuman", "MakeHuman's base.obj", _is_makehuman, _makehuman),
    ]


def _is_own(path: Path) -> bool:
    return path.is_file() and is_native(path)


def _named(part: str, suffix: str) -> Callable[[Path], bool]:
    def recognise(path: Path) -> bool:
        return path.is_file() and path.suffix.lower() == suffix and part in path.stem.lower()

    return recognise


def _is_ict(path: Path) -> bool:
    return (path / "generic_neutral_mesh.obj").is_file()


def _is_makehuman(path: Path) -> bool:
    return path.name == "base.obj" and path.is_file()


# A reader is imported when it is used: most of a command's runs need none of them.
def _deep3d(path: Path, _now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.deep3d import read_deep3d

    return read_deep3d(path)


def _bfm2009(path: Path, now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.bfm2009 import read_bfm2009

    return read_bfm2009(path, now7=now7)


def _bfm2017(path: Path, _now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.bfm2017 import read_bfm2017

    return read_bfm2017(path)


def _flame(path: Path, now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.flame import read_flame

    return read_flame(path, now7=now7)


def _eos(path: Path, now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.eos import read_eos

    return read_eos(path, now7=now7)


def _ict(path: Path, _now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.ict import read_ict

    return read_ict(path)


def _makehuman(path: Path, now7: Sequence[int] | None) -> MorphableModel:
    from facekit.morphable.makehuman import read_makehuman

    return read_makehuman(path, now7=now7)

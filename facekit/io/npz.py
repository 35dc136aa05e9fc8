"""Archives of plain arrays: .npz without pickles."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from facekit.errors import InputError


def read_npz(path: Path, *, what: str) -> dict[str, np.ndarray]:
    """Return every array of an .npz file; objects (pickles) are refused.

    Args:
        path: the file.
        what: how messages name what was expected, e.g. "a facekit model".

    Raises:
        InputError: no such file, no .npz, a damaged one, or one that holds objects.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected {what}, found no file")
    try:
        # numpy leaves a file that it opened itself open when the contents are no archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            if not isinstance(data, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: expected {what} (.npz), found a single array")
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected {what}, but it cannot be read ({error})") from error

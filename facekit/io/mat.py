"""MATLAB files of version 5 and 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facekit.errors import InputError


def read_mat(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read a MATLAB file and check that it has these variables.

    Raises:
        InputError: no such file, another format, or variables missing.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: expected a MATLAB file, found none")
    try:
        data = loadmat(str(path))
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        raise InputError(f"{path}: expected a MATLAB file of version 5 or 7 ({error})") from error
    missing = [key for key in keys if key not in data]
    if missing:
        raise InputError(f"{path}: expected the variables {', '.join(keys)}; missing {missing}")
    return data

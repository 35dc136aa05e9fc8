"""Shape, dtype and finiteness checks that always run (never ``assert``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.errors import InputError


def check_array(
    value: object,
    name: str,
    *,
    shape: Sequence[int | str | None] | None = None,
    dtype: str | None = None,
    finite: bool = True,
) -> np.ndarray:
    """Return ``value`` as an array after checking its shape, kind of dtype and finiteness.

    Args:
        value: anything ``numpy.asarray`` accepts.
        name: how the message names it.
        shape: expected sizes; an ``int`` must match, a ``str`` or ``None`` is free, and equal
            strings must have equal sizes. A leading ``"..."`` allows any batch shape.
        dtype: ``"float"``, ``"int"``, ``"bool"``, ``"uint8"`` or ``None`` for any.
        finite: reject NaN and infinities in floating arrays.

    Raises:
        InputError: with the expectation, what came, and the first offending index.
    """
    array = np.asarray(value)
    if shape is not None:
        _check_shape(array, name, list(shape))
    if dtype is not None and not _kind_matches(array, dtype):
        raise InputError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name}: expected finite numbers, got {array[first]} at index {first}")
    return array


def check_faces(faces: object, num_vertices: int, name: str = "faces") -> np.ndarray:
    """Return triangle indices as (F, 3) int32 after checking that each names a vertex."""
    array = check_array(faces, name, shape=("F", 3), dtype="int")
    if array.size and (array.min() < 0 or array.max() >= num_vertices):
        bad = int(array.max()) if array.max() >= num_vertices else int(array.min())
        raise InputError(
            f"{name}: expected vertex indices in [0, {num_vertices}), got {bad} "
            f"in face {int(np.argwhere((array < 0) | (array >= num_vertices))[0][0])}"
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def _kind_matches(array: np.ndarray, dtype: str) -> bool:
    if dtype == "float":
        return array.dtype.kind == "f"
    if dtype == "int":
        return array.dtype.kind in "iu"
    if dtype == "bool":
        return array.dtype.kind == "b"
    return array.dtype == np.dtype(dtype)


def _check_shape(array: np.ndarray, name: str, shape: list[int | str | None]) -> None:
    named, actual = shape, array.shape
    if shape and shape[0] == "...":
        shape = shape[1:]
        actual = actual[len(actual) - len(shape) :] if len(actual) >= len(shape) else ()
    names: dict[str, int] = {}
    matches = len(actual) == len(shape)
    for size, want in zip(actual, shape, strict=False):
        if isinstance(want, int):
            matches = matches and size == want
        elif isinstance(want, str):
            matches = matches and names.setdefault(want, size) == size
    if not matches:
        wanted = "(" + ", ".join("*" if s is None else str(s) for s in named) + ")"
        raise InputError(f"{name}: expected shape {wanted}, got {array.shape}")

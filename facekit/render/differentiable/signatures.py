"""Type signatures of kernels that exist in float32 and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

# Unsigned, so that an index needs no test for counting from the end.
INDEX1 = types.Array(types.uint32, 1, "C", readonly=True)
INDEX2 = types.Array(types.uint32, 2, "C", readonly=True)
LONG1 = types.Array(types.int64, 1, "C", readonly=True)
LONG2 = types.Array(types.int64, 2, "C", readonly=True)
LONG = types.int64
DOUBLE = types.float64


def read(dtype: Any, dimensions: int) -> Any:
    """A contiguous array that a kernel only reads."""
    return types.Array(dtype, dimensions, "C", readonly=True)


def write(dtype: Any, dimensions: int) -> Any:
    """A contiguous array that a kernel writes."""
    return types.Array(dtype, dimensions, "C")


def both(make: Callable[[Any], tuple[Any, ...]]) -> list[Any]:
    """Return the two signatures of a kernel whose argument types are ``make(float type)``."""
    return [types.void(*make(dtype)) for dtype in (types.float32, types.float64)]


# A product and a sum may become one instruction; nothing is reordered.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
}

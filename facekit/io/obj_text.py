"""Numbers out of an OBJ file's bytes, compiled: what nearly every OBJ file holds.

Scans have hundreds of thousands of lines, and reading them took longer than scoring them. What is
unusual (polygons, indices from the end, lines of different lengths, numbers with more digits than
a double holds exactly) is left to ``obj.read_obj``, which also names what is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

# A decimal number is exact in one rounding when its digits fit a double's 53 bits and its power
# of ten is one of these (W. Clinger, How to read floating point numbers accurately, 1990).
_POWERS = 10.0 ** np.arange(23)
_MOST_DIGITS = np.uint64(1 << 53)
_COLUMNS = 8
_SPACE, _NEWLINE, _RETURN, _TAB, _SLASH = 32, 10, 13, 9, 47
_MINUS, _PLUS, _DOT, _ZERO, _NINE, _LOWER_E, _UPPER_E = 45, 43, 46, 48, 57, 101, 69
_LOWER_V, _LOWER_F, _LOWER_T = 118, 102, 116


class ObjTables(NamedTuple):
    """What a plain file holds.

    Attributes:
        vertices: (V, 3 to 8) float64, every number of the vertex lines.
        uvs: (T, 2) float64, T may be 0.
        faces: (F, 3) int64 vertex numbers from 1.
        face_uvs: (F, 3) int64 texture numbers from 1, 0 where there is none.
    """

    vertices: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    face_uvs: np.ndarray


def read_tables(text: bytes) -> ObjTables | None:
    """Return the tables of a plain OBJ file, or None when something about it is unusual."""
    data = np.frombuffer(text, np.uint8)
    num_vertices, num_uvs, num_faces = _count_lines(data)
    if not num_vertices or not num_faces:
        return None
    vertices = np.empty((num_vertices, _COLUMNS))
    uvs = np.empty((num_uvs, _COLUMNS))
    faces = np.zeros((num_faces, 3), np.int64)
    face_uvs = np.zeros((num_faces, 3), np.int64)
    columns, uv_columns = _fill_tables(data, _POWERS, vertices, uvs, faces, face_uvs)
    if columns < 3 or (num_uvs and uv_columns < 2):
        return None
    return ObjTables(np.ascontiguousarray(vertices[:, :columns]), uvs[:, :2], faces, face_uvs)


_BYTES = numba.types.Array(numba.types.uint8, 1, "C", readonly=True)
_F64_1D, _F64_2D = numba.types.float64[::1], numba.types.float64[:, ::1]
_I64_2D = numba.types.int64[:, ::1]
_INT = numba.types.int64


@numba.njit(numba.types.UniTuple(_INT, 3)(_BYTES), nogil=True, cache=True)
def _count_lines(data):
    """Numbers of vertex, texture and face lines."""
    vertices = uvs = faces = 0
    start = True
    for i in range(data.shape[0] - 2):
        if start:
            if data[i] == _LOWER_V:
                if data[i + 1] == _SPACE:
                    vertices += 1
                elif data[i + 1] == _LOWER_T and data[i + 2] == _SPACE:
                    uvs += 1
            elif data[i] == _LOWER_F and data[i + 1] == _SPACE:
                faces += 1
        start = data[i] == _NEWLINE
    return vertices, uvs, faces


@numba.njit(nogil=True, cache=True)
def _number(data, powers, i):
    """Return (where the number ends or -1, its value)."""
    n = data.shape[0]
    negative = False
    if i < n and (data[i] == _MINUS or data[i] == _PLUS):
        negative = data[i] == _MINUS
        i += 1
    digits = np.uint64(0)
    power = 0
    some = False
    after = False
    while i < n:
        c = data[i]
        if _ZERO <= c <= _NINE:
            digits = digits * np.uint64(10) + np.uint64(c - _ZERO)
            if digits > _MOST_DIGITS:
                return -1, 0.0
            some = True
            if after:
                power -= 1
        elif c == _DOT and not after:
            after = True
        else:
            break
        i += 1
    if not some:
        return -1, 0.0
    if i < n and (data[i] == _LOWER_E or data[i] == _UPPER_E):
        i += 1
        down = False
        if i < n and (data[i] == _MINUS or data[i] == _PLUS):
            down = data[i] == _MINUS
            i += 1
        exponent = 0
        some = False
        while i < n and _ZERO <= data[i] <= _NINE:
            exponent = exponent * 10 + int(data[i]) - _ZERO
            some = True
            i += 1
            if exponent > 999:
                return -1, 0.0
        if not some:
            return -1, 0.0
        power += -exponent if down else exponent
    if digits == np.uint64(0):
        return i, -0.0 if negative else 0.0
    if power < -22 or power > 22:
        return -1, 0.0
    value = float(digits)
    value = value / powers[-power] if power < 0 else value * powers[power]
    return i, -value if negative else value


@numba.njit(nogil=True, cache=True)
def _skip_blanks(data, i):
    while i < data.shape[0] and (data[i] == _SPACE or data[i] == _TAB or data[i] == _RETURN):
        i += 1
    return i


@numba.njit(nogil=True, cache=True)
def _row(data, powers, i, row):
    """Read a line's numbers; return (where it ends or -1, how many there were)."""
    count = 0
    while True:
        i = _skip_blanks(data, i)
        if i >= data.shape[0] or data[i] == _NEWLINE:
            return i, count
        if count == row.shape[0]:
            return -1, 0
        i, value = _number(data, powers, i)
        if i < 0:
            return -1, 0
        if i < data.shape[0] and data[i] not in (_SPACE, _TAB, _RETURN, _NEWLINE):
            return -1, 0
        row[count] = value
        count += 1


@numba.njit(nogil=True, cache=True)
def _index(data, i):
    """Return (where a whole number ends or -1, it); only numbers from 1 are plain."""
    value = 0
    start = i
    while i < data.shape[0] and _ZERO <= data[i] <= _NINE and i - start < 12:
        value = value * 10 + int(data[i]) - _ZERO
        i += 1
    return (i, value) if value > 0 else (-1, 0)


@numba.njit(nogil=True, cache=True)
def _triangle(data, i, corners, uvs):
    """Read a face line; return where it ends, or -1 when it is no plain triangle."""
    for k in range(3):
        i, corners[k] = _index(data, _skip_blanks(data, i))
        if i < 0:
            return -1
        if i < data.shape[0] and data[i] == _SLASH:
            i += 1
            if i < data.shape[0] and data[i] != _SLASH:
                i, uvs[k] = _index(data, i)
                if i < 0:
                    return -1
            if i < data.shape[0] and data[i] == _SLASH:
                i, _normal = _index(data, i + 1)
                if i < 0:
                    return -1
    i = _skip_blanks(data, i)
    return i if i >= data.shape[0] or data[i] == _NEWLINE else -1


@numba.njit(
    numba.types.UniTuple(_INT, 2)(_BYTES, _F64_1D, _F64_2D, _F64_2D, _I64_2D, _I64_2D),
    nogil=True,
    cache=True,
)
def _fill_tables(data, powers, vertices, uvs, faces, face_uvs):
    """Fill the tables; return the columns of vertex and texture lines, (-1, -1) to give up."""
    n = data.shape[0]
    i = v = t = f = 0
    columns = uv_columns = 0
    while i < n:
        c = data[i]
        if c == _LOWER_V and i + 2 < n and data[i + 1] == _SPACE:
            i, count = _row(data, powers, i + 2, vertices[v])
            if i < 0 or (v > 0 and count != columns):
                return -1, -1
            columns = count
            v += 1
        elif c == _LOWER_V and i + 2 < n and data[i + 1] == _LOWER_T and data[i + 2] == _SPACE:
            i, count = _row(data, powers, i + 3, uvs[t])
            if i < 0 or (t > 0 and count != uv_columns):
                return -1, -1
            uv_columns = count
            t += 1
        elif c == _LOWER_F and i + 2 < n and data[i + 1] == _SPACE:
            i = _triangle(data, i + 2, faces[f], face_uvs[f])
            if i < 0:
                return -1, -1
            f += 1
        while i < n and data[i] != _NEWLINE:
            # A lone carriage return ends a line for Python's reader.
            if data[i] == _RETURN and (i + 1 == n or data[i + 1] != _NEWLINE):
                return -1, -1
            i += 1
        i += 1
    return columns, uv_columns

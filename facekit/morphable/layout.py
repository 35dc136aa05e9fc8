"""The coefficient vector of networks: named slices that labels, checkpoints and ONNX carry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.morphable.model import MorphableModel

SCHEMA = "facekit.layout/1"
NAMES = ("identity", "expression", "albedo", "rotation", "translation", "light")
_ROTATION, _TRANSLATION, _LIGHT = 6, 3, 27


@dataclass(frozen=True)
class CoefficientLayout:
    """Where each part of a face lies in a network's vector.

    Attributes:
        sizes: length of each of ``NAMES``, in that order: ``identity``, ``expression`` and
            ``albedo`` coefficients of the model, ``rotation`` and ``translation`` of
            ``geometry.crop_pose``, ``light`` (9, 3) row by row.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(NAMES) or min(self.sizes) < 0:
            raise InputError(f"layout: expected {len(NAMES)} lengths, got {self.sizes}")

    @property
    def length(self) -> int:
        """Length of the whole vector."""
        return sum(self.sizes)

    def part(self, name: str) -> slice:
        """Return a part's slice.

        Raises:
            InputError: an unknown name.
        """
        return part_of(name, NAMES, self.sizes)

    def pack(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the float32 vector (length,) of all parts.

        Raises:
            InputError: a part is missing or has another number of values.
        """
        vector = np.empty(self.length, np.float32)
        for name, size in zip(NAMES, self.sizes, strict=True):
            if name not in parts:
                raise InputError(f"layout: the part {name!r} is missing")
            flat = np.asarray(parts[name], np.float64).reshape(-1)
            vector[self.part(name)] = check_array(flat, name, shape=(size,))
        return vector

    def unpack(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parts of vectors (..., length); ``light`` as (..., 9, 3)."""
        values = np.asarray(vector)
        if values.shape[-1] != self.length:
            raise InputError(
                f"coefficients: expected vectors of {self.length}, got {values.shape[-1]}"
            )
        parts = {name: values[..., self.part(name)] for name in NAMES}
        parts["light"] = parts["light"].reshape(*values.shape[:-1], 9, 3)
        return parts

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON: the schema and each part's start and stop."""
        parts = {name: [self.part(name).start, self.part(name).stop] for name in NAMES}
        return {"schema": SCHEMA, "parts": parts}


def part_of(name: str, names: Sequence[str], sizes: Sequence[int]) -> slice:
    """Return where a part lies in a vector of parts one after the other.

    Raises:
        InputError: an unknown name.
    """
    if name not in names:
        raise InputError(f"layout: expected one of {', '.join(names)}, got {name!r}")
    index = names.index(name)
    start = sum(sizes[:index])
    return slice(start, start + sizes[index])


def model_layout(model: MorphableModel) -> CoefficientLayout:
    """Return the layout of a model's coefficients."""
    return CoefficientLayout(
        (
            model.num_identity,
            model.num_expression,
            model.num_albedo,
            _ROTATION,
            _TRANSLATION,
            _LIGHT,
        )
    )


def basis_sha256(model: MorphableModel) -> str:
    """Return the hash of what coefficients mean: mean, modes and triangles.

    Landmark maps and texts may change without it.
    """
    digest = hashlib.sha256()
    for array in (
        model.mean,
        model.identity_modes,
        model.expression_modes,
        model.albedo_modes,
        model.faces,
    ):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def layout_of_document(document: object, where: str) -> CoefficientLayout:
    """Return the layout that ``CoefficientLayout.document`` wrote.

    Args:
        document: the plain values.
        where: the file they come from, for messages.

    Raises:
        InputError: another schema, or parts that leave gaps.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise InputError(f"{where}: expected a coefficient layout of {SCHEMA}")
    parts = document.get("parts")
    if not isinstance(parts, Mapping) or set(parts) != set(NAMES):
        raise InputError(f"{where}: expected the parts {', '.join(NAMES)} in the layout")
    at, sizes = 0, []
    for name in NAMES:
        start, stop = (int(v) for v in parts[name])
        if start != at or stop < start:
            raise InputError(f"{where}: the layout's part {name!r} does not follow the one before")
        sizes.append(stop - start)
        at = stop
    return CoefficientLayout(tuple(sizes))


def mirrored_modes(
    modes: np.ndarray, mirror: np.ndarray, *, signs: tuple[int, int, int] = (-1, 1, 1)
) -> np.ndarray:
    """Return the matrix (K, K) that takes coefficients to those of the mirrored face.

    Args:
        modes: (K, V, 3) of a model that is symmetric about x = 0 as a whole.
        mirror: (V,) left-right partner of each vertex.
        signs: of the three values of a vertex in the mirror; (1, 1, 1) for colours.

    Raises:
        InputError: mirrored modes are no combinations of the modes (to 1 %).
    """
    count = len(modes)
    if not count:
        return np.zeros((0, 0))
    plain = modes.reshape(count, -1).T.astype(np.float64)
    turned = (modes[:, mirror] * np.array(signs)).reshape(count, -1).T
    matrix, *_ = np.linalg.lstsq(plain, turned, rcond=None)
    rest = np.linalg.norm(plain @ matrix - turned) / max(float(np.linalg.norm(turned)), 1e-12)
    if rest > 0.01:
        raise InputError(
            f"the model's modes: expected their mirror images among their combinations, "
            f"{100 * rest:.1f} % is left over"
        )
    return matrix

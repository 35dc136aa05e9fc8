"""FLAME 2020 and 2023: a pickle, read by an unpickler that can build arrays and nothing else.

T. Li et al., Learning a model of facial shape and expression from 4D scans, 2017. Lengths are
metres. The first 300 shape directions are identity, the rest expression. Pose correctives,
skinning and joints have no place in a linear model and are left out.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.morphable.foreign import foreign_model
from facekit.morphable.model import MorphableModel

NUM_IDENTITY = 300
_LICENCE = (
    "FLAME, Max Planck Institute for Intelligent Systems: see the licence of the version you"
    " downloaded."
)


def read_flame(
    path: Path, *, num_identity: int = NUM_IDENTITY, now7: Sequence[int] | None = None
) -> MorphableModel:
    """Read ``generic_model.pkl`` or its female and male twins.

    Args:
        path: the pickle. No code in it is run: names other than those of numpy arrays, scipy's
            sparse matrices and chumpy's array are refused.
        num_identity: how many of ``shapedirs`` are identity.
        now7: vertex numbers of NoW's seven points (``read_bfm2009`` has their order).

    Raises:
        InputError: no such file, not such a pickle, or one that asks for anything else.
    """
    data = read_arrays(path)
    missing = [key for key in ("v_template", "f", "shapedirs") if key not in data]
    if missing:
        raise InputError(f"{path}: expected a FLAME model; missing {missing}")
    mean = np.asarray(data["v_template"], np.float64)
    directions = np.asarray(data["shapedirs"], np.float64)
    if directions.ndim != 3 or directions.shape[:2] != mean.shape:
        raise InputError(f"{path}: expected shapedirs {(*mean.shape, 'K')}, got {directions.shape}")
    modes = np.moveaxis(directions, 2, 0)
    return foreign_model(
        f"flame_{path.stem}",
        mean,
        np.asarray(data["f"], np.int64),
        modes[:num_identity],
        expression=modes[num_identity:],
        now7=now7,
        millimetres=1000.0,
        licence=_LICENCE,
        provenance=f"read from {path.name}; without pose correctives and joints",
    )


def read_arrays(path: Path) -> dict[str, Any]:
    """Return a pickled dictionary's arrays, numbers and texts, running none of its code.

    Sparse matrices become dense arrays, chumpy arrays their values.

    Raises:
        InputError: no such file, no pickled dictionary, or one that names anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a pickled model, found no file")
    try:
        with path.open("rb") as stream:
            data = _ArrayUnpickler(stream, encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected a pickled model ({error})") from error
    except (IndexError, KeyError) as error:
        raise InputError(f"{path}: expected a whole pickled model ({error!r})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a pickled dictionary, got {type(data).__name__}")
    return {str(key): _plain(value) for key, value in data.items()}


class _Record:
    """Stands for an object of another library: keeps its state, has no behaviour."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Chumpy(_Record):
    """chumpy's array: its values are in ``x``."""


class _Sparse(_Record):
    """A compressed sparse matrix of scipy."""


class _SparseRow(_Sparse):
    """csr_matrix."""


class _SparseColumn(_Sparse):
    """csc_matrix."""


def _reconstruct(kind: type, _base: type, _state: Any) -> Any:
    """Python 2's object protocol, for the stand-ins alone."""
    if not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise InputError("the pickle asks to build an object that is no array")
    return kind()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few names that arrays need; refuse every other."""
        root = module.split(".")[0]
        if root == "numpy":
            allowed = {
                "_reconstruct": np.ndarray.__reduce__(np.zeros(0))[0],
                "ndarray": np.ndarray,
                "dtype": np.dtype,
                "scalar": np.float64(0).__reduce__()[0],
                "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
            }
            if name in allowed:
                return allowed[name]
        if root == "chumpy" and name == "Ch":
            return _Chumpy
        if root == "scipy" and name in ("csc_matrix", "csc_array"):
            return _SparseColumn
        if root == "scipy" and name in ("csr_matrix", "csr_array"):
            return _SparseRow
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _reconstruct
        if (module, name) in (("__builtin__", "object"), ("builtins", "object")):
            return object
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        raise InputError(f"the pickle asks for {module}.{name}, which is no array; it was not run")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references out of the file."""
        raise InputError(f"the pickle refers to something outside itself ({pid!r})")


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 pickles bytes for old protocols."""
    if encoding.lower().replace("-", "") not in ("latin1", "iso88591"):
        raise InputError(f"the pickle asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _plain(value: Any) -> Any:
    if isinstance(value, _Chumpy):
        state = value.state if isinstance(value.state, dict) else {}
        if "x" not in state:
            raise InputError("chumpy array: expected plain values 'x'; it is a formula")
        return _plain(state["x"])
    if isinstance(value, _Sparse):
        return _dense(value)
    return value


def _dense(value: _Sparse) -> np.ndarray:
    import scipy.sparse as sp

    state = value.state if isinstance(value.state, dict) else {}
    shape = state.get("_shape", state.get("shape"))
    try:
        parts = (state["data"], state["indices"], state["indptr"])
        kind = sp.csc_matrix if isinstance(value, _SparseColumn) else sp.csr_matrix
        return kind(parts, shape=shape).toarray()
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"sparse matrix: expected data, indices and indptr ({error})") from error

"""AFLW2000-3D on disk: its truth, and 68 predicted points for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.io.landmark_files import read_landmarks
from facekit.io.mat import read_mat
from facekit.io.npz import read_npz
from facekit.io.sidecar import read_points

TRUTHS = ("original", "reannotated")
# Files of the widely used test configuration, by what they hold.
_ARRAYS = {
    "original": "AFLW2000-3D.pts68.npy",
    "reannotated": "AFLW2000-3D-Reannotated.pts68.npy",
    "pose": "AFLW2000-3D.pose.npy",
    "roi": "AFLW2000-3D_crop.roi_box.npy",
}
_SUFFIXES = (".json", ".npz", ".npy", ".pts", ".txt")


@dataclass(frozen=True, eq=False)
class AflwTruth:
    """The data set's truth, one face an image.

    Attributes:
        names: N image stems.
        points: by ``original`` or ``reannotated``: (N, 68, 2 or 3) pixels as in the files.
        yaw_deg: (N,).
        roi: (N, 4) left, top, right, bottom of the crop that a network saw, or None.
    """

    names: tuple[str, ...]
    points: dict[str, np.ndarray]
    yaw_deg: np.ndarray
    roi: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)


def read_aflw(root: Path) -> AflwTruth:
    """Read the truth from a folder.

    Either the data set's own ``.mat`` files (``pt3d_68``, ``Pose_Para``), with the reannotated
    array beside them if there is one, or the arrays ``AFLW2000-3D.pts68.npy``,
    ``AFLW2000-3D-Reannotated.pts68.npy``, ``AFLW2000-3D.pose.npy`` (degrees) and
    ``AFLW2000-3D_crop.roi_box.npy``, with a ``.list`` of images in their order. Without a list
    images are known by their number from 0.

    Raises:
        InputError: no such folder, no truth in it, or arrays that do not fit together.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected AFLW2000-3D's folder, found none")
    arrays = {key: _find(root, name) for key, name in _ARRAYS.items()}
    mats = sorted(p for p in root.rglob("*.mat") if not p.name.startswith("."))
    names: tuple[str, ...]
    points: dict[str, np.ndarray] = {}
    if mats:
        faces = [_read_mat(path) for path in mats]
        names = tuple(path.stem for path in mats)
        points["original"] = np.stack([face[0] for face in faces])
        yaw = np.array([face[1] for face in faces])
    elif arrays["original"] is not None and arrays["pose"] is not None:
        points["original"] = _points(arrays["original"])
        yaw = _load(arrays["pose"]).astype(np.float64).ravel()
        names = _names(root, len(yaw))
    else:
        raise InputError(
            f"{root}: expected AFLW2000-3D's .mat files, or {_ARRAYS['original']} with "
            f"{_ARRAYS['pose']}; found neither"
        )
    if arrays["reannotated"] is not None:
        points["reannotated"] = _points(arrays["reannotated"])
    roi = None if arrays["roi"] is None else _load(arrays["roi"]).astype(np.float64)
    for key, table in {**points, "yaw": yaw, "roi": yaw if roi is None else roi}.items():
        if len(table) != len(names):
            raise InputError(f"{root}: {key}: expected {len(names)} images, got {len(table)}")
    if roi is not None and roi.shape[1:] != (4,):
        raise InputError(f"{root}: roi boxes: expected shape (N, 4), got {roi.shape}")
    return AflwTruth(names, points, yaw, roi)


class AflwPredictions:
    """68 points an image, from one array or from a file (or fit folder) each."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """Open predictions.

        Args:
            path: ``.npy`` of (N, 68, 2 or 3) or (N, 2 or 3, 68) in the truth's order; or a folder
                with ``STEM.json`` (``facekit landmarks``), ``.npz``, ``.npy``, ``.pts`` or
                ``.txt``, or ``STEM/params.npz`` of ``facekit fit``.
            names: the images.

        Raises:
            InputError: no such path, an array of another shape, or a folder without predictions.
        """
        self._path = path
        self._rows: dict[str, np.ndarray] | None = None
        self.strangers: tuple[str, ...] = ()
        if path.is_file():
            table = _points(path)
            if len(table) != len(names):
                raise InputError(f"{path}: expected {len(names)} predictions, got {len(table)}")
            self._rows = dict(zip(names, table, strict=True))
        elif path.is_dir():
            files = [p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file()]
            folders = [p.parent for p in path.glob("*/params.npz")]
            found = {p.stem for p in files} | {p.name for p in folders}
            found -= {"manifest", "failures", "summary", "report"}
            if not found:
                raise InputError(f"{path}: expected predictions {' '.join(_SUFFIXES)}, found none")
            self.strangers = tuple(sorted(found - set(names)))
        else:
            raise InputError(f"{path}: expected an array or a folder of predictions, found none")

    def points(self, name: str) -> np.ndarray:
        """Return an image's (68, 2 or 3) points.

        Raises:
            ItemError: there are none, or they are not 68 finite points.
        """
        table = self._rows[name] if self._rows is not None else self._read(name)
        if table.shape not in ((68, 2), (68, 3)):
            raise ItemError(f"expected 68 points, got shape {table.shape}")
        if not np.isfinite(table).all():
            row = int(np.argwhere(~np.isfinite(table))[0][0])
            raise ItemError(f"point {row} is not finite")
        return table.astype(np.float64)

    def _read(self, name: str) -> np.ndarray:
        places = [self._path / f"{name}{suffix}" for suffix in _SUFFIXES]
        places.append(self._path / name / "params.npz")
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise ItemError(
                "no prediction was found: expected a file of this name "
                f"({' '.join(_SUFFIXES)}), or a folder of 'facekit fit' of this name"
            )
        try:
            return _prediction(path)
        except (FacekitError, OSError, ValueError, EOFError) as error:
            raise ItemError(f"{path}: {error}") from error


def _prediction(path: Path) -> np.ndarray:
    if path.suffix == ".json":
        faces = [face for face in read_landmarks(path) if face.ibug68 is not None]
        if not faces:
            raise ItemError("no face with 68 landmarks")
        return np.asarray(faces[0].ibug68)
    if path.suffix == ".npz":
        values = read_npz(path, what="68 points")
        key = next((k for k in ("points", "ibug68", "landmarks_2d") if k in values), None)
        if key is None:
            raise ItemError("expected one of the arrays points, ibug68, landmarks_2d")
        return _upright(values[key])
    if path.suffix == ".npy":
        return _upright(np.load(path, allow_pickle=False))
    if path.suffix == ".txt":
        return np.loadtxt(path, dtype=np.float64, ndmin=2)
    return read_points(path)["ibug68"]


def _find(root: Path, name: str) -> Path | None:
    return next(iter(sorted(root.rglob(name))), None)


def _load(path: Path) -> np.ndarray:
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected an array ({error})") from error
    if table.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers, got {table.dtype}")
    return np.asarray(table)


def _upright(table: np.ndarray) -> np.ndarray:
    """Return points as rows: (..., 68, D) also of (..., D, 68)."""
    array = np.asarray(table)
    if array.ndim >= 2 and array.shape[-1] == 68 and array.shape[-2] in (2, 3):
        return np.swapaxes(array, -1, -2)
    return array


def _points(path: Path) -> np.ndarray:
    table = _upright(_load(path)).astype(np.float64)
    if table.ndim != 3 or table.shape[1] != 68 or table.shape[2] not in (2, 3):
        raise InputError(f"{path}: expected shape (N, 68, 2 or 3), got {table.shape}")
    return table


def _names(root: Path, count: int) -> tuple[str, ...]:
    lists = sorted(root.rglob("*.list"))
    for path in lists:
        rows = [
            Path(line.split()[0]).stem for line in path.read_text().splitlines() if line.strip()
        ]
        if len(rows) == count:
            return tuple(rows)
    if lists:
        raise InputError(f"{lists[0]}: expected a list of {count} images")
    return tuple(str(i) for i in range(count))


def _read_mat(path: Path) -> tuple[np.ndarray, float]:
    """Return (68, 3) points and the yaw in degrees of one of the data set's files."""
    values = read_mat(path, ("pt3d_68", "Pose_Para"))
    points, pose = (values[key] for key in ("pt3d_68", "Pose_Para"))
    if points.dtype.kind not in "fiu" or pose.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected numbers in pt3d_68 and Pose_Para")
    points, pose = points.astype(np.float64), pose.astype(np.float64).ravel()
    if points.shape != (3, 68) or len(pose) < 3 or not np.isfinite(points).all():
        raise InputError(f"{path}: expected pt3d_68 of shape (3, 68), got {points.shape}")
    return points.T, float(np.degrees(pose[1]))

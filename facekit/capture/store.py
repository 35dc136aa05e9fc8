"""What a reconstruction keeps between its stages: depth maps and clouds in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.capture.depth import DepthMap
from facekit.capture.fusion import PointCloud
from facekit.io.atomic import atomic_path
from facekit.io.npz import read_npz
from facekit.types import Mesh


def write_depth_map(path: Path, depth: DepthMap) -> Path:
    """Write a depth map, cropped to what it holds.

    Keys: ``planes``, ``score``, ``deviation`` of the crop, its ``corner`` (row, column) and the
    picture's ``shape``.
    """
    rows, columns = np.nonzero(depth.planes[..., 0])
    corner = np.array([rows.min(), columns.min()] if len(rows) else [0, 0])
    stop = np.array([rows.max() + 1, columns.max() + 1] if len(rows) else [0, 0])
    crop = np.s_[corner[0] : stop[0], corner[1] : stop[1]]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            planes=depth.planes[crop],
            score=depth.score[crop].astype(np.float16),
            deviation=depth.deviation[crop],
            corner=corner,
            shape=np.array(depth.score.shape),
        )
    return path


def read_depth_map(path: Path) -> DepthMap:
    """Read what ``write_depth_map`` wrote.

    Raises:
        InputError: no such file.
    """
    data = read_npz(path, what="a depth map")
    height, width = (int(v) for v in data["shape"])
    full = DepthMap(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.zeros((height, width), np.float32),
    )
    top, left = (int(v) for v in data["corner"])
    rows, columns = data["score"].shape
    for whole, name in zip(full, ("planes", "score", "deviation"), strict=True):
        whole[top : top + rows, left : left + columns] = data[name]
    return full


def write_cloud(path: Path, cloud: PointCloud) -> Path:
    """Write a cloud as ``.npz`` with the fields' names."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **cloud._asdict())
    return path


def read_cloud(path: Path) -> PointCloud:
    """Read what ``write_cloud`` wrote."""
    data = read_npz(path, what="a cloud of points")
    return PointCloud(*(data[name] for name in PointCloud._fields))


def write_surface(path: Path, mesh: Mesh) -> Path:
    """Write a coloured surface as ``.npz``, in double precision."""
    colours = np.zeros((0, 3), np.float32) if mesh.colours is None else mesh.colours
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, vertices=mesh.vertices, faces=mesh.faces, colours=colours)
    return path


def read_surface(path: Path) -> Mesh:
    """Read what ``write_surface`` wrote."""
    data = read_npz(path, what="a surface")
    colours = data["colours"] if len(data["colours"]) else None
    return Mesh(data["vertices"], data["faces"], colours=colours)

"""Poisson surface reconstruction by open3d: the one module that imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from facekit.capture.fusion import PointCloud
from facekit.errors import InputError, MissingDependencyError
from facekit.geometry.mesh import submesh
from facekit.threads import num_threads
from facekit.types import Mesh


def require_open3d() -> Any:
    """Return the open3d module.

    Raises:
        MissingDependencyError: it, or a system library it needs, is missing.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"--surface poisson needs open3d ({error}): pip install 'facekit[scan]'; on Linux it "
            "also needs libGL and libX11 (apt-get install libgl1 libx11-6); --surface tsdf needs "
            "neither"
        ) from error
    return open3d


def poisson_surface(cloud: PointCloud, *, voxel: float, trim: float = 2.5) -> Mesh:
    """Return the Poisson surface of a cloud, trimmed to where points are.

    Args:
        cloud: the points.
        voxel: size of the finest cells, mm; the tree's depth follows from it (at most 11).
        trim: vertices farther than this many voxels from every point are cut off.

    Raises:
        InputError: no points. MissingDependencyError: open3d is missing.

    Source: M. Kazhdan, H. Hoppe, Screened Poisson surface reconstruction, 2013.
    """
    open3d = require_open3d()
    if not len(cloud.points):
        raise InputError("surface: expected points, got none")
    extent = float(np.ptp(cloud.points, axis=0).max()) * 1.1
    depth = int(np.clip(np.ceil(np.log2(extent / voxel)), 5, 11))
    points = open3d.geometry.PointCloud()
    points.points = open3d.utility.Vector3dVector(cloud.points.astype(np.float64))
    points.normals = open3d.utility.Vector3dVector(cloud.normals.astype(np.float64))
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        surface, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
            points, depth=depth, n_threads=num_threads()
        )
    vertices = np.asarray(surface.vertices)
    faces = np.ascontiguousarray(np.asarray(surface.triangles), np.int32)
    near, _ = cKDTree(cloud.points).query(vertices, distance_upper_bound=trim * voxel)
    rows, faces = submesh(faces, np.isfinite(near))
    return Mesh(vertices[rows], faces)

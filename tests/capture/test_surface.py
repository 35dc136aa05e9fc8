import numpy as np
import pytest

from facekit.capture.fusion import PointCloud
from facekit.capture.poisson import poisson_surface
from facekit.capture.surface import distance_surface, largest_parts
from facekit.errors import InputError
from facekit.geometry.mesh import boundary_vertices, connected_components
from facekit.threads import limit_threads
from facekit.types import Mesh

RADIUS = 20.0


def ball(count=20_000, *, noise=0.0, half=False):
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    if half:
        normals[:, 2] = np.abs(normals[:, 2])
    points = normals * (RADIUS + rng.normal(0, noise, (count, 1)) if noise else RADIUS)
    return PointCloud(
        points.astype(np.float32),
        normals.astype(np.float32),
        np.full((count, 3), 0.5, np.float32),
        np.full(count, 0.05, np.float32),
        np.full(count, 3, np.int32),
    )


def signed_volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return np.einsum("fc,fc->f", a, np.cross(b, c)).sum() / 6


def test_a_ball_is_closed_faces_outwards_and_has_its_size():
    mesh = distance_surface(ball(), voxel=1.0)
    assert not boundary_vertices(mesh.faces, len(mesh.vertices)).any()
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    # Tangent planes lie outside a ball: the mean distance is off by about width^2 / radius.
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS).max() < 0.12


def test_noise_is_averaged_away():
    mesh = distance_surface(ball(100_000, noise=0.3), voxel=1.0)
    assert np.std(np.linalg.norm(largest_parts(mesh).vertices, axis=1)) < 0.1


def test_where_there_are_no_points_there_is_no_surface():
    mesh = distance_surface(ball(half=True), voxel=1.0)
    assert mesh.vertices[:, 2].min() > -3
    assert boundary_vertices(mesh.faces, len(mesh.vertices)).any()
    assert signed_volume(mesh) > 0


def test_a_large_grid_takes_larger_cells():
    coarse = distance_surface(ball(), voxel=0.5, voxels_at_most=40_000)
    assert len(coarse.vertices) < 6000
    with pytest.raises(InputError, match="expected points"):
        distance_surface(PointCloud(*(column[:0] for column in ball(10))), voxel=1.0)


def test_small_parts_are_dropped():
    big = distance_surface(ball(), voxel=1.5)
    crumb = np.array([[90, 0, 0], [91, 0, 0], [90, 1, 0]], float)
    both = Mesh(
        np.vstack([big.vertices, crumb]),
        np.vstack([big.faces, len(big.vertices) + np.arange(3, dtype=np.int32)[None]]),
    )
    kept = largest_parts(both)
    assert len(kept.vertices) == len(big.vertices)
    assert connected_components(kept.faces, len(kept.vertices)).max() == 0


def test_poisson_gives_the_same_ball():
    pytest.importorskip("open3d", reason="open3d is not installed: pip install 'facekit[scan]'")
    # Its threads wait for each other by spinning, which is slow on a busy machine.
    with limit_threads(1):
        mesh = poisson_surface(ball(8000), voxel=1.5)
        half = poisson_surface(ball(8000, half=True), voxel=1.5)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)
    assert half.vertices[:, 2].min() > -5

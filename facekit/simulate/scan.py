"""What a scanner makes of a head of known shape: its outer surface, resampled, noisy, with holes.

A stand-in for images, dense matching and fusion where only the effect of their errors matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.mesh import mesh_edges, submesh, vertex_normals
from facekit.geometry.rotations import euler_to_matrix
from facekit.render.rasterise import Workspace, rasterise
from facekit.simulate.noise import solid_noise
from facekit.types import Mesh

_PICTURE = 800
# Far enough that the picture is nearly parallel; the focal length follows from the head's size.
_DISTANCE_MM = 3000.0


@dataclass(frozen=True)
class ScanOptions:
    """How a scan differs from the surface.

    Attributes:
        yaws_deg, pitches_deg: where cameras stand; the surface seen by two of them is kept.
        noise_mm: deviation of independent noise along the normals.
        bumps_mm: size of smooth noise, of the width ``bump_size_mm``.
        holes: how many holes; hole_mm: their largest radius.
        refine: how often each triangle is split into four.
    """

    yaws_deg: tuple[float, ...] = (-100.0, -75.0, -50.0, -25.0, 0.0, 25.0, 50.0, 75.0, 100.0)
    pitches_deg: tuple[float, ...] = (-35.0, 0.0, 30.0)
    noise_mm: float = 0.05
    bumps_mm: float = 0.1
    bump_size_mm: float = 8.0
    holes: int = 6
    hole_mm: float = 8.0
    refine: int = 2

    def __post_init__(self) -> None:
        sizes = (self.noise_mm, self.bumps_mm, self.hole_mm, self.holes, self.refine)
        if min(sizes) < 0 or self.bump_size_mm <= 0:
            raise InputError(f"scan: expected sizes that are not negative, got {self}")


class SimulatedScan(NamedTuple):
    """A scan and what it was made of.

    Attributes:
        mesh: the scan, mm, its vertices in random order.
        seen: (V,) bool, the head's own vertices that are on the scan (holes included).
    """

    mesh: Mesh
    seen: np.ndarray


def simulate_scan(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    options: ScanOptions | None = None,
    seed: int = 0,
) -> SimulatedScan:
    """Scan a head: what cameras around it see, refined, with noise and holes.

    Args:
        vertices: (V, 3) mm, head frame (+Y up, +Z out of the face).
        faces: (F, 3).
        options: of the scan.
        seed: of noise and holes.

    Raises:
        InputError: bad shapes, or nothing of the head is seen.
    """
    chosen = options or ScanOptions()
    points = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    triangles = check_faces(faces, len(points))
    fine, split = points, triangles
    for _ in range(chosen.refine):
        fine, split = split_triangles(fine, split)
    keep = _seen(fine, split, chosen)
    rng = np.random.default_rng(seed)
    normals = vertex_normals(fine, split).astype(np.float64)
    away = rng.normal(0.0, chosen.noise_mm, len(fine)) if chosen.noise_mm else np.zeros(len(fine))
    size, strength = chosen.bump_size_mm, chosen.bumps_mm
    away += strength * solid_noise(fine, size=size, seed=seed, octaves=2)
    centres = rng.choice(np.flatnonzero(keep), chosen.holes) if keep.any() else ()
    seen = keep[: len(points)].copy()
    for centre in centres:
        radius = rng.uniform(0.4, 1.0) * chosen.hole_mm
        keep &= ((fine - fine[centre]) ** 2).sum(axis=1) > radius**2
    rows, kept = submesh(split, keep)
    if not len(kept):
        raise InputError("scan: expected a head that cameras around it see, but nothing was seen")
    used = np.unique(kept)
    number = rng.permutation(len(used))
    lookup = np.zeros(len(rows), np.int32)
    lookup[used] = number
    scan = np.empty((len(used), 3))
    scan[number] = (fine + away[:, None] * normals)[rows[used]]
    return SimulatedScan(Mesh(scan.astype(np.float32), lookup[kept]), seen)


def split_triangles(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same surface with each triangle split into four at its edges' middles.

    Old vertices keep their numbers; the children of face f are 4 f to 4 f + 3.
    """
    edges = mesh_edges(faces)
    middle = len(vertices) + edges.face_edges
    a, b, c = np.asarray(faces).T
    ab, bc, ca = middle.T
    fine = np.concatenate([vertices, vertices[edges.vertices].mean(axis=1)])
    children = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1)
    return fine, children.reshape(-1, 3).astype(np.int32)


def _seen(points: np.ndarray, faces: np.ndarray, options: ScanOptions) -> np.ndarray:
    """Return (V,) whether at least two cameras see a face of the vertex."""
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    focal = 0.49 * _PICTURE * _DISTANCE_MM / radius
    count = np.zeros(len(points), np.int32)
    space = Workspace()
    for yaw in options.yaws_deg:
        for pitch in options.pitches_deg:
            turn = euler_to_matrix(np.radians(yaw), np.radians(pitch), 0.0)
            x, y, z = ((points - centre) @ turn.T).T
            depth = _DISTANCE_MM - z
            half = 0.5 * (_PICTURE - 1)
            pixels = np.stack([half + focal * x / depth, half - focal * y / depth, depth], axis=1)
            fragments = rasterise(pixels, faces, _PICTURE, _PICTURE, workspace=space)
            face = np.unique(fragments.triangle[fragments.covered])
            count[np.unique(faces[face])] += 1
    return count >= 2

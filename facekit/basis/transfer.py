"""Expressions carried from one head to another as deformations of triangles."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.mesh import connected_components

_FIRM, _SOFT = 1e3, 1e-8


class DeformationTransfer:
    """Transfers deformations of a source head to a target head of the same topology.

    A triangle's deformation is the linear map that takes its two edges and its scaled normal from
    the source's rest to its deformed shape. The target's vertices are those whose triangles'
    maps come closest, in least squares, to the source's. In each connected part, the vertices
    that the deformation leaves in place on the source stay in place on the target; where it
    leaves none, the part's mean moves as on the source.

    Args:
        source, target: (V, 3) rest shapes, mm.
        faces: (F, 3).

    Raises:
        InputError: bad shapes, or triangles without area.

    Source: R. Sumner, J. Popovic, Deformation transfer for triangle meshes, 2004, section 3, with
    the fourth vertex of each triangle eliminated (M. Botsch et al., Deformation transfer for
    detail-preserving surface editing, 2006).
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, faces: np.ndarray) -> None:
        self.source = check_array(source, "source", shape=("V", 3)).astype(np.float64)
        self.target = check_array(target, "target", shape=self.source.shape).astype(np.float64)
        self.faces = check_faces(faces, len(self.source))
        self._inverse = np.linalg.inv(_frames(self.source, self.faces, "source"))
        gradient = _gradient(self.target, self.faces)
        area = np.repeat(0.5 * np.linalg.norm(_cross(self.target, self.faces), axis=1), 3)
        self._right = (gradient.T * area).tocsr()
        self._normal = (self._right @ gradient).tocsc()
        self._parts = connected_components(self.faces, len(self.source))

    def transfer(self, deformed: np.ndarray, *, still_mm: float = 1e-3) -> np.ndarray:
        """Return the target's vertices (V, 3) float64 for the source's deformed ones (V, 3).

        Args:
            deformed: (V, 3) mm.
            still_mm: vertices of the source that move less stay in place.
        """
        shape = check_array(deformed, "deformed", shape=self.source.shape).astype(np.float64)
        maps = _frames(shape, self.faces, "deformed") @ self._inverse
        goal = maps.transpose(0, 2, 1).reshape(-1, 3)
        moved = shape - self.source
        fixed = np.linalg.norm(moved, axis=1) <= still_mm
        # Ties to vertices that stay outweigh any triangle; one soft tie of every vertex holds a
        # part of which nothing stays without bending it.
        strength = np.where(fixed, _FIRM, 0.0)
        place = self.target + np.where(fixed[:, None], moved, 0.0)
        for part in np.unique(self._parts):
            rows = self._parts == part
            if not fixed[rows].any():
                strength[rows] = _SOFT
                place[rows] = self.target[rows] + moved[rows].mean(axis=0)
        system = self._normal + sp.diags_array(strength)
        right = self._right @ goal + strength[:, None] * place
        factor = splu(
            system.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        found = factor.solve(right)
        for part in np.unique(self._parts):
            rows = self._parts == part
            if not fixed[rows].any():
                wanted = (self.target + moved)[rows].mean(axis=0)
                found[rows] += wanted - found[rows].mean(axis=0)
        return found


def _cross(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _frames(vertices: np.ndarray, faces: np.ndarray, name: str) -> np.ndarray:
    """Return (F, 3, 3): two edges and the normal over the root of its length, as columns."""
    corners = vertices[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    if length.min() <= 1e-12:
        raise InputError(
            f"deformation transfer: triangle {int(length.argmin())} of the {name} has no area"
        )
    return np.stack([first, second, normal / np.sqrt(length)], axis=2)


def _gradient(vertices: np.ndarray, faces: np.ndarray) -> sp.csr_array:
    """Return (3 F, V): rows 3 f to 3 f + 2 read the transposed map of triangle f off vertices.

    The map's normal part is left to least squares of the two edges (the fourth vertex of the
    source's formulation is eliminated): with E = [e1 e2] = Q R, the map is [x1 x2] R^-1 Q^T.
    """
    corners = vertices[faces]
    edges = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=2)
    gram = np.einsum("fdi,fdj->fij", edges, edges)
    if np.linalg.det(gram).min() <= 1e-24:
        raise InputError("deformation transfer: a triangle of the target has no area")
    inverse = np.einsum("fij,fdj->fid", np.linalg.inv(gram), edges)
    count = len(faces)
    blocks = np.empty((count, 3, 3))
    blocks[:, :, 1:] = inverse.transpose(0, 2, 1)
    blocks[:, :, 0] = -blocks[:, :, 1:].sum(axis=2)
    rows = np.repeat(np.arange(3 * count), 3)
    columns = np.repeat(faces, 3, axis=0).ravel()
    return sp.csr_array((blocks.ravel(), (rows, columns)), shape=(3 * count, len(vertices)))

"""Sample points of a model's skin with what their colours depend on: place and normal.

A vertex normal is the direction of the summed cross products of the faces about the vertex, so
it depends on the vertex and its neighbours alone. A patch keeps those rows of the model's modes,
and turns derivatives with respect to places and normals into derivatives with respect to the
coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numba import types

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.mesh import vertex_faces
from facekit.morphable.model import MorphableModel
from facekit.threads import run_ranges

# What does not look like skin: nothing there is sampled.
_LEFT_OUT = ("eyes", "mouth", "nostrils", "eyelid_rim", "lip_rim", "ears", "neck", "scalp")
# Two threads pay for themselves from about this many sample points each.
_MIN_SAMPLES = 150


@dataclass(frozen=True, eq=False)
class SurfacePatch:
    """Vertices of a model that are compared with a photograph.

    Attributes:
        samples: (N,) int32 vertices of the model, ascending.
        support: (S,) int32 the samples and their neighbours, ascending.
        mean: (S, 3) float64, mm.
        modes: (S, 3 * P) float64, mm per coefficient, identity first; coordinate-major, so that
            ``modes.reshape(S, 3, P)``.
        row_offsets: (N + 1,) int32 into ``row_index``; row_index: rows of ``support`` that a
            sample's normal depends on, the sample itself first.
        ring_offsets: (N + 1,) int32 into ``ring``; ring: (T, 2) int32, for each face about a
            sample its other two corners, as positions in the sample's own list of rows.
        num_coefficients: P.
    """

    samples: np.ndarray
    support: np.ndarray
    mean: np.ndarray
    modes: np.ndarray
    row_offsets: np.ndarray
    row_index: np.ndarray
    ring_offsets: np.ndarray
    ring: np.ndarray
    num_coefficients: int

    @cached_property
    def own(self) -> np.ndarray:
        """(N,) rows of ``support`` that are the samples."""
        return self.row_index[self.row_offsets[:-1]]

    @cached_property
    def _flat(self) -> np.ndarray:
        return self.modes.reshape(-1, self.num_coefficients)

    def points(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the support's points (S, 3), head frame, for coefficients (P,)."""
        return self.mean + (self._flat @ coefficients).reshape(-1, 3)

    def normals(self, points: np.ndarray) -> np.ndarray:
        """Return the samples' normals (N, 3) times twice the area of the faces about them.

        Args:
            points: (S, 3) of the support.
        """
        out = np.empty((len(self.samples), 3))
        _normals(points, self.row_offsets, self.row_index, self.ring_offsets, self.ring, out)
        return out

    def pull_back(
        self, points: np.ndarray, by_place: np.ndarray, by_normal: np.ndarray
    ) -> np.ndarray:
        """Return the derivatives of N scalars with respect to the coefficients, (N, P).

        Args:
            points: (S, 3) of the support.
            by_place: (N, 3) derivative of scalar n with respect to sample n's place.
            by_normal: (N, 3) derivative with respect to its unscaled normal, as ``normals``
                returns it. Both in the head frame.
        """
        out = np.empty((len(self.samples), self.num_coefficients))
        place = np.ascontiguousarray(by_place, np.float64)
        normal = np.ascontiguousarray(by_normal, np.float64)
        run_ranges(
            lambda start, stop: _pull_back(
                points,
                self.row_offsets,
                self.row_index,
                self.ring_offsets,
                self.ring,
                place,
                normal,
                self.modes,
                out,
                start,
                stop,
            ),
            len(self.samples),
            min_chunk=_MIN_SAMPLES,
        )
        return out


def build_patch(model: MorphableModel, *, count: int = 1000) -> SurfacePatch:
    """Spread sample points evenly over the skin of a model's face.

    Takes the ``face`` region (the whole head without one) but eyes, mouth, nostrils and rims, and
    then one vertex after the other that lies farthest from those taken (Gonzalez, Clustering to
    minimize the maximum intercluster distance, 1985).

    Args:
        model: the morphable model.
        count: sample points; a face with fewer vertices gives them all.

    Raises:
        InputError: the model has fewer than 20 such vertices.
    """
    region = model.regions.get("face", np.ones(model.num_vertices, bool)).copy()
    for name in _LEFT_OUT:
        region &= ~model.regions.get(name, np.zeros(model.num_vertices, bool))
    # A vertex at a region's border has its whole ring: only an open border of the mesh lacks one.
    offsets, ids = vertex_faces(model.faces, model.num_vertices)
    region &= np.diff(offsets) > 2
    candidates = np.flatnonzero(region)
    if len(candidates) < 20:
        raise InputError(
            f"model {model.name}: expected at least 20 vertices of facial skin to compare with a "
            f"photograph, got {len(candidates)}"
        )
    chosen = candidates[spread(model.mean[candidates], min(count, len(candidates)))]
    return patch_of(model, np.sort(chosen), offsets, ids)


def patch_of(
    model: MorphableModel,
    samples: np.ndarray,
    offsets: np.ndarray | None = None,
    face_ids: np.ndarray | None = None,
) -> SurfacePatch:
    """Make the patch of given vertices (N,) of a model."""
    if offsets is None or face_ids is None:
        offsets, face_ids = vertex_faces(model.faces, model.num_vertices)
    rows: list[np.ndarray] = []
    rings: list[np.ndarray] = []
    for vertex in samples:
        faces = model.faces[face_ids[offsets[vertex] : offsets[vertex + 1]]]
        first = np.argmax(faces == vertex, axis=1)
        corners = np.stack(
            [np.take_along_axis(faces, ((first + k) % 3)[:, None], 1)[:, 0] for k in (1, 2)], 1
        )
        others = np.unique(corners)
        rows.append(np.concatenate([[vertex], others]))
        rings.append(1 + np.searchsorted(others, corners))
    support = np.unique(np.concatenate(rows)).astype(np.int32)
    modes = np.concatenate([model.identity_modes[:, support], model.expression_modes[:, support]])
    return SurfacePatch(
        samples=np.asarray(samples, np.int32),
        support=support,
        mean=model.mean[support].astype(np.float64),
        modes=np.ascontiguousarray(
            modes.transpose(1, 2, 0).reshape(len(support), -1), dtype=np.float64
        ),
        row_offsets=_offsets(rows),
        row_index=np.searchsorted(support, np.concatenate(rows)).astype(np.int32),
        ring_offsets=_offsets(rings),
        ring=np.concatenate(rings).astype(np.int32),
        num_coefficients=len(modes),
    )


def spread(points: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` rows of points (n, 3), each the farthest from those before it.

    The first is the one nearest to the points' middle; on a tie the lower row wins.
    """
    places = check_array(points, "points", shape=("n", 3)).astype(np.float64)
    nearest = np.linalg.norm(places - places.mean(0), axis=1)
    chosen = [int(nearest.argmin())]
    distance = np.full(len(places), np.inf)
    for _ in range(count - 1):
        offset = places - places[chosen[-1]]
        distance = np.minimum(distance, np.einsum("nd,nd->n", offset, offset))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


def _offsets(parts: list[np.ndarray]) -> np.ndarray:
    return np.cumsum([0] + [len(part) for part in parts]).astype(np.int32)


_IDS = types.Array(types.int32, 1, "C", readonly=True)
_PAIRS = types.Array(types.int32, 2, "C", readonly=True)
_MATRIX = types.Array(types.float64, 2, "C", readonly=True)


@numba.njit(
    types.void(_MATRIX, _IDS, _IDS, _IDS, _PAIRS, types.float64[:, ::1]), nogil=True, cache=True
)
def _normals(points, row_offsets, row_index, ring_offsets, ring, out):
    for n in range(out.shape[0]):
        base = row_offsets[n]
        v = row_index[base]
        x = y = z = 0.0
        for t in range(ring_offsets[n], ring_offsets[n + 1]):
            i, j = row_index[base + ring[t, 0]], row_index[base + ring[t, 1]]
            ax, ay, az = (
                points[i, 0] - points[v, 0],
                points[i, 1] - points[v, 1],
                points[i, 2] - points[v, 2],
            )
            bx, by, bz = (
                points[j, 0] - points[v, 0],
                points[j, 1] - points[v, 1],
                points[j, 2] - points[v, 2],
            )
            x += ay * bz - az * by
            y += az * bx - ax * bz
            z += ax * by - ay * bx
        out[n, 0], out[n, 1], out[n, 2] = x, y, z


# Faces about one vertex plus itself; a vertex with more neighbours would be a broken mesh's.
_MOST_ROWS = 64


@numba.njit(
    types.void(
        _MATRIX,
        _IDS,
        _IDS,
        _IDS,
        _PAIRS,
        _MATRIX,
        _MATRIX,
        _MATRIX,
        types.float64[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract"},
)
def _pull_back(
    points, row_offsets, row_index, ring_offsets, ring, place, normal, modes, out, start, stop
):
    count = out.shape[1]
    local = np.empty((_MOST_ROWS, 3))
    for n in range(start, stop):
        base = row_offsets[n]
        rows = row_offsets[n + 1] - base
        v = row_index[base]
        gx, gy, gz = normal[n, 0], normal[n, 1], normal[n, 2]
        local[:rows] = 0.0
        for k in range(3):
            local[0, k] = place[n, k]
        for t in range(ring_offsets[n], ring_offsets[n + 1]):
            one, two = ring[t, 0], ring[t, 1]
            i, j = row_index[base + one], row_index[base + two]
            ax, ay, az = (
                points[i, 0] - points[v, 0],
                points[i, 1] - points[v, 1],
                points[i, 2] - points[v, 2],
            )
            bx, by, bz = (
                points[j, 0] - points[v, 0],
                points[j, 1] - points[v, 1],
                points[j, 2] - points[v, 2],
            )
            # g . (da x b) = da . (b x g) and g . (a x db) = db . (g x a).
            px, py, pz = by * gz - bz * gy, bz * gx - bx * gz, bx * gy - by * gx
            qx, qy, qz = gy * az - gz * ay, gz * ax - gx * az, gx * ay - gy * ax
            local[one, 0] += px
            local[one, 1] += py
            local[one, 2] += pz
            local[two, 0] += qx
            local[two, 1] += qy
            local[two, 2] += qz
            local[0, 0] -= px + qx
            local[0, 1] -= py + qy
            local[0, 2] -= pz + qz
        out[n] = 0.0
        for r in range(rows):
            row = row_index[base + r]
            x, y, z = local[r, 0], local[r, 1], local[r, 2]
            for p in range(count):
                out[n, p] += (
                    x * modes[row, p] + y * modes[row, count + p] + z * modes[row, 2 * count + p]
                )

"""A triangle mesh under edge splits, collapses and flips, with pinned feature curves."""

from __future__ import annotations

import numpy as np

# Values of a vertex's ``curve`` besides a curve's number.
INTERIOR = -1
CORNER = -2


class EdgeMesh:
    """Faces and vertices that change in place.

    Attributes:
        points: (capacity, 3) float64; the first ``count`` rows are in use, some without faces.
        sizing: (capacity,) wanted edge length at each vertex.
        curve: (capacity,) int: the feature curve of a vertex, INTERIOR, or CORNER for a vertex
            that never moves (several curves meet there, or one ends).
        corner_curve: (capacity,) int: the lowest curve through a vertex, -1 for none.
        region: (capacity,) int: region of an interior vertex.
        origin: (capacity,) int: source vertex that a corner is.
        tags: the feature edges, (smaller, larger vertex) -> curve.
        faces: corners of each face, empty for one that is gone.
        face_region: the faces' regions.
    """

    def __init__(
        self,
        points: np.ndarray,
        sizing: np.ndarray,
        faces: np.ndarray,
        regions: np.ndarray,
        curves: list[np.ndarray],
    ) -> None:
        n = len(points)
        capacity = 4 * n + 64
        self.count = n
        self.points = np.zeros((capacity, 3))
        self.points[:n] = points
        self.sizing = np.ones(capacity)
        self.sizing[:n] = sizing
        self.curve = np.full(capacity, INTERIOR)
        self.corner_curve = np.full(capacity, -1)
        self.region = np.zeros(capacity, int)
        self.origin = np.full(capacity, -1)
        self.origin[:n] = np.arange(n)
        self.faces: list[tuple[int, ...]] = [tuple(f) for f in faces.tolist()]
        self.face_region = np.asarray(regions).copy()
        self.around: list[set[int]] = [set() for _ in range(n)]
        for f, face in enumerate(faces.tolist()):
            for v in face:
                self.around[v].add(f)
                self.region[v] = self.face_region[f]
        self.tags: dict[tuple[int, int], int] = {}
        uses: dict[int, list[int]] = {}
        for number, curve in enumerate(curves):
            for a, b in curve.tolist():
                self.tags[_key(a, b)] = number
                uses.setdefault(a, []).append(number)
                uses.setdefault(b, []).append(number)
        for v, numbers in uses.items():
            self.corner_curve[v] = min(numbers)
            inside = len(numbers) == 2 and numbers[0] == numbers[1]
            self.curve[v] = numbers[0] if inside else CORNER

    def alive_faces(self) -> np.ndarray:
        """Return the numbers of the faces in use."""
        return np.array([f for f, face in enumerate(self.faces) if face], int)

    def alive(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the vertices in use (ascending) and the faces (F, 3) in use."""
        faces = np.array([face for face in self.faces if face], int)
        return np.unique(faces), faces

    def edges(self) -> np.ndarray:
        """Return the undirected edges (E, 2), smaller vertex first, in lexicographic order."""
        _, faces = self.alive()
        pairs = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        return np.unique(pairs, axis=0)

    def open_edges_without_curve(self) -> int:
        """Count the edges with one face that are not on a feature curve."""
        return sum(
            1
            for a, b in self.edges().tolist()
            if len(self.around[a] & self.around[b]) == 1 and (a, b) not in self.tags
        )

    def relative_lengths(self, edges: np.ndarray) -> np.ndarray:
        """Return each edge's length over the wanted length at its ends."""
        a, b = edges.T
        length = np.linalg.norm(self.points[a] - self.points[b], axis=1)
        return length / (0.5 * (self.sizing[a] + self.sizing[b]))

    def split_long(self, limit: float) -> None:
        """Split every edge longer than ``limit`` times its wanted length, longest first."""
        edges = self.edges()
        ratio = self.relative_lengths(edges)
        for i in np.argsort(-ratio, kind="stable"):
            if ratio[i] <= limit:
                return
            self._split(int(edges[i, 0]), int(edges[i, 1]))

    def collapse_short(self, limit: float, min_cosine: float) -> None:
        """Collapse edges shorter than ``limit`` times the wanted length, shortest first."""
        edges = self.edges()
        ratio = self.relative_lengths(edges)
        for i in np.argsort(ratio, kind="stable"):
            if ratio[i] >= limit:
                return
            a, b = int(edges[i, 0]), int(edges[i, 1])
            # An earlier collapse may have removed or moved the edge.
            shared = self.around[a] & self.around[b]
            if not shared or self.relative_lengths(np.array([[a, b]]))[0] >= limit:
                continue
            if self._may_vanish(a, b):
                self._collapse(a, b, shared, min_cosine)
            elif self._may_vanish(b, a):
                self._collapse(b, a, shared, min_cosine)

    def flip_for_valence(self, min_cosine: float) -> None:
        """Flip inner edges where that brings the four vertices nearer to their best valence."""
        for a, b in self.edges().tolist():
            shared = self.around[a] & self.around[b]
            if len(shared) == 2 and (a, b) not in self.tags:
                self._flip(a, b, min(shared), max(shared), min_cosine)

    def neighbours(self, v: int) -> set[int]:
        """Return the vertices that share a face with ``v``."""
        return {u for f in self.around[v] for u in self.faces[f]} - {v}

    def _split(self, a: int, b: int) -> None:
        shared = self.around[a] & self.around[b]
        if not shared:
            return
        m = self._new_vertex(a, b, self.face_region[next(iter(shared))])
        tag = self.tags.pop(_key(a, b), None)
        if tag is not None:
            self.tags[_key(a, m)] = self.tags[_key(m, b)] = tag
            self.curve[m] = self.corner_curve[m] = tag
        for f in sorted(shared):
            old = self.faces[f]
            self._replace_face(f, tuple(m if v == b else v for v in old))
            self._add_face(tuple(m if v == a else v for v in old), self.face_region[f])

    def _may_vanish(self, a: int, b: int) -> bool:
        """Say whether ``a`` may be merged into ``b`` without moving a feature curve."""
        if self.curve[a] == CORNER:
            return False
        return self.curve[a] == INTERIOR or self.tags.get(_key(a, b)) == self.curve[a]

    def _collapse(self, a: int, b: int, shared: set[int], min_cosine: float) -> None:
        ring_a, ring_b = self.neighbours(a), self.neighbours(b)
        if len(ring_a & ring_b) != len(shared):
            return
        if self._border(a) and self._border(b) and len(shared) == 2:
            return
        both_free = self.curve[a] == INTERIOR and self.curve[b] == INTERIOR
        target = 0.5 * (self.points[a] + self.points[b]) if both_free else self.points[b].copy()
        sizing = 0.5 * (self.sizing[a] + self.sizing[b])
        for u in (ring_a | ring_b) - {a, b}:
            wanted = 0.5 * (self.sizing[u] + sizing)
            if np.linalg.norm(self.points[u] - target) > 4 / 3 * wanted:
                return
        if not (self._keeps_normals(a, target, shared, min_cosine)) or (
            both_free and not self._keeps_normals(b, target, shared, min_cosine)
        ):
            return
        for f in shared:
            self._remove_face(f)
        for f in sorted(self.around[a]):
            self._replace_face(f, tuple(b if v == a else v for v in self.faces[f]))
        for u in ring_a:
            tag = self.tags.pop(_key(a, u), None)
            if tag is not None and u != b:
                self.tags[_key(b, u)] = tag
        self.points[b] = target

    def _keeps_normals(self, v: int, target: np.ndarray, skip: set[int], min_cosine: float) -> bool:
        for f in self.around[v] - skip:
            corners = self.points[list(self.faces[f])]
            before = _normal(corners)
            corners[self.faces[f].index(v)] = target
            after = _normal(corners)
            if before @ after <= min_cosine * np.sqrt((before @ before) * (after @ after)):
                return False
        return True

    def _flip(self, a: int, b: int, f: int, g: int, min_cosine: float) -> None:
        c = next(v for v in self.faces[f] if v not in (a, b))
        d = next(v for v in self.faces[g] if v not in (a, b))
        if c == d or self.around[c] & self.around[d]:
            return
        change = 0
        for v, delta in ((a, -1), (b, -1), (c, 1), (d, 1)):
            best = 4 if self._border(v) else 6
            off = len(self.neighbours(v)) - best
            change += abs(off + delta) - abs(off)
        if change >= 0:
            return
        i = self.faces[f].index(a)
        if self.faces[f][(i + 1) % 3] != b:
            a, b = b, a
        first, second = (a, d, c), (d, b, c)
        n1, n2 = _normal(self.points[list(first)]), _normal(self.points[list(second)])
        o1 = _normal(self.points[list(self.faces[f])])
        o2 = _normal(self.points[list(self.faces[g])])
        mean = o1 + o2
        for n in (n1, n2):
            if n @ mean <= min_cosine * np.sqrt((n @ n) * (mean @ mean)):
                return
        # A flip across a fold would change the shape: both old faces must be nearly coplanar.
        if o1 @ o2 <= min_cosine * np.sqrt((o1 @ o1) * (o2 @ o2)):
            return
        self._replace_face(f, first)
        self._replace_face(g, second)

    def _border(self, v: int) -> bool:
        return len(self.neighbours(v)) != len(self.around[v])

    def _new_vertex(self, a: int, b: int, region: int) -> int:
        m = self.count
        if m == len(self.points):
            for name in ("points", "sizing", "curve", "corner_curve", "region", "origin"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self.count += 1
        self.around.append(set())
        self.points[m] = 0.5 * (self.points[a] + self.points[b])
        self.sizing[m] = 0.5 * (self.sizing[a] + self.sizing[b])
        self.curve[m], self.corner_curve[m] = INTERIOR, -1
        self.region[m], self.origin[m] = region, -1
        return m

    def _add_face(self, face: tuple[int, ...], region: int) -> None:
        f = len(self.faces)
        self.faces.append(face)
        if f == len(self.face_region):
            self.face_region = np.concatenate([self.face_region, np.zeros_like(self.face_region)])
        self.face_region[f] = region
        for v in face:
            self.around[v].add(f)

    def _remove_face(self, f: int) -> None:
        for v in self.faces[f]:
            self.around[v].discard(f)
        self.faces[f] = ()

    def _replace_face(self, f: int, face: tuple[int, ...]) -> None:
        for v in self.faces[f]:
            self.around[v].discard(f)
        self.faces[f] = face
        for v in face:
            self.around[v].add(f)


def _key(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _normal(corners: np.ndarray) -> np.ndarray:
    u, v = corners[1] - corners[0], corners[2] - corners[0]
    return np.array(
        [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    )

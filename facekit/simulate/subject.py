"""Who is in the picture: a head's geometry, what its faces are made of, and its landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.mesh import Subdivision, loop_subdivide
from facekit.io.npz import read_npz
from facekit.morphable.model import MorphableModel
from facekit.simulate.jaw import trace_jaw
from facekit.types import LandmarkMap

SKIN, EYE, MOUTH, TEETH, HAIR, CLOTH, FRAME, LENS = range(8)

# What a model's regions are made of, when it has them.
_REGION_MATERIAL = {
    "eyeball_left": EYE,
    "eyeball_right": EYE,
    "mouth_inside": MOUTH,
    "teeth": TEETH,
}
# iBUG rows of NoW's seven points.
NOW7_ROWS = (36, 39, 42, 45, 33, 48, 54)
# One standard head: distance of the outer eye corners in mm that paint and hair are designed for.
STANDARD_EYE_DISTANCE = 90.0


@dataclass(frozen=True, eq=False)
class Subject:
    """A head in millimetres, head frame (+X the person's left, +Y up, +Z out of the face).

    Attributes:
        name: where it came from.
        neutral: (V, 3) float32 without expression; paint is placed on it.
        vertices: (V, 3) float32 with expression; what is rendered.
        faces: (F, 3) int32.
        material: (F,) int8, one of ``SKIN``, ``EYE``, ``MOUTH``, ``TEETH``.
        landmarks: where the 68 iBUG points lie.
        truth_vertices, truth_neutral, truth_faces: the mesh that the truth files hold; the
            rendered one may be its refinement.
        identity, expression: coefficients, empty when the head is of no model.
        model_name, model_sha256: the model or file the coefficients belong to.
        albedo: coefficients of the model's albedo modes; empty where the skin is drawn instead.
        vertex_albedo: (V, 3) linear RGB of those coefficients, or None.
    """

    name: str
    neutral: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    landmarks: LandmarkMap
    truth_vertices: np.ndarray
    truth_neutral: np.ndarray
    truth_faces: np.ndarray
    identity: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    expression: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    model_name: str = ""
    model_sha256: str = ""
    albedo: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    vertex_albedo: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(check_array(self.neutral, "neutral", shape=("V", 3), dtype="float"))
        check_array(self.vertices, "vertices", shape=(count, 3), dtype="float")
        object.__setattr__(self, "faces", check_faces(self.faces, count))
        check_array(self.material, "material", shape=(len(self.faces),), dtype="int")
        if len(self.landmarks.faces) != 68:
            raise InputError(
                f"subject {self.name}: expected 68 landmarks, got {len(self.landmarks.faces)}"
            )

    def points(self, vertices: np.ndarray, marks: LandmarkMap | None = None) -> np.ndarray:
        """Return a landmark set's points (N, 3) on vertices (V, 3); default the 68."""
        where = self.landmarks if marks is None else marks
        return np.einsum("nc,ncd->nd", where.barycentric, vertices[self.faces[where.faces]])

    @cached_property
    def neutral_landmarks(self) -> np.ndarray:
        """(68, 3) iBUG points on the neutral head."""
        return self.points(self.neutral)

    @cached_property
    def standard(self) -> tuple[float, np.ndarray]:
        """(scale, origin): ``(p - origin) * scale`` puts a point into the standard head.

        The standard head's origin is midway between the outer eye corners, which are 90 mm apart.
        """
        right, left = self.neutral_landmarks[[36, 45]]
        distance = float(np.linalg.norm(left - right))
        if distance <= 0:
            raise InputError(f"subject {self.name}: its outer eye corners coincide")
        return STANDARD_EYE_DISTANCE / distance, (right + left) / 2


def subject_from_model(
    model: MorphableModel,
    *,
    identity: np.ndarray | None = None,
    expression: np.ndarray | None = None,
) -> Subject:
    """Make a subject of a morphable model with an ``ibug68`` landmark map."""
    neutral = model.shape(identity)
    vertices = neutral if expression is None else model.shape(identity, expression)
    return Subject(
        name=model.name,
        neutral=neutral,
        vertices=vertices,
        faces=model.faces,
        material=model_material(model),
        landmarks=model.landmark_map("ibug68"),
        truth_vertices=vertices,
        truth_neutral=neutral,
        truth_faces=model.faces,
        identity=_padded(identity, model.num_identity),
        expression=_padded(expression, model.num_expression),
        model_name=model.name,
        model_sha256=model.sha256,
    )


def with_expression(subject: Subject, model: MorphableModel, expression: np.ndarray) -> Subject:
    """Return a model's subject with another expression (E,); the modes that are 0 cost nothing."""
    active = np.flatnonzero(expression)
    moved = np.tensordot(expression[active], model.expression_modes[active], axes=1)
    vertices = (subject.neutral + moved).astype(np.float32)
    return replace(
        subject,
        vertices=vertices,
        truth_vertices=vertices,
        expression=_padded(expression, model.num_expression),
    )


def with_albedo(subject: Subject, model: MorphableModel, albedo: np.ndarray) -> Subject:
    """Return a model's subject that is painted with the model's albedo (A,)."""
    values = _padded(albedo, model.num_albedo)
    return replace(subject, albedo=values, vertex_albedo=model.albedo(values))


def random_coefficients(
    model: MorphableModel,
    rng: np.random.Generator,
    *,
    identity_strength: float = 1.0,
    expression_strength: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw identity (K,) and expression (E,) coefficients of a plausible person.

    Identity is normal, clipped to two deviations, times ``identity_strength``. A quarter of the
    faces is neutral; else a few blendshapes are up to ``expression_strength`` strong (bounds
    hold), and left and right twins move together but for a tenth. ``pca`` modes are normal about
    their prior.
    """
    identity = identity_strength * np.clip(rng.standard_normal(model.num_identity), -2, 2)
    expression = random_expression(model, rng, strength=expression_strength)
    return identity.astype(np.float32), expression


def random_expression(
    model: MorphableModel, rng: np.random.Generator, *, strength: float = 1.0
) -> np.ndarray:
    """Draw an expression (E,) float32 as ``random_coefficients`` does."""
    expression = np.zeros(model.num_expression)
    calm = rng.random() < 0.25
    blendshapes = [i for i, kind in enumerate(model.expression_kind) if kind == "blendshape"]
    count = min(len(blendshapes), int(rng.integers(1, 6)))
    chosen = rng.permutation(len(blendshapes))[:count]
    strengths = strength * rng.beta(1.2, 2.2, count)
    names = {name: i for i, name in enumerate(model.expression_names)}
    pca = rng.standard_normal(model.num_expression)
    if calm:
        return expression.astype(np.float32)
    for index, amount in zip(chosen, strengths, strict=True):
        mode = blendshapes[index]
        expression[mode] = max(expression[mode], amount)
        twin = names.get(_twin_name(model.expression_names[mode]))
        if twin is not None:
            expression[twin] = max(expression[twin], amount * float(rng.uniform(0.85, 1)))
    for mode, kind in enumerate(model.expression_kind):
        if kind == "pca":
            spread = strength * 0.7 * model.expression_std[mode]
            expression[mode] = model.expression_mean[mode] + spread * pca[mode]
    bounds = model.expression_bounds
    return np.clip(expression, bounds[:, 0], bounds[:, 1]).astype(np.float32)


def model_material(model: MorphableModel) -> np.ndarray:
    """Return (F,) int8 materials of a model's faces by its region masks; skin where none says."""
    material = np.full(len(model.faces), SKIN, np.int8)
    for region, kind in _REGION_MATERIAL.items():
        if region in model.regions:
            material[model.regions[region][model.faces].all(axis=1)] = kind
    return material


def subject_from_mesh(
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray,
    landmarks: LandmarkMap,
    *,
    neutral: np.ndarray | None = None,
    material: np.ndarray | None = None,
) -> Subject:
    """Make a subject of any head mesh in the head frame with 51 (17-67) or 68 iBUG landmarks.

    With 51 points the jaw line is traced on the neutral head; see ``trace_jaw``. Without
    ``neutral`` the vertices are taken for neutral; without ``material`` all is skin, and eyes are
    painted on it.
    """
    mesh = np.asarray(vertices, np.float32)
    rest = mesh if neutral is None else np.asarray(neutral, np.float32)
    triangles = check_faces(faces, len(mesh))
    marks = landmarks
    if len(marks.faces) == 51:
        marks = trace_jaw(rest, triangles, landmarks)
    kinds = np.full(len(triangles), SKIN, np.int8) if material is None else material
    return Subject(
        name, rest, mesh, triangles, kinds, marks, mesh, rest, triangles, model_name=name
    )


class ForeignHeads:
    """Heads of another topology in one ``.npz``, refined by Loop subdivision for rendering.

    The file holds ``neutral`` and ``expressed`` (N, V, 3) integers times ``quantum_mm``,
    ``skin_faces``, ``eye_faces``, ``scan_faces`` (the visible outer skin) and 51 landmarks as
    vertices and weights.

    Raises:
        InputError: the file is missing or lacks one of those arrays.
    """

    def __init__(self, path: Path, *, steps: int = 1) -> None:
        self.path = path
        data = read_npz(path, what="a heads file")
        needed = ("neutral", "expressed", "quantum_mm", "skin_faces", "eye_faces", "scan_faces")
        for key in (*needed, "landmark_vertices", "landmark_weights", "now7_rows"):
            if key not in data:
                raise InputError(f"{path}: expected an array {key!r} in a heads file")
        self._data = data
        self.truth_faces = np.concatenate([data["skin_faces"], data["eye_faces"]])
        self.subdivision: Subdivision = loop_subdivide(
            data["neutral"][0].astype(np.float64), self.truth_faces, steps=steps
        )
        self._material = self._materials(steps)

    def __len__(self) -> int:
        return len(self._data["neutral"])

    def subject(self, index: int) -> Subject:
        """Return head ``index``; its truth is the unrefined mesh."""
        if not 0 <= index < len(self):
            raise InputError(f"{self.path}: expected a head from 0 to {len(self) - 1}, got {index}")
        quantum = float(self._data["quantum_mm"])
        neutral = self._data["neutral"][index] * np.float32(quantum)
        expressed = self._data["expressed"][index] * np.float32(quantum)
        fine_neutral = self.subdivision.apply(neutral)
        return Subject(
            name=f"{self.path.stem}-{index:03d}",
            neutral=fine_neutral,
            vertices=self.subdivision.apply(expressed),
            faces=self.subdivision.faces,
            material=self._material,
            landmarks=trace_jaw(fine_neutral, self.subdivision.faces, self._marks),
            truth_vertices=expressed,
            truth_neutral=neutral,
            truth_faces=self.truth_faces,
            model_name=f"{self.path.name}#{index}",
        )

    @cached_property
    def _marks(self) -> LandmarkMap:
        """The 51 landmarks on the refined faces, at the same weights of the same corners.

        A coarse triangle's four children are consecutive; the point lies in one of them.
        """
        rows, weights = self._data["landmark_vertices"], self._data["landmark_weights"]
        parents, corners = self._parents(rows)
        weights = np.take_along_axis(weights, corners, axis=1)
        steps = round(np.log(len(self.subdivision.faces) / len(self.truth_faces)) / np.log(4))
        for _ in range(steps):
            parents, weights = _child(parents, weights)
        return LandmarkMap(parents.astype(np.int32), weights.astype(np.float32))

    def _parents(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the coarse face of each landmark's vertices, and the order of its corners."""
        lookup = {tuple(sorted(face)): f for f, face in enumerate(self.truth_faces.tolist())}
        parents, orders = [], []
        for row in rows.tolist():
            face = lookup.get(tuple(sorted(row)))
            if face is None:
                raise InputError(f"{self.path}: landmark corners {row} are no face of the head")
            parents.append(face)
            orders.append([row.index(v) for v in self.truth_faces[face].tolist()])
        return np.array(parents), np.array(orders)

    def _materials(self, steps: int) -> np.ndarray:
        skin, eyes = self._data["skin_faces"], self._data["eye_faces"]
        outer = {tuple(sorted(face)) for face in self._data["scan_faces"].tolist()}
        hidden = np.array([tuple(sorted(face)) not in outer for face in skin.tolist()])
        marks = self._data["landmark_vertices"]
        mean = self._data["neutral"].mean(0) * float(self._data["quantum_mm"])
        mouth = mean[marks[31:51]].reshape(-1, 3)
        centre = mean[skin].mean(1)
        low, high = mouth.min(0), mouth.max(0)
        # The cavity lies behind the lips; what is hidden elsewhere (sockets, nostrils) stays skin.
        inside = (centre[:, 0] > low[0]) & (centre[:, 0] < high[0])
        inside &= (centre[:, 1] > low[1] - 18) & (centre[:, 1] < high[1] + 18)
        inside &= centre[:, 2] < high[2] - 8
        kinds = np.full(len(skin), SKIN, np.int8)
        kinds[hidden & inside & (centre[:, 2] > high[2] - 90)] = MOUTH
        kinds = np.concatenate([kinds, np.full(len(eyes), EYE, np.int8)])
        return np.repeat(kinds, 4**steps)


@lru_cache(maxsize=2)
def open_foreign_heads(path: Path) -> ForeignHeads:
    """Return the heads of a file, read once a process."""
    return ForeignHeads(path)


def _child(parents: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take barycentric points of faces to the faces' children (a corner's, or the middle one)."""
    best = weights.argmax(axis=1)
    top = np.take_along_axis(weights, best[:, None], axis=1)[:, 0]
    inner = top < 0.5
    # Child c keeps corner c: its own weights are 2w - 1 there. Its first corner is that corner,
    # then the middles of the edges after and before it.
    order = (best[:, None] + np.arange(3)) % 3
    turned = np.take_along_axis(weights, order, axis=1)
    kept = np.stack([2 * turned[:, 0] - 1, 2 * turned[:, 1], 2 * turned[:, 2]], axis=1)
    # The first child lists (a, ab, ca), the second (ab, b, bc), the third (ca, bc, c).
    first = kept.copy()
    second = kept[:, [2, 0, 1]]
    third = kept[:, [1, 2, 0]]
    corner = np.where((best == 0)[:, None], first, np.where((best == 1)[:, None], second, third))
    middle = 1 - 2 * weights[:, [2, 0, 1]]
    child = np.where(inner, 3, best)
    return 4 * parents + child, np.where(inner[:, None], middle, corner)


def _twin_name(name: str) -> str:
    for one, other in (("_L", "_R"), ("_R", "_L"), ("Left", "Right"), ("Right", "Left")):
        if name.endswith(one):
            return name[: -len(one)] + other
    return ""


def _padded(coefficients: np.ndarray | None, size: int) -> np.ndarray:
    full = np.zeros(size, np.float32)
    if coefficients is not None:
        full[: len(coefficients)] = coefficients
    return full

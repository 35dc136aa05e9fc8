"""Scans and predicted faces with their landmarks, as every scan benchmark reads them.

Faults that make a number meaningless end the item (``ItemError``); faults that only make it
doubtful (another unit, a mirrored or shuffled landmark set, a surface that is no manifold) are
warnings that travel with the item.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.embedding import embedded_points
from facekit.evaluate.now import UNIT_MM
from facekit.evaluate.now_alignment import Procrustes, procrustes
from facekit.geometry.mesh import mesh_edges
from facekit.io.foreign_meshes import read_glb, read_stl
from facekit.io.meshes import read_mesh
from facekit.io.npz import read_npz
from facekit.io.points3d import SET_OF_COUNT, read_points3d
from facekit.io.points3d import SUFFIXES as POINT_SUFFIXES
from facekit.morphable.model import MorphableModel

log = logging.getLogger("facekit.evaluate.faces3d")

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".stl", ".npz")
NO_PREDICTION = (
    "no prediction was found: expected a mesh of this name (.obj .ply .glb .stl .npz), or a folder "
    "of 'facekit fit' of this name"
)
# Rows of iBUG's 68 points whose mean is each point of a smaller set.
FROM_IBUG68: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "now7": ((36,), (39,), (42,), (45,), (33,), (48,), (54,)),
    "five": (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    "four": ((39,), (42,), (33,), (62, 66)),
}
# Millimetres between the outer eye corners of people, with room, and across a face or head mesh.
_EYES_MM = (60.0, 130.0)
_MESH_MM = (110.0, 900.0)
# Landmarks that span so much more than their mesh do not lie on it.
_WIDER = 1.5
# A right set of landmarks fits another face to within a few percent of its own size.
_SHUFFLED = 0.25


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """A scan or a predicted face, mm.

    Attributes:
        vertices: (V, 3) float64; faces: (F, 3) int32, at least one.
        landmarks: points by set name (``now7``, ``five``, ``four``, ``ibug68``, ``realy85``).
        source: where it was read, for messages.
        warnings: what is doubtful about it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    landmarks: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""
    warnings: tuple[str, ...] = ()

    def marks(self, name: str) -> np.ndarray:
        """Return a landmark set, derived from iBUG's 68 points where only those are known.

        Raises:
            ItemError: it is not known; the message says which sets are.
        """
        if name in self.landmarks:
            return np.asarray(self.landmarks[name], np.float64)
        dense = self.landmarks.get("ibug68")
        if dense is not None and name in FROM_IBUG68:
            return np.stack([dense[list(rows)].mean(axis=0) for rows in FROM_IBUG68[name]])
        known = ", ".join(f"{k} ({len(v)} points)" for k, v in self.landmarks.items()) or "none"
        raise ItemError(
            f"{self.source}: landmarks {name} are needed, found {known}; put them beside the mesh "
            "as .npy, .txt, .pp, .lnd or .json, or name the model with --model"
        )

    def scaled(self, factor: float) -> FaceSurface:
        """Return the surface with all lengths times ``factor``."""
        marks = {name: factor * points for name, points in self.landmarks.items()}
        return replace(self, vertices=factor * self.vertices, landmarks=marks)


def read_scan(path: Path, *, unit: str = "mm", points: Path | None = None) -> FaceSurface:
    """Read a scan and the landmarks beside it.

    Args:
        path: ``.obj``, ``.ply``, ``.stl``, ``.glb`` (metres, as glTF demands), or ``.npz`` with
            ``vertices`` and ``faces``.
        unit: of the file.
        points: the landmark file; None looks for ``STEM.*`` beside the scan, then for
            ``landmarks.*`` and ``correspondences.txt`` in its folder.

    Raises:
        ItemError: the mesh or its landmarks cannot be used.
    """
    return _read(path, unit=unit, points=points, embedding=None, model=None, option="--data-unit")


def read_prediction(
    path: Path,
    *,
    unit: str = "mm",
    shape: str = "neutral",
    embedding: np.ndarray | None = None,
    model: MorphableModel | None = None,
) -> FaceSurface:
    """Read a predicted face.

    Args:
        path: a mesh file, or a folder that ``facekit fit`` wrote.
        unit: of the file.
        shape: what to take of a fit: ``neutral`` or ``face`` (with its expression).
        embedding: (N, 3) rows of triangle and two weights: its landmarks (``read_embedding``).
        model: its landmark maps are used for meshes of its topology.

    Raises:
        ItemError: the mesh or its landmarks cannot be used.
    """
    mesh = path / f"{shape}.obj" if path.is_dir() else path
    return _read(mesh, unit=unit, points=None, embedding=embedding, model=model, option="--unit")


def list_predictions(root: Path) -> dict[str, Path]:
    """Find every predicted face under a folder: key to mesh file or fit folder.

    The key is the path below ``root`` without suffix, with forward slashes. A folder with
    ``neutral.obj`` and ``params.npz`` is one fit; else every mesh file counts, of several with one
    key the first in the order of ``MESH_SUFFIXES`` (a warning is logged). Hidden files are left
    out.

    Raises:
        InputError: no such folder, or no prediction in it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of predictions, found none")
    found: dict[str, Path] = {}
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(n for n in names if not n.startswith("."))
        if {"neutral.obj", "params.npz"} <= set(files):
            found[here.relative_to(root).as_posix()] = here
            names.clear()
            continue
        meshes = [here / f for f in files if not f.startswith(".")]
        meshes = [file for file in meshes if file.suffix.lower() in MESH_SUFFIXES]
        for file in sorted(meshes, key=lambda f: MESH_SUFFIXES.index(f.suffix.lower())):
            key = file.relative_to(root).with_suffix("").as_posix()
            if _is_mesh(file) and found.setdefault(key, file) != file:
                log.warning("%s: is left out, since %s is there", file, found[key].name)
    if not found:
        raise InputError(
            f"{root}: expected predictions as {' '.join(MESH_SUFFIXES)} or folders of "
            "'facekit fit', found none"
        )
    return dict(sorted(found.items()))


def landmark_warnings(source: np.ndarray, target: np.ndarray, name: str) -> tuple[str, ...]:
    """Say what is doubtful about corresponding landmarks (N, 3) of a prediction and a scan.

    A set whose best similarity is a mirror image has left and right swapped; one that no
    similarity brings near the other is in another order or of other places.
    """
    fit = procrustes(source, target)
    if text := _shuffled(fit, source, target, name):
        return (text,)
    if fit.reflected:
        return (
            f"its {name} landmarks fit the scan's only as a mirror image: are left and right "
            "swapped?",
        )
    return ()


def check_order(source: np.ndarray, target: np.ndarray, name: str) -> None:
    """Check that landmarks (N, 3) of a prediction and a scan can be of the same places.

    Raises:
        ItemError: no similarity brings them near each other, as of sets in different orders: an
            alignment that starts from them says nothing.
    """
    if text := _shuffled(procrustes(source, target), source, target, name):
        raise ItemError(text)


def _shuffled(fit: Procrustes, source: np.ndarray, target: np.ndarray, name: str) -> str:
    size = np.sqrt(((target - target.mean(axis=0)) ** 2).sum(axis=1).mean())
    rest = np.sqrt(((fit.apply(source) - target) ** 2).sum(axis=1).mean())
    if rest <= _SHUFFLED * size:
        return ""
    return (
        f"its {name} landmarks are {100 * rest / size:.0f} % of their own size away from the "
        "scan's after the best similarity: are they in another order?"
    )


def unit_warnings(
    vertices: np.ndarray,
    landmarks: Mapping[str, np.ndarray],
    *,
    unit: str,
    option: str = "",
) -> tuple[str, ...]:
    """Say when lengths that should be mm are those of no face, and which unit is likely.

    Args:
        vertices: (V, 3) after conversion from ``unit``.
        landmarks: by set name, likewise converted; the outer eye corners are the better ruler.
        unit: what the file was taken to be in.
        option: of the command line that names the unit, for the message.
    """
    seven = landmarks.get("now7")
    if seven is None and "ibug68" in landmarks:
        seven = landmarks["ibug68"][[36, 39, 42, 45]]
    if seven is not None:
        length, (low, high) = float(np.linalg.norm(seven[0] - seven[3])), _EYES_MM
        what = "between the outer eye corners"
    else:
        length, (low, high) = float(np.linalg.norm(np.ptp(vertices, axis=0))), _MESH_MM
        what = "across the mesh"
    if low <= length <= high:
        return _span_warnings(vertices, landmarks)
    raw = length / UNIT_MM[unit]
    hint = f"; say so with {option}" if option else ""
    likely = [name for name, factor in UNIT_MM.items() if low <= raw * factor <= high]
    guess = f"the file looks like {likely[0]}{hint}" if likely else "no unit makes it a face"
    return (f"it is {length:.3g} mm {what} when read as {unit}: {guess}",)


def _span_warnings(vertices: np.ndarray, landmarks: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Say when landmarks span more than the mesh that they should lie on."""
    mesh = float(np.linalg.norm(np.ptp(vertices, axis=0)))
    for name, points in landmarks.items():
        span = float(np.linalg.norm(np.ptp(points, axis=0)))
        if span > _WIDER * mesh:
            return (
                f"its {name} landmarks span {span:.3g} and the mesh {mesh:.3g} mm: are they in "
                "one unit?",
            )
    return ()


def surface_warnings(faces: np.ndarray) -> tuple[str, ...]:
    """Say when edges have more than two faces, so that the mesh is no manifold."""
    edges = mesh_edges(faces)
    bad = edges.num_faces > 2
    if not bad.any():
        return ()
    first = edges.vertices[int(np.argmax(bad))].tolist()
    return (
        f"the mesh is no manifold: {int(bad.sum())} edges have more than two faces "
        f"(the first joins vertices {first})",
    )


def _is_mesh(path: Path) -> bool:
    if path.suffix.lower() != ".npz":
        return True
    try:
        return "vertices" in _keys(path)
    except (OSError, ValueError):
        return True  # reading it as a prediction will say what is wrong with it


def _keys(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as file:
        return list(file.files)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix.lower() == ".npz":
        values = read_npz(path, what="a mesh with vertices and faces")
        if "vertices" not in values or "faces" not in values:
            raise ItemError(f"{path}: expected the arrays vertices and faces")
        return values["vertices"], values["faces"]
    readers = {".glb": read_glb, ".stl": read_stl}
    mesh = readers.get(path.suffix.lower(), read_mesh)(path)
    return mesh.vertices, mesh.faces


def _read(
    path: Path,
    *,
    unit: str,
    points: Path | None,
    embedding: np.ndarray | None,
    model: MorphableModel | None,
    option: str,
) -> FaceSurface:
    try:
        vertices, faces = _load(path)
        vertices = np.asarray(vertices, np.float64)
        if path.suffix.lower() == ".glb":
            # glTF has one unit, and its reader gives mm: put them in the unit of what lies beside.
            vertices = vertices / UNIT_MM[unit]
        check_mesh(vertices, faces)
        marks = _landmarks(path, points, vertices, unit)
        if embedding is not None:
            found = embedded_points(embedding, vertices, faces)
            if len(found) not in SET_OF_COUNT:
                raise ItemError(f"the landmark embedding has {len(found)} points, no known set")
            marks |= {SET_OF_COUNT[len(found)]: found}
        if model is not None and len(vertices) == model.num_vertices:
            for name in ("now7", "five", "ibug68"):
                if name in model.landmarks and np.array_equal(faces, model.faces):
                    marks.setdefault(name, model.landmark_points(name, vertices))
    except (FacekitError, OSError, ValueError) as error:
        text = str(error)
        raise ItemError(text if str(path.parent) in text else f"{path}: {text}") from error
    surface = FaceSurface(vertices, np.asarray(faces, np.int32), marks, str(path))
    surface = surface.scaled(UNIT_MM[unit])
    warnings = (
        *unit_warnings(surface.vertices, surface.landmarks, unit=unit, option=option),
        *surface_warnings(surface.faces),
    )
    return replace(surface, warnings=warnings)


def check_mesh(vertices: np.ndarray, faces: np.ndarray) -> None:
    """Check that a mesh can be scored.

    Raises:
        ItemError: wrong shapes, a vertex that is not finite, no faces, a face of no vertex, or all
            vertices equal.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise ItemError(f"expected vertices of shape (V, 3), got {vertices.shape}")
    if not np.isfinite(vertices).all():
        row = int(np.argwhere(~np.isfinite(vertices))[0][0])
        raise ItemError(f"vertex {row} is not finite: {vertices[row]}")
    if np.ndim(faces) != 2 or np.shape(faces)[1] != 3 or not len(faces):
        raise ItemError("the mesh is empty: it has no faces")
    if np.min(faces) < 0 or np.max(faces) >= len(vertices):
        raise ItemError(f"a face names a vertex outside [0, {len(vertices)})")
    if not np.ptp(vertices, axis=0).any():
        raise ItemError("the mesh is empty: all its vertices are equal")


def _landmarks(
    path: Path, points: Path | None, vertices: np.ndarray, unit: str
) -> dict[str, np.ndarray]:
    if points is not None:
        return read_points3d(points, vertices=vertices)
    params = path.with_name("params.npz")
    if path.name in ("neutral.obj", "face.obj") and params.is_file():
        found = read_points3d(params)
        # Each set of a params file belongs to one of the two meshes beside it, and is in mm
        # whatever unit these were written in.
        neutral = path.name == "neutral.obj"
        return {k: v / UNIT_MM[unit] for k, v in found.items() if (k == "now7") == neutral}
    if path.suffix.lower() == ".npz" and set(SET_OF_COUNT.values()) & set(_keys(path)):
        return read_points3d(path)
    for name in _candidates(path):
        if name.is_file() and name != path:
            return read_points3d(name, vertices=vertices)
    return {}


def _candidates(path: Path) -> Iterable[Path]:
    for stem in (path.stem, f"{path.stem}_landmarks"):
        yield from (path.with_name(f"{stem}{suffix}") for suffix in POINT_SUFFIXES)
    yield from (path.with_name(f"landmarks{suffix}") for suffix in POINT_SUFFIXES)
    yield path.with_name("correspondences.txt")

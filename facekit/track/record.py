"""What was tracked, kept on disk row by row until the files are written."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from facekit import __version__
from facekit.errors import InputError
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, camera_rotation_to_euler_deg
from facekit.io.atomic import atomic_path
from facekit.io.gltf import SplitMesh
from facekit.io.gltf_animation import AnimatedHead, write_animated_glb
from facekit.io.npz import read_npz
from facekit.morphable.arkit import ARKIT_NAMES, arkit_modes, arkit_sources
from facekit.morphable.model import MorphableModel
from facekit.track.people import Person
from facekit.track.tracker import TrackedFace

SCHEMA = "facekit.track/1"
POSE_COLUMNS = ("yaw_deg", "pitch_deg", "roll_deg", "x_mm", "y_mm", "z_mm")
# Weights below this are rounding.
_DECIMALS = 5


class Absence(NamedTuple):
    """Somebody who had been seen was not, from one frame to another, both without the face.

    Attributes:
        person: the id.
        first, last: frame numbers.
        start_s, end_s: their times.
        returned: the person was seen again afterwards.
    """

    person: int
    first: int
    last: int
    start_s: float
    end_s: float
    returned: bool


class TrackRecord:
    """Takes every frame's faces, a few hundred bytes each, to a file of rows; a context manager.

    Args:
        folder: where the file of rows lies while the video is read.
        model: what the coefficients are of.
    """

    def __init__(self, folder: Path, model: MorphableModel) -> None:
        self._model = model
        self._row = np.dtype(
            [
                ("frame", "<i4"),
                ("person", "<i4"),
                ("presence", "<f4"),
                ("identity", "<f4", model.num_identity),
                ("expression", "<f4", model.num_expression),
                ("rotation", "<f8", (3, 3)),
                ("translation_mm", "<f8", 3),
                ("landmarks_2d", "<f4", (68, 2)),
                ("box", "<f4", 4),
            ]
        )
        self._path = folder / ".rows"
        self._file: IO[bytes] = self._path.open("wb")
        self.times: list[Fraction] = []
        self.rows = 0

    def add(self, time: Fraction, faces: Sequence[TrackedFace]) -> None:
        """Add the next frame."""
        number = len(self.times)
        self.times.append(time)
        rows = np.zeros(len(faces), self._row)
        for row, face in zip(rows, faces, strict=True):
            row["frame"], row["person"], row["presence"] = number, face.person, face.presence
            row["identity"], row["expression"] = face.identity, face.expression
            row["rotation"], row["translation_mm"] = face.pose.rotation, face.pose.translation
            row["landmarks_2d"], row["box"] = face.points, face.box
        self._file.write(rows.tobytes())
        self.rows += len(rows)

    def table(self) -> np.ndarray:
        """Return every row, frame by frame: a view of the file."""
        self._file.flush()
        if not self.rows:
            return np.zeros(0, self._row)
        return np.memmap(self._path, self._row, "r", shape=(self.rows,))

    def absences(self) -> list[Absence]:
        """Return when people who had been seen were not, in order of time."""
        table = self.table()
        found = []
        last = len(self.times) - 1
        for person in np.unique(table["person"]):
            frames = np.asarray(table["frame"][table["person"] == person], int)
            for before, after in zip(frames, [*frames[1:], last + 1], strict=True):
                if after > before + 1:
                    first, end = int(before) + 1, int(after) - 1
                    times = float(self.times[first]), float(self.times[end])
                    found.append(Absence(int(person), first, end, *times, bool(after <= last)))
        return sorted(found, key=lambda a: (a.first, a.person))

    def write_npz(
        self,
        path: Path,
        people: Sequence[Person],
        *,
        intrinsics: np.ndarray,
        size: tuple[int, int],
        rate: Fraction,
        facts: dict[str, Any],
    ) -> Path:
        """Write ``track.npz``; see ``read_track``."""
        table = self.table()
        meta = {
            "schema": SCHEMA,
            "units": "mm",
            "frame": "head to OpenCV camera; pixel (0, 0) is the centre of the top-left pixel",
            "model": self._model.name,
            "model_sha256": self._model.sha256,
            "facekit_version": __version__,
            "rate": str(rate),
            **facts,
        }
        arrays: dict[str, Any] = {
            "meta": np.array(json.dumps(meta)),
            "times_s": np.array([float(time) for time in self.times]),
            **{name: table[name] for name in self._row.names or ()},
            "people": np.array([p.number for p in people], np.int32),
            "people_identity": _stack([p.identity.mean for p in people], self._model),
            "people_identity_std": _stack(
                [np.sqrt(np.diag(p.identity.covariance)) for p in people], self._model
            ),
            "intrinsics": intrinsics,
            "image_size": np.array(size, np.int32),
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        return path

    def write_curves(self, path: Path) -> Path:
        """Write ``curves.csv``: one line a frame and person known by then, empty while away."""
        table = self.table()
        mixing = arkit_matrix(self._model)
        known: list[int] = []
        rows = iter(table)
        row = next(rows, None)
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            header = ["frame", "time_s", "person", "presence", *ARKIT_NAMES, *POSE_COLUMNS]
            writer.writerow(header)
            for number, time in enumerate(self.times):
                here = {}
                while row is not None and row["frame"] == number:
                    here[int(row["person"])] = row
                    row = next(rows, None)
                known += [person for person in here if person not in known]
                for person in sorted(known):
                    start = [number, f"{float(time):.6f}", person]
                    if person not in here:
                        writer.writerow([*start, 0, *[""] * (len(header) - 4)])
                        continue
                    writer.writerow([*start, *_curve(here[person], mixing)])
        return path

    def write_glb(self, path: Path, people: Sequence[Person]) -> Path:
        """Write ``track.glb``: each person's head with ARKit's shapes, moving."""
        table = self.table()
        model = self._model
        mixing = arkit_matrix(model)
        times = np.array([float(time) for time in self.times])
        heads = []
        for person in people:
            rows = table[table["person"] == person.number]
            if not len(rows):
                continue
            frames = np.asarray(rows["frame"], int)
            # One keyframe more after each gap's begin, where the head disappears.
            gaps = [f + 1 for f in frames if f + 1 not in set(frames) and f + 1 < len(times)]
            keys = np.unique(np.concatenate([frames, np.array(gaps, int)]))
            source = np.searchsorted(frames, keys, side="right") - 1
            neutral = model.shape(person.identity.mean)
            heads.append(
                AnimatedHead(
                    f"person{person.number}",
                    neutral,
                    vertex_normals(neutral, model.faces),
                    model.albedo_mean,
                    times[keys],
                    np.asarray(rows["expression"], np.float64)[source] @ mixing.T,
                    HEAD_TO_CAMERA @ np.asarray(rows["rotation"])[source],
                    np.asarray(rows["translation_mm"])[source] @ HEAD_TO_CAMERA.T,
                    np.isin(keys, frames),
                )
            )
        return write_animated_glb(path, heads, SplitMesh(model.mesh()), arkit_modes(model))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def read_track(path: Path) -> dict[str, Any]:
    """Read ``track.npz``: arrays by key, and ``meta`` as a dict.

    ``times_s`` (T,) of every frame; one row a face and frame: ``frame`` (its number), ``person``,
    ``presence``, ``identity`` (N, K) as known by then, ``expression`` (N, E), ``rotation``
    (N, 3, 3), ``translation_mm`` (N, 3), ``landmarks_2d`` (N, 68, 2), ``box`` (N, 4); and
    ``people`` (P,) with ``people_identity`` (P, K) and ``people_identity_std``, all views counted.

    Raises:
        InputError: no such file, or another schema.
    """
    values: dict[str, Any] = read_npz(path, what="a track of facekit")
    try:
        values["meta"] = json.loads(str(values["meta"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: has no readable 'meta'; expected {SCHEMA}") from error
    if values["meta"].get("schema") != SCHEMA:
        raise InputError(f"{path}: expected {SCHEMA}, got {values['meta'].get('schema')}")
    return values


def arkit_matrix(model: MorphableModel) -> np.ndarray:
    """Return the (52, E) matrix from a model's expression weights to ARKit's."""
    matrix = np.zeros((len(ARKIT_NAMES), model.num_expression))
    for row, sources in enumerate(arkit_sources(model).values()):
        if sources:
            matrix[row, sources] = 1 / len(sources)
    return matrix


def _curve(row: Any, mixing: np.ndarray) -> list[object]:
    weights = mixing @ row["expression"]
    angles = camera_rotation_to_euler_deg(row["rotation"])
    return [
        round(float(row["presence"]), 3),
        *(round(float(w), _DECIMALS) for w in weights),
        *(round(v, 4) for v in angles),
        *(round(float(v), 3) for v in row["translation_mm"]),
    ]


def _stack(rows: list[np.ndarray], model: MorphableModel) -> np.ndarray:
    return np.array(rows, np.float32).reshape(len(rows), model.num_identity)

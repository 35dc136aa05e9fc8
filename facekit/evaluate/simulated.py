"""An open benchmark in NoW's layout: portraits of heads whose shape is known exactly.

Nothing about it needs a licence. A version number freezes what is drawn: heads, looks, lights,
cameras and their seeds; figures of different versions do not compare. The skin is procedural and
has nothing to do with any model's albedo.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError, OutputExistsError
from facekit.evaluate.heads import choose_heads, read_heads
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.io.atomic import make_folder, read_json, write_json, write_text
from facekit.io.images import read_image, write_image
from facekit.io.landmark_files import read_landmarks, write_landmarks
from facekit.io.meshes import write_mesh
from facekit.morphable import MorphableModel, load_model
from facekit.runs import file_sha256
from facekit.simulate.look import Look, random_look
from facekit.simulate.portrait import Portrait, View, render_portrait
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import (
    NOW7_ROWS,
    Subject,
    open_foreign_heads,
    random_coefficients,
    subject_from_model,
)
from facekit.types import DetectedFace, Mesh

VERSION = 1
SCHEMA = "facekit.simulated-benchmark/1"
CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
PICTURES = {CHALLENGES[0]: 3, CHALLENGES[1]: 2, CHALLENGES[2]: 2, CHALLENGES[3]: 1}
IMAGE_FOLDER = "iphone_pictures"
_LIST = "imagepathsvalidation.txt"
# Degrees of yaw of a challenge's pictures in their order, each with its scatter.
_YAWS = {
    CHALLENGES[0]: ((0, 6), (35, 8), (-35, 8)),
    CHALLENGES[1]: ((0, 10), (25, 10)),
    CHALLENGES[2]: ((0, 10), (-20, 10)),
    CHALLENGES[3]: ((0, 12),),
}
_DISTANCE_MM = (600.0, 1400.0)
_SELFIE_MM = (280.0, 480.0)
# Height of the face, brows to chin, over the picture's.
_FACE = (0.35, 0.6)
_SELFIE_FACE = (0.45, 0.7)


@dataclass(frozen=True)
class SimulatedOptions:
    """What is drawn.

    Attributes:
        heads: file of heads of known shape (``heads.read_heads``), or None for random heads of
            the built-in model: then that model is tested on itself.
        count: heads; each has eight pictures.
        size: side of the pictures, pixels.
        seed: of every draw.
    """

    heads: Path | None = None
    count: int = 24
    size: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.size < 64:
            raise InputError(
                f"simulated benchmark: expected count >= 1 and size >= 64, got {self.count} and "
                f"{self.size}"
            )


class SimulatedBenchmark(NamedTuple):
    """What was written: its folder, its images by ``SUBJECT/CHALLENGE/FILE``, its description."""

    root: Path
    images: tuple[str, ...]
    description: dict[str, Any]


def build_benchmark(
    root: Path,
    options: SimulatedOptions,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedBenchmark:
    """Write the benchmark; what is there already is kept.

    Makes NoW's layout (``imagepathsvalidation.txt``, ``scans/SUBJECT/scan.obj`` of the neutral
    outer skin, ``scans_lmks_onlypp/SUBJECT/scan.pp``, ``iphone_pictures/SUBJECT/CHALLENGE/``),
    ``truth/SUBJECT/CHALLENGE/STEM.json`` with the 68 points in each picture, and
    ``benchmark.json``.

    Args:
        root: folder.
        options: what to draw.
        jobs: processes; the pictures do not depend on them.
        progress: called with heads done and their number.

    Raises:
        InputError: the heads cannot be read or are too few, or the folder cannot be written.
        OutputExistsError: the folder holds another benchmark.
    """
    numbers = _numbers(options)
    description = {
        "schema": SCHEMA,
        "version": VERSION,
        **asdict(options),
        "heads": None if options.heads is None else options.heads.name,
        "heads_sha256": None if options.heads is None else file_sha256(options.heads),
        "model_sha256": load_model("builtin").sha256 if options.heads is None else None,
        "pictures": PICTURES,
    }
    _claim(root, description)
    missing = [n for n in numbers if not all((root / f).is_file() for f in _files(n))]
    done = counter([1] * len(missing), progress)
    run_pieces(_write_head, (root, options), missing, jobs=jobs, done=done)
    images = tuple(_image(n, c, k) for n in numbers for c, many in PICTURES.items()
                   for k in range(many))  # fmt: skip
    write_text(root / _LIST, "".join(f"{IMAGE_FOLDER}/{image}\n" for image in images))
    return SimulatedBenchmark(root, images, description)


def pictures_sha256(benchmark: SimulatedBenchmark) -> str:
    """Return the hex sha256 of all pictures' pixels in their order: equal for equal pictures."""
    digest = hashlib.sha256()
    for image in benchmark.images:
        digest.update(read_image(benchmark.root / IMAGE_FOLDER / image).tobytes())
    return digest.hexdigest()


def landmark_truth(benchmark: SimulatedBenchmark) -> LandmarkTruth:
    """Return the 68 true points of every picture, named by ``SUBJECT/CHALLENGE/FILE``."""
    faces = []
    for image in benchmark.images:
        path = (benchmark.root / "truth" / image).with_suffix(".json")
        faces.append(read_landmarks(path)[0])
    points = np.array([face.ibug68 for face in faces], np.float64)
    return LandmarkTruth(
        images=tuple(benchmark.root / IMAGE_FOLDER / image for image in benchmark.images),
        points=points,
        ibug68=tuple(range(68)),
        eye_distance=np.linalg.norm(points[:, 36] - points[:, 45], axis=1),
        boxes=np.array([face.box for face in faces], np.float64),
        names=benchmark.images,
    )


def subject_name(number: int) -> str:
    """Return a head's folder."""
    return f"head{number:03d}"


def head_subject(options: SimulatedOptions, number: int) -> tuple[Subject, np.ndarray]:
    """Return head ``number`` with its expression, and which of its faces are outer skin (F,)."""
    if options.heads is not None:
        heads = open_foreign_heads(options.heads)
        subject = heads.subject(number)
        outer = {tuple(sorted(f)) for f in read_heads(options.heads).scan_faces.tolist()}
        coarse = np.array([tuple(sorted(f)) in outer for f in subject.truth_faces.tolist()])
        return subject, np.repeat(coarse, len(subject.faces) // len(subject.truth_faces))
    model = load_model("builtin")
    rng = np.random.default_rng([VERSION, options.seed, number, 99])
    identity, expression = random_coefficients(model, rng)
    subject = subject_from_model(model, identity=identity, expression=expression)
    return subject, _skin(model)


def _skin(model: MorphableModel) -> np.ndarray:
    if "scan" not in model.regions:
        return np.ones(len(model.faces), bool)
    return np.asarray(model.regions["scan"][model.faces].all(axis=1))


def _numbers(options: SimulatedOptions) -> list[int]:
    if options.heads is None:
        return list(range(options.count))
    return choose_heads(options.count, len(read_heads(options.heads)), options.seed)


def _image(number: int, challenge: str, picture: int) -> str:
    return f"{subject_name(number)}/{challenge}/{picture:02d}.png"


def _files(number: int) -> list[str]:
    name = subject_name(number)
    files = [f"scans/{name}/scan.obj", f"scans_lmks_onlypp/{name}/scan.pp"]
    for challenge, many in PICTURES.items():
        for k in range(many):
            image = _image(number, challenge, k)
            files += [f"{IMAGE_FOLDER}/{image}", f"truth/{image[:-4]}.json"]
    return files


def _claim(root: Path, description: dict[str, Any]) -> None:
    path = root / "benchmark.json"
    wanted = json.loads(json.dumps(description))
    if path.is_file():
        there = read_json(path)
        differing = [k for k in wanted if not isinstance(there, dict) or there.get(k) != wanted[k]]
        if differing:
            raise OutputExistsError(
                f"{root}: holds another benchmark ({', '.join(differing)} differ); choose another "
                "folder with -o"
            )
        return
    make_folder(root)
    if any(root.iterdir()):
        raise OutputExistsError(f"{root}: is not empty and holds no benchmark.json; choose another")
    write_json(path, description)


def _write_head(context: tuple[Path, SimulatedOptions], number: int) -> None:
    root, options = context
    subject, skin = head_subject(options, number)
    name = subject_name(number)
    used, faces = np.unique(subject.faces[skin], return_inverse=True)
    mesh = Mesh(subject.neutral[used].astype(np.float64), faces.reshape(-1, 3).astype(np.int32))
    write_mesh(root / "scans" / name / "scan.obj", mesh)
    marks = subject.neutral_landmarks[list(NOW7_ROWS)]
    write_text(root / "scans_lmks_onlypp" / name / "scan.pp", picked_points(marks))
    neutral = replace(subject, vertices=subject.neutral, truth_vertices=subject.truth_neutral)
    person = random_look(
        np.random.default_rng([VERSION, options.seed, number]), size=options.size, glasses=0.1
    )
    for index, challenge in enumerate(CHALLENGES):
        shown = subject if challenge == CHALLENGES[1] else neutral
        scene = build_scene(shown, person)
        for k in range(PICTURES[challenge]):
            rng = np.random.default_rng([VERSION, options.seed, number, index, k])
            look = _look(rng, person, challenge, options.size)
            view = _view(rng, shown, challenge, k, options.size)
            portrait = render_portrait(shown, look, view, scene=scene)
            _write_picture(root, _image(number, challenge, k), portrait)


def _write_picture(root: Path, image: str, portrait: Portrait) -> None:
    face = DetectedFace(
        portrait.box.astype(np.float64),
        1.0,
        ibug68=portrait.landmarks_2d.astype(np.float64),
        jaw_on_outline=False,
    )
    height, width = portrait.image.shape[:2]
    path = (root / "truth" / image).with_suffix(".json")
    write_landmarks(path, [face], image=Path(image).name, width=width, height=height)
    # The picture last: it says that everything else of it is there.
    write_image(root / IMAGE_FOLDER / image, portrait.image)


def _look(rng: np.random.Generator, person: Look, challenge: str, size: int) -> Look:
    """Draw a picture's light, camera and background; what belongs to the person stays."""
    occluders = 1.0 if challenge == CHALLENGES[2] else 0.0
    look = random_look(rng, size=size, glasses=0.0, occluders=occluders)
    return replace(
        look,
        skin=person.skin,
        eyes=person.eyes,
        hair=person.hair,
        cloth=person.cloth,
        glasses=person.glasses,
    )


def _view(
    rng: np.random.Generator, subject: Subject, challenge: str, picture: int, size: int
) -> View:
    yaw, scatter = _YAWS[challenge][picture]
    selfie = challenge == CHALLENGES[3]
    marks = subject.neutral_landmarks
    height_mm = float(np.linalg.norm(marks[17:27].mean(0) - marks[8]))
    distance = float(rng.uniform(*(_SELFIE_MM if selfie else _DISTANCE_MM)))
    fraction = float(rng.uniform(*(_SELFIE_FACE if selfie else _FACE)))
    pitch, roll = rng.normal(0, [10, 8] if selfie else [6, 5])
    turn = yaw + scatter * float(np.clip(rng.standard_normal(), -2, 2))
    shift = np.clip(rng.normal(0, 0.03, 2), -0.06, 0.06) * size
    return View(
        yaw=float(np.radians(turn)),
        pitch=float(np.radians(np.clip(pitch, -20, 20))),
        roll=float(np.radians(np.clip(roll, -20, 20))),
        distance_mm=distance,
        focal_px=fraction * size * distance / height_mm,
        width=size,
        height=size,
        shift_px=(float(shift[0]), float(shift[1])),
    )


def picked_points(points: np.ndarray) -> str:
    """Return points (N, 3) as MeshLab's ``.pp``.

    Eight lines stand before them: NoW's own reader takes the points by their line.
    """
    rows = [
        f' <point x="{x:.5f}" y="{y:.5f}" z="{z:.5f}" active="1" name="{i}"/>'
        for i, (x, y, z) in enumerate(np.asarray(points, np.float64).tolist())
    ]
    head = [
        "<!DOCTYPE PickedPoints>",
        "<PickedPoints>",
        " <DocumentData>",
        '  <DateTime time="00:00:00" date="2000-01-01"/>',
        '  <User name="facekit"/>',
        '  <DataFileName name="scan.obj"/>',
        '  <templateName name=""/>',
        " </DocumentData>",
    ]
    return "\n".join([*head, *rows, "</PickedPoints>", ""])

"""``facekit eval truth``: render heads of known shape, fit the pictures, score the shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.detect.parameters import open_reader
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.comparison import compare_items
from facekit.evaluate.faces3d import NO_PREDICTION, list_predictions, read_prediction
from facekit.evaluate.heads import (
    MEAN_FACE,
    HeadScore,
    Picture,
    Predict,
    Render,
    choose_heads,
    heads_report,
    model_prediction,
    read_heads,
    score_heads,
)
from facekit.evaluate.now import NowPrediction
from facekit.evaluate.scan_reports import ScanEvaluation, ScanItem, scan_document
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.io.images import write_image
from facekit.morphable import MorphableModel, load_model
from facekit.simulate.look import Look, random_look
from facekit.simulate.portrait import Portrait, View, render_portrait
from facekit.simulate.scene import Scene, build_scene
from facekit.simulate.subject import Subject, open_foreign_heads
from facekit.types import DetectedFace

# Chin to crown of an adult head.
_HEAD_MM = 240.0
LANDMARK_FIT = "landmark_fit"
PHOTOMETRIC_FIT = "photometric_fit"
NETWORK_FIT = "network_fit"
NETWORK_PHOTOMETRIC_FIT = "network_photometric_fit"
EXACT_LANDMARK_FIT = "exact_landmark_fit"
# Head, yaw in degrees, and a change of looks or None.
PortraitOf = Callable[..., Portrait]


@dataclass(frozen=True)
class TruthOptions:
    """What decides the numbers.

    Attributes:
        count: heads drawn; 0 takes all.
        yaws_deg: views of each head.
        seed: of the draw, the skins, lights, cameras and backgrounds.
        model: ``builtin`` or a model file.
        landmarks: detector's name.
        allow_download: let an optional package download its own weights.
        size: side of the pictures in pixels.
        network: ``auto``, ``none`` or a parameter network's file: also fit what it sees.
        photometric: also fit the pixels.
    """

    count: int = 50
    yaws_deg: tuple[float, ...] = (0.0, 22.0, 45.0)
    seed: int = 0
    model: str = "builtin"
    landmarks: str = "builtin"
    allow_download: bool = False
    size: int = 512
    network: str = "none"
    photometric: bool = False


class TruthResult(NamedTuple):
    """The scores, the JSON document, and the main method's distances."""

    scores: list[HeadScore]
    document: dict[str, Any]
    distances: list[np.ndarray]


def parse_angles(text: str) -> tuple[float, ...]:
    """Return the numbers of a comma-separated list.

    Raises:
        UsageError: it is empty or holds something else.
    """
    try:
        angles = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        angles = ()
    if not angles or not np.isfinite(angles).all():
        raise UsageError(f"angles: expected numbers with commas between them, got {text!r}")
    return angles


def fit_methods(fitter: FaceFitter, detector: Detector) -> dict[str, Predict]:
    """Return the methods that are scored.

    ``landmark_fit`` is facekit's fit of the detected landmarks, the largest face's.
    ``exact_landmark_fit`` is the same fit of the true landmarks: an oracle without the
    detector's part of the error.
    """
    model = fitter.model

    def exact(picture: Picture) -> NowPrediction | None:
        if picture.ibug68 is None:
            raise ItemError("the picture has no true landmarks")
        points = picture.ibug68
        box = np.concatenate([points.min(axis=0), np.ptp(points, axis=0)])
        face = DetectedFace(box, 1.0, ibug68=points, jaw_on_outline=False)
        return model_prediction(model, fitter.fit(picture.image, face).neutral)

    return {LANDMARK_FIT: detected_fit(fitter, detector), EXACT_LANDMARK_FIT: exact}


def detected_fit(fitter: FaceFitter, detector: Detector) -> Predict:
    """Return the fit of a picture's largest detected face as a method."""

    def detected(picture: Picture) -> NowPrediction | None:
        faces = detector.detect(picture.image)
        if not faces:
            return None
        return model_prediction(fitter.model, fitter.fit(picture.image, faces[0]).neutral)

    return detected


def further_fits(options: TruthOptions, fitter: FaceFitter) -> dict[str, FaceFitter]:
    """Return the fits that the options ask for beside the landmarks', the fullest last."""
    reader = open_reader(options.network, fitter.model)
    found = {}
    if options.photometric:
        found[PHOTOMETRIC_FIT] = replace(fitter, photometric=True)
    if reader is not None:
        found[NETWORK_FIT] = replace(fitter, network=reader)
        if options.photometric:
            found[NETWORK_PHOTOMETRIC_FIT] = replace(fitter, network=reader, photometric=True)
    return found


def saved_predictions(folder: Path, model: MorphableModel) -> Predict:
    """Return a method that reads its predictions from a folder, by the pictures' names.

    Args:
        folder: of meshes in mm with seven landmarks beside them, or of fits.
        model: gives the landmarks of meshes of its topology.

    Raises:
        InputError: no such folder, or no mesh in it.
    """
    found = list_predictions(folder)

    def read(picture: Picture) -> NowPrediction | None:
        if picture.name not in found:
            raise ItemError(NO_PREDICTION)
        face = read_prediction(found[picture.name], model=model)
        return NowPrediction(face.vertices, face.faces, face.marks("now7"))

    return read


def evaluate_truth(
    heads_file: Path,
    options: TruthOptions,
    *,
    pictures: Path | None = None,
    predictions: Mapping[str, Path] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TruthResult:
    """Run the bench over a file of heads.

    Args:
        heads_file: ``.npz`` as ``heads.read_heads`` and ``simulate.subject.ForeignHeads``
            describe it.
        options: what decides the numbers.
        pictures: folder for the rendered pictures, or None.
        predictions: further methods by name: folders of meshes with NoW's seven landmarks, or of
            fits, named as the pictures are (``head007_yaw22``), mm.
        progress: called with pictures done and their number.

    Raises:
        InputError: the heads or a folder of predictions cannot be read, or pictures cannot be
            written; or a method has the name of one of facekit's rows.
        MissingDependencyError: the model or the detector is missing.
    """
    heads = read_heads(heads_file)
    model = load_model(options.model)
    if "now7" not in model.landmarks:
        raise InputError(f"model {model.name}: has no 'now7' landmarks, so NoW cannot score it")
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    fitter = FaceFitter(model, LandmarkFitConfig())
    methods = fit_methods(fitter, detector)
    further = further_fits(options, fitter)
    methods |= {name: detected_fit(one, detector) for name, one in further.items()}
    main = [LANDMARK_FIT, *further][-1]
    for name, folder in (predictions or {}).items():
        if name in methods or name == MEAN_FACE or name.startswith("projection"):
            raise InputError(f"predictions: {name!r} is the name of a row of this bench")
        methods[name] = saved_predictions(folder, model)
    scores = score_heads(
        heads,
        model,
        render=head_renderer(heads_file, options, pictures=pictures),
        methods=methods,
        chosen=choose_heads(options.count, len(heads), options.seed),
        yaws_deg=options.yaws_deg,
        progress=progress,
    )
    protocol = {
        **asdict(options),
        "heads": heads_file.name,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
    }
    document = heads_report(scores, main=main, seed=options.seed, protocol=protocol)
    everything = as_scans(scores)
    document["compared"] = {}
    for name in predictions or {}:
        first, second = everything[main].items, everything[name].items
        found = compare_items(first, second, seed=options.seed) or {"items": 0}
        document["compared"][name] = {"than": main, **found}
    distances = [s.distances for s in scores if s.method == main and s.distances is not None]
    return TruthResult(scores, document, distances)


def head_renderer(
    heads_file: Path, options: TruthOptions, *, pictures: Path | None = None
) -> Render:
    """Return the renderer of ``score_heads``: head and yaw in degrees to a picture.

    Args:
        heads_file: as ``simulate.subject.ForeignHeads`` describes it.
        options: seed and size are used.
        pictures: folder to write the pictures to, or None.
    """
    portrait_of = head_portraits(heads_file, options)

    def render(head: int, yaw_deg: float) -> Picture:
        portrait = portrait_of(head, yaw_deg)
        name = f"head{head:03d}_yaw{yaw_deg:g}"
        if pictures is not None:
            write_image(pictures / f"{name}.png", portrait.image)
        return Picture(portrait.image, portrait.landmarks_2d.astype(np.float64), name)

    return render


def head_portraits(heads_file: Path, options: TruthOptions) -> PortraitOf:
    """Return a function of head, yaw in degrees and a change of looks (or None) to a portrait.

    A head's looks depend on (seed, head), a picture's camera also on the view, so that the same
    options give the same pictures in any order. Odd heads are turned the other way. Lenses are
    1.2 to 2.4 times the picture's side, the head fills half to three quarters of it, pitch and
    roll scatter by 6 and 4 degrees; one head in ten wears glasses. The change must not touch
    what is geometry (hair, clothes, glasses).
    """
    heads = open_foreign_heads(heads_file)

    @lru_cache(maxsize=1)
    def person(head: int) -> tuple[Subject, Look, Scene]:
        rng = np.random.default_rng((options.seed, head))
        subject = heads.subject(head)
        look = random_look(rng, size=options.size, glasses=0.1, occluders=0.0)
        return subject, look, build_scene(subject, look)

    def portrait(
        head: int, yaw_deg: float, change: Callable[[Look], Look] | None = None
    ) -> Portrait:
        subject, look, scene = person(head)
        rng = np.random.default_rng((options.seed, head, round(10 * abs(yaw_deg))))
        turn = yaw_deg if head % 2 == 0 else -yaw_deg
        view = random_view(rng, turn, options.size)
        changed = look if change is None else change(look)
        return render_portrait(subject, changed, view, scene=scene)

    return portrait


def random_view(rng: np.random.Generator, yaw_deg: float, size: int) -> View:
    """Draw the camera of a picture (size, size) of a head turned by a yaw.

    The lens is 1.2 to 2.4 times the picture's side, the head fills half to three quarters of it,
    pitch and roll scatter by 6 and 4 degrees.
    """
    focal = size * rng.uniform(1.2, 2.4)
    pitch, roll = rng.normal(0, [6, 4])
    shift_x, shift_y = rng.normal(0, 0.03 * size, 2)
    return View(
        yaw=float(np.radians(yaw_deg)),
        pitch=float(np.radians(np.clip(pitch, -15, 15))),
        roll=float(np.radians(np.clip(roll, -15, 15))),
        distance_mm=focal * _HEAD_MM / (size * rng.uniform(0.5, 0.75)),
        focal_px=focal,
        width=size,
        height=size,
        shift_px=(shift_x, shift_y),
    )


def as_scans(scores: Sequence[HeadScore], *, view: str | None = "yaw") -> dict[str, ScanEvaluation]:
    """Return each method's scores as an evaluation of scans; a person is a head.

    An item is named by its head and its view (``head007_yaw22``), or with ``view`` None by its
    head alone.
    """
    table: dict[str, list[ScanItem]] = {}
    for score in scores:
        details = dict(score.details)
        error = details.pop("error", None)
        value = None if score.distances is None else float(details["median"])
        name, group = f"head{score.head:03d}", ""
        if view is not None:
            name, group = f"{name}_{view}{score.yaw_deg:g}", f"{view} {score.yaw_deg:g}"
        distances = None if score.distances is None else score.distances.astype(np.float32)
        person = str(score.head)
        item = ScanItem(name, group, value, distances, details, error=error, person=person)
        table.setdefault(score.method, []).append(item)
    return {
        name: ScanEvaluation(items, scan_document(items, protocol={"name": "truth"}), {})
        for name, items in table.items()
    }

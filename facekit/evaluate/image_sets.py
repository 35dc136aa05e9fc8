"""``facekit eval sets``: one person from 1, 2, 4, 8 photographs, on heads of known shape.

The photographs of a head share skin, hair and glasses. Light, lens, camera flaws, background and
the strength of the expression are drawn anew for each; their yaws are spread over a range, the
first ones over all of it, so that each set contains the smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.detect.parameters import open_reader
from facekit.errors import ItemError, UsageError
from facekit.evaluate.heads import (
    MEAN_FACE,
    HeadScore,
    Picture,
    Predict,
    choose_heads,
    heads_report,
    model_prediction,
    read_heads,
    score_heads,
)
from facekit.evaluate.now import NowPrediction
from facekit.evaluate.truth import LANDMARK_FIT, TruthOptions, random_view
from facekit.fit.image_set import ImageSetFitter, Member
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.morphable import load_model
from facekit.simulate.look import random_look
from facekit.simulate.portrait import render_portrait
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import ForeignHeads, open_foreign_heads

SET_FIT = "set_fit"
PIXEL_SET_FIT = "set_fit_photometric"


class SetsResult(NamedTuple):
    """The scores (their ``yaw_deg`` is the number of photographs) and the JSON document."""

    scores: list[HeadScore]
    document: dict[str, Any]


def spread_yaws(count: int, limit_deg: float) -> np.ndarray:
    """Return yaws (count,) in degrees, evenly from -limit to limit, the first ones spread widely.

    The first is next to the middle; each further one lies farthest from those before it.
    """
    if count == 1:
        return np.zeros(1)
    yaws = np.linspace(-limit_deg, limit_deg, count)
    order = [int(np.argmin(np.abs(yaws - 0.1)))]
    while len(order) < count:
        rest = [i for i in range(count) if i not in order]
        # The farthest from those there; of two as far the milder one.
        gaps = [min(abs(yaws[i] - yaws[j]) for j in order) - 1e-3 * abs(yaws[i]) for i in rest]
        order.append(rest[int(np.argmax(gaps))])
    return yaws[order]


def photograph_head(
    heads: ForeignHeads, head: int, options: TruthOptions, *, count: int, limit_deg: float
) -> list[Picture]:
    """Return ``count`` photographs of a head.

    Args:
        heads: where the head is from.
        head: its number.
        options: seed and size are used.
        count: photographs.
        limit_deg: their largest yaw.
    """
    base = heads.subject(head)
    rng = np.random.default_rng([options.seed, head, 77])
    look = random_look(rng, size=options.size, glasses=0.1, occluders=0.0)
    pictures = []
    for number, yaw in enumerate(spread_yaws(count, limit_deg)):
        draw = np.random.default_rng([options.seed, head, 78, number])
        strength = np.float32(draw.uniform())
        expressed = base.neutral + strength * (base.vertices - base.neutral)
        other = random_look(draw, size=options.size, glasses=0.0, occluders=0.0)
        mine = replace(
            look, light=other.light, sensor=other.sensor, backdrop=other.backdrop, seed=other.seed
        )
        subject = replace(base, vertices=expressed)
        view = random_view(draw, float(yaw), options.size)
        portrait = render_portrait(subject, mine, view, scene=build_scene(subject, mine))
        marks = portrait.landmarks_2d.astype(np.float64)
        pictures.append(Picture(portrait.image, marks, f"head{head:03d}_photo{number + 1}"))
    return pictures


def evaluate_sets(
    heads_file: Path,
    options: TruthOptions,
    *,
    photos: Sequence[int] = (1, 2, 4, 8),
    limit_deg: float = 45.0,
    photometric: bool = False,
    network: str = "auto",
    chosen: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SetsResult:
    """Run the bench.

    Args:
        heads_file: as ``eval truth``'s.
        options: what decides the pictures; its views are not used.
        photos: sizes of the sets.
        limit_deg: yaws of the largest set are spread evenly over plus and minus this.
        photometric: also score the joint fit of the pixels.
        network: what sees a face before it is fitted, as in ``facekit fit``.
        chosen: heads to use; None draws those of ``eval truth``.
        progress: called with sets done and their number.

    Raises:
        UsageError: a set of no photographs.
        InputError: the heads cannot be read.
        MissingDependencyError: the model or the detector is missing.
    """
    sizes = sorted(set(photos))
    if not sizes or sizes[0] < 1:
        raise UsageError(f"photos: expected sizes of at least 1, got {list(photos)}")
    heads = read_heads(heads_file)
    foreign = open_foreign_heads(heads_file)
    model = load_model(options.model)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)

    fitter = FaceFitter(model, LandmarkFitConfig(), network=open_reader(network, model))

    @lru_cache(maxsize=1)
    def photographs(head: int) -> list[tuple[Picture, Member | None]]:
        pictures = photograph_head(foreign, head, options, count=sizes[-1], limit_deg=limit_deg)
        return [(picture, _member(detector, picture)) for picture in pictures]

    def render(head: int, size: float) -> Picture:
        return photographs(head)[0][0]._replace(name=f"{head} {size:g}")

    def members(picture: Picture) -> list[Member]:
        head, size = (int(part) for part in picture.name.split())
        return [member for _, member in photographs(head)[:size] if member is not None]

    scores = score_heads(
        heads,
        model,
        render=render,
        methods=_methods(fitter, members, photometric=photometric),
        chosen=choose_heads(options.count, len(heads), options.seed) if chosen is None else chosen,
        yaws_deg=[float(size) for size in sizes],
        progress=progress,
    )
    protocol = {
        **{k: v for k, v in asdict(options).items() if k != "yaws_deg"},
        "name": "sets",
        "photos": sizes,
        "limit_deg": limit_deg,
        "heads": heads_file.name,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
        "network": "none" if fitter.network is None else fitter.network.fingerprint,
    }
    return SetsResult(scores, _document(scores, options.seed, protocol))


def _member(detector: Detector, picture: Picture) -> Member | None:
    faces = detector.detect(picture.image)
    return Member(picture.image, faces[:1]) if faces else None


def _methods(
    fitter: FaceFitter, members: Callable[[Picture], list[Member]], *, photometric: bool
) -> dict[str, Predict]:
    model = fitter.model

    def single(picture: Picture) -> NowPrediction | None:
        found = members(picture)
        if not found:
            return None
        return model_prediction(model, fitter.fit(found[0].image, found[0].faces[0]).neutral)

    def joint(solver: ImageSetFitter) -> Predict:
        def predict(picture: Picture) -> NowPrediction | None:
            found = members(picture)
            if not found:
                return None
            result = solver.fit(found)
            face = result.faces[result.best]
            if face is None:
                raise ItemError("; ".join(filter(None, result.reasons)))
            return model_prediction(model, face.neutral)

        return predict

    methods = {LANDMARK_FIT: single, SET_FIT: joint(ImageSetFitter(fitter))}
    if photometric:
        methods[PIXEL_SET_FIT] = joint(ImageSetFitter(replace(fitter, photometric=True)))
    return methods


def _document(scores: Sequence[HeadScore], seed: int, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document: of each size of set every method, and its gain on the mean face."""
    sizes = sorted({score.yaw_deg for score in scores})
    by_size = {}
    for size in sizes:
        mine = [score for score in scores if score.yaw_deg == size]
        report = heads_report(mine, main=SET_FIT, seed=seed, protocol=protocol)
        by_size[f"{size:g}"] = {"methods": report["methods"], "comparisons": report["comparisons"]}
    largest = by_size[f"{sizes[-1]:g}"]
    return {
        "schema": report["schema"],
        "protocol": {"main": SET_FIT, **protocol},
        "metrics": largest["methods"][SET_FIT],
        "photos": by_size,
        "items": [
            {
                "head": s.head,
                "photos": int(s.yaw_deg),
                "method": s.method,
                "missing": s.distances is None,
                **s.details,
            }
            for s in scores
        ],
    }


def by_size(scores: Sequence[HeadScore]) -> list[HeadScore]:
    """Return the scores with each size of set as a method of its own (``set_fit_4``).

    What sees the first photograph alone, or none, is kept once.
    """
    least = min(score.yaw_deg for score in scores)
    kept = []
    for score in scores:
        if score.method in (SET_FIT, PIXEL_SET_FIT):
            kept.append(score._replace(method=f"{score.method}_{score.yaw_deg:g}"))
        elif score.yaw_deg == least:
            kept.append(score)
    return kept


def set_rows(document: dict[str, Any]) -> list[list[object]]:
    """Return one row per size of set and method: median, mean, gain on the mean face, better on."""
    rows: list[list[object]] = []
    for size, report in document["photos"].items():
        for name, numbers in report["methods"].items():
            pair = report["comparisons"].get(name)
            gain = better = low = high = "-"
            if pair is not None and name != MEAN_FACE:
                gain, better = (
                    f"{pair['relative_percent']:+.1f}",
                    f"{pair['better_on_percent']:.0f}",
                )
                low, high = f"{pair['low_mm']:+.3f}", f"{pair['high_mm']:+.3f}"
            shown = [_shown(numbers[key]) for key in ("median", "mean", "missing")]
            rows.append([size, name, *shown, gain, low, high, better])
    return rows


def _shown(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else value

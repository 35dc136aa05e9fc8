"""The second-order fit beside the published first-order one: same pictures, detections, camera.

Each solver minimises an energy of its own, so both energies are evaluated at both results. What
only one of them has (the light, and with Adam the albedo's coefficients) is first fitted to each
result with its shape and pose held, so that no result pays for a light it was never asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit import threads
from facekit.detect import Detector, open_detector
from facekit.errors import ItemError
from facekit.evaluate.gate_bench import PHOTOMETRIC_FIT, paired_difference
from facekit.evaluate.gates import gate_pictures
from facekit.evaluate.heads import (
    HeadScore,
    HeadSet,
    Picture,
    Predict,
    heads_report,
    model_prediction,
    once_each,
    score_heads,
)
from facekit.evaluate.now import NowPrediction
from facekit.evaluate.speed import describe_machine
from facekit.evaluate.truth import LANDMARK_FIT, TruthOptions
from facekit.fit.first_order.fitter import FirstOrderFitter, open_first_order
from facekit.fit.landmark import FaceState, LandmarkFit, LandmarkFitConfig, fit_landmarks
from facekit.fit.photo import FaceFitter
from facekit.fit.photometric import PhotometricFitter, fit_light
from facekit.fit.photometric_problem import Point
from facekit.geometry.cameras import intrinsics_from_fov
from facekit.morphable import load_model
from facekit.types import DetectedFace

ADAM_FIT = "adam_fit"
# Angle of view that both solvers are told: the middle of what the gates' cameras have.
_FOV_DEG = 32.0
_LIGHT_STEPS = 60


class Pair(NamedTuple):
    """Both solvers on one picture.

    Attributes:
        seconds, cpu_seconds: wall and processor time by method.
        posterior: our energy (twice the negative log posterior) at ours and at Adam's result, by
            which of the two the noise, the outline and what is seen were taken from.
        published: Adam's energy at both results.
    """

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    posterior: dict[str, dict[str, float]]
    published: dict[str, float]


class SolverResult(NamedTuple):
    """The scores, each picture's pair, the JSON document, and the heads."""

    scores: list[HeadScore]
    pairs: list[Pair]
    document: dict[str, Any]
    heads: HeadSet


@dataclass
class SolverBench:
    """Runs both solvers on a picture and compares their energies.

    Attributes:
        pixels: second-order; its time includes the landmark fit that it starts from.
        adam: the published schedule.
        detector: of both.
        clock, cpu_clock: seconds; tests give their own.
    """

    pixels: PhotometricFitter
    adam: FirstOrderFitter
    detector: Detector
    clock: Callable[[], float] = time.perf_counter
    cpu_clock: Callable[[], float] = time.process_time

    def __post_init__(self) -> None:
        self.pairs: list[Pair] = []

    def methods(self) -> dict[str, Predict]:
        """The landmark fit, the second-order fit and Adam's as methods of ``score_heads``."""
        run = once_each(self._run)

        def shape(index: int) -> Predict:
            def predict(picture: Picture) -> NowPrediction | None:
                found = run(picture)
                if found is None:
                    return None
                model = self.pixels.model
                return model_prediction(model, model.shape(found[index].identity))

            return predict

        return {LANDMARK_FIT: shape(0), PHOTOMETRIC_FIT: shape(1), ADAM_FIT: shape(2)}

    def _run(self, picture: Picture) -> tuple[LandmarkFit, ...] | None:
        faces = self.detector.detect(picture.image)
        return self._both(picture.image, faces[0]) if faces else None

    def _both(self, image: np.ndarray, face: DetectedFace) -> tuple[LandmarkFit, ...]:
        if face.ibug68 is None:
            raise ItemError("solvers: expected a detection with 68 landmarks")
        height, width = image.shape[:2]
        camera = intrinsics_from_fov(width, height, _FOV_DEG)
        points = face.ibug68
        timed: dict[str, tuple[float, float]] = {}

        def run(name: str, work: Callable[[], Any]) -> Any:
            start, cpu = self.clock(), self.cpu_clock()
            result = work()
            timed[name] = self.clock() - start, self.cpu_clock() - cpu
            return result

        def marks() -> LandmarkFit:
            return fit_landmarks(
                self.pixels.basis,
                self.pixels.model,
                points,
                intrinsics=camera,
                confidence=face.confidence,
                config=self.pixels.landmark_config,
                outline=face.jaw_on_outline,
            )

        start = run(LANDMARK_FIT, marks)
        ours = run(PHOTOMETRIC_FIT, lambda: self.pixels.fit(image, face, marks(), camera)).fit
        theirs = run(ADAM_FIT, lambda: self.adam.fit(image, face, camera))
        self.pairs.append(
            Pair(
                {name: values[0] for name, values in timed.items()},
                {name: values[1] for name, values in timed.items()},
                posterior_energies(self.pixels, image, face, start, camera, ours, theirs.fit),
                published_energies(self.adam, image, face, camera, ours, theirs.fit),
            )
        )
        return start, ours, theirs.fit


def posterior_energies(
    fitter: PhotometricFitter,
    image: np.ndarray,
    face: DetectedFace,
    start: LandmarkFit,
    intrinsics: np.ndarray,
    ours: LandmarkFit,
    theirs: LandmarkFit,
) -> dict[str, dict[str, float]]:
    """Return the photometric fit's energy at two results, seen from either.

    What is seen, its robust weights, its noise, the light's prior and the landmarks' outline are
    held at one result (the outer key ``at_ours`` or ``at_theirs``) and the energies of both
    (``ours``, ``theirs``), each under its best light, are taken with them.
    """
    problem = fitter.problem(image, face, start, intrinsics)
    levels, _ = fitter.begin(problem, image, intrinsics, _state(start))
    level = levels[-1]
    found: dict[str, dict[str, float]] = {}
    points = {}
    for name, fit in (("ours", ours), ("theirs", theirs)):
        _, at = fitter.begin(problem, image, intrinsics, _state(fit))
        seen = problem.see(at, level)
        at = fit_light(problem, at, level, seen, problem.light_prior(at.light))
        points[name] = at
    for name, at in points.items():
        seen = problem.see(at, level)
        robust = problem.robust_weights(at, level, seen.chosen)
        seen, prior = problem.see(at, level, robust), problem.light_prior(at.light)
        found[f"at_{name}"] = {
            other: problem.energy(
                fit_light(problem, Point(place.face, place.light), level, seen, prior),
                level,
                seen,
                prior,
            )
            for other, place in points.items()
        }
    return found


def published_energies(
    adam: FirstOrderFitter,
    image: np.ndarray,
    face: DetectedFace,
    intrinsics: np.ndarray,
    ours: LandmarkFit,
    theirs: LandmarkFit,
) -> dict[str, float]:
    """Return Adam's energy at two results, each under its best light and albedo."""
    problem = adam.problem(image, face, intrinsics)
    found = {}
    for name, fit in (("ours", ours), ("theirs", theirs)):
        at = problem.parameters(fit)
        problem.fit_appearance(at, steps=_LIGHT_STEPS)
        found[name] = problem.energy(at)
    return found


def _state(fit: LandmarkFit) -> FaceState:
    return FaceState(
        np.concatenate([fit.identity, fit.expression]), fit.rotation, fit.translation, 0.0
    )


def evaluate_solvers(
    gate: str,
    options: TruthOptions,
    *,
    schedule: str = "adam-3dmm",
    renderer: str = "builtin",
    heads_file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SolverResult:
    """Run both solvers on a gate's pictures.

    The document is that of ``eval gates`` with the method ``adam_fit`` and, under ``solvers``,
    medians over pictures of both times, their ratio, and both energies.

    Args:
        gate: ``a`` to ``d``; see ``evaluate.gates``.
        options: what decides the pictures.
        schedule: of ``fit.first_order.config.SCHEDULES``; renderer: that it draws through.
        heads_file: of gates (c) and (d).
        progress: called with pictures done and their number.

    Raises:
        UsageError: an unknown gate, schedule or renderer, or no heads file where one is needed.
        ItemError: no picture has a result of both.
        MissingDependencyError: a model, detector or renderer is missing.
    """
    model = load_model(options.model)
    heads, chosen, render = gate_pictures(gate, model, options, heads_file)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    fitter = FaceFitter(model, LandmarkFitConfig(), photometric=True)
    adam = open_first_order(model, fitter.basis, schedule, renderer, fitter.config)
    adam.open()
    bench = SolverBench(fitter.pixels, adam, detector)
    scores = score_heads(
        heads,
        model,
        render=render,
        methods=bench.methods(),
        chosen=chosen,
        yaws_deg=options.yaws_deg,
        progress=progress,
    )
    if not bench.pairs:
        raise ItemError("solvers: no picture has a result of both")
    protocol = {
        **asdict(options),
        "gate": gate,
        "heads": heads_file.name if heads_file is not None and gate in ("c", "d") else None,
        "model": model.name,
        "model_sha256": model.sha256,
        "schedule": asdict(adam.config),
        "renderer": renderer,
        "threads": threads.num_threads(),
    }
    document = heads_report(scores, main=PHOTOMETRIC_FIT, seed=options.seed, protocol=protocol)
    document["solvers"] = summarise_pairs(bench.pairs)
    document["against_adam"] = paired_difference(
        scores, PHOTOMETRIC_FIT, ADAM_FIT, seed=options.seed
    )
    document["machine"] = describe_machine()
    return SolverResult(scores, bench.pairs, document, heads)


def summarise_pairs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return medians of times and energies over pictures, ratios, and how often ours is lower.

    The ratios are Adam's time over ours, picture by picture, of wall and of processor time: the
    second hardly feels what else a machine does.
    """

    def median(values: Sequence[float]) -> float:
        return float(np.median(values))

    def energies(rows: Sequence[dict[str, float]]) -> dict[str, float]:
        return {
            "ours": median([row["ours"] for row in rows]),
            "adam": median([row["theirs"] for row in rows]),
            "ours_lower_percent": 100
            * float(np.mean([row["ours"] <= row["theirs"] for row in rows])),
        }

    def ratio(rows: Sequence[dict[str, float]]) -> float:
        return median([row[ADAM_FIT] / row[PHOTOMETRIC_FIT] for row in rows])

    seconds, cpu = [p.seconds for p in pairs], [p.cpu_seconds for p in pairs]
    return {
        "pictures": len(pairs),
        "seconds": {name: median([row[name] for row in seconds]) for name in seconds[0]},
        "cpu_seconds": {name: median([row[name] for row in cpu]) for name in cpu[0]},
        "ratio": ratio(seconds),
        "cpu_ratio": ratio(cpu),
        "posterior_energy": {
            view: energies([p.posterior[view] for p in pairs]) for view in pairs[0].posterior
        },
        "published_energy": energies([p.published for p in pairs]),
    }

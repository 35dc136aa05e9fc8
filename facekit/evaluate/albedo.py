"""``facekit eval albedo``: fitted skin colour against the paint of rendered heads.

A head of the model's shape gets a procedural skin that is no model's albedo, and is rendered with
cast shadows, highlights, hair and a camera's flaws. Its fitted albedo and the model's mean are
compared with the paint at the vertices that are seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facekit.detect import open_detector
from facekit.errors import ItemError, UsageError
from facekit.evaluate.skin_tone import CLASSES, tone_class
from facekit.fit.albedo import AlbedoFitConfig, fit_albedo, skin_rows
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.fit.vertex_colours import vertex_colours
from facekit.fit.visibility import mean_openness
from facekit.metrics.statistics import paired_bootstrap
from facekit.morphable import load_model
from facekit.simulate.look import random_look
from facekit.simulate.portrait import render_portrait
from facekit.simulate.sampler import ModelSubjects, PortraitOptions, random_view
from facekit.simulate.scene import build_scene
from facekit.simulate.skin import paint_skin

SCHEMA = "facekit.eval/1"
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class AlbedoOptions:
    """What decides the pictures.

    Attributes:
        count: heads, one picture each.
        size: side of the pictures, pixels.
        yaw_deg: largest yaw.
        seed: of every draw.
        model, landmarks: names, as everywhere.
    """

    count: int = 60
    size: int = 400
    yaw_deg: float = 30.0
    seed: int = 0
    model: str = "builtin"
    landmarks: str = "builtin"


def evaluate_albedo(
    options: AlbedoOptions,
    config: AlbedoFitConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the JSON document.

    Errors are root mean squares of linear RGB over the seen vertices of facial skin: ``fitted``
    and ``mean_albedo`` as they are, and ``*_pattern`` after the best gain of each channel, which
    leaves what differs over the face. ``ratio`` is fitted over mean, of the pictures' means. Items
    also say each one's mean luminance.

    Raises:
        UsageError: a model without albedo modes.
        MissingDependencyError: the model or the detector is missing.
    """
    model = load_model(options.model)
    if not model.num_albedo:
        raise UsageError(f"model {model.name}: has no albedo modes to fit")
    detector = open_detector(options.landmarks)
    fitter = FaceFitter(model, LandmarkFitConfig())
    people = ModelSubjects(model)
    openness = mean_openness(model)
    shown = PortraitOptions(size=options.size, yaw_deg=options.yaw_deg, pitch_deg=15, roll_deg=10)
    items: list[dict[str, Any]] = []
    for head in range(options.count):
        rng = np.random.default_rng([options.seed, 41, head])
        subject = people.draw(rng, head)
        look = random_look(rng, size=options.size, glasses=0.0, occluders=0.0, clean=1.0)
        scene = build_scene(subject, look)
        portrait = render_portrait(
            subject, look, random_view(rng, subject, shown), supersample=2, scene=scene
        )
        item: dict[str, Any] = {"head": head, "ita_deg": round(float(look.skin.ita_deg), 1)}
        faces = detector.detect(portrait.image)
        try:
            if not faces:
                raise ItemError("no face found")
            fit = fitter.fit(portrait.image, faces[0])
            seen = vertex_colours(portrait.image, fit.vertices, model.faces, fit.camera)
            found = fit_albedo(seen, model, config, openness=openness)
        except ItemError as error:
            items.append(item | {"error": str(error)})
            continue
        rows = skin_rows(seen, model)
        truth = paint_skin(scene.places[rows], scene.landmarks, look.skin).astype(np.float64)
        for name, albedo in (
            ("fitted", model.albedo(found.coefficients)[rows]),
            ("mean_albedo", model.albedo()[rows]),
        ):
            gain = (albedo * truth).sum(0) / np.maximum((albedo**2).sum(0), 1e-12)
            item[name] = _rms(albedo - truth)
            item[f"{name}_pattern"] = _rms(gain * albedo - truth)
            item[f"{name}_luminance"] = float((albedo @ _LUMINANCE).mean())
        item["true_luminance"] = float((truth @ _LUMINANCE).mean())
        items.append(item)
        if progress is not None:
            progress(head + 1, options.count)
    good = [item for item in items if "error" not in item]
    if not good:
        raise ItemError("albedo: no picture could be fitted")
    groups = {}
    for name, _ in CLASSES:
        part = [item for item in good if tone_class(item["ita_deg"]) == name]
        if part:
            groups[name] = _summary(part)
    mine, base = (np.array([item[key] for item in good]) for key in ("fitted", "mean_albedo"))
    interval = paired_bootstrap(mine, base, statistic="mean", seed=options.seed)
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": "albedo",
            **asdict(options),
            "model_sha256": model.sha256,
            "detector": detector.fingerprint,
            "priors": asdict(config or AlbedoFitConfig()),
        },
        "metrics": {
            **_summary(good),
            "missing": len(items) - len(good),
            "difference_low": interval.low,
            "difference_high": interval.high,
        },
        "groups": groups,
        "items": items,
    }


def _summary(items: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("fitted", "mean_albedo", "fitted_pattern", "mean_albedo_pattern")
    means = {name: float(np.mean([item[name] for item in items])) for name in names}
    return {
        **means,
        "ratio": means["fitted"] / means["mean_albedo"],
        "ratio_pattern": means["fitted_pattern"] / means["mean_albedo_pattern"],
        "count": len(items),
    }


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))

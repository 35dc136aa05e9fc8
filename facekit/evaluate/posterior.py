"""``facekit eval posterior``: do the stated deviations of a fit hold on heads of known shape?

Each head is rendered and fitted as in ``eval truth``, the neutral shape is aligned by NoW's rules,
and every scan point's distance (which is taken along the surface's normal) is compared with the
deviation stated where it lands. What the model cannot express is estimated on one half of the
heads and tested on the other, beside the deviations that facekit ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf

from facekit.detect import open_detector
from facekit.errors import InputError, ItemError
from facekit.evaluate.gates import development_heads
from facekit.evaluate.heads import SCHEMA, HeadSet, choose_heads, model_prediction, read_heads
from facekit.evaluate.now import NowItem, aggregate, score_scan
from facekit.evaluate.truth import (
    LANDMARK_FIT,
    TruthOptions,
    further_fits,
    head_portraits,
)
from facekit.fit.landmark import LandmarkFit, LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.fit.posterior import Discrepancy, SurfacePosterior
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.metrics.statistics import bootstrap_interval, rank_correlation
from facekit.morphable import load_model
from facekit.morphable.model import MorphableModel

SHIPPED, ESTIMATED = "shipped", "estimated"
# Regions of the built-in model that get a deviation of their own; the first that holds a vertex.
REGIONS = ("nose", "lips", "chin", "brows", "eyes", "forehead", "cheeks")
# Mean absolute value of a normal variable of deviation 1.
_MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))
_LEAST_MM, _MOST_MM = 0.1, 6.0
# Deviations at which the share of errors within them is made right.
_AIM = 1.0
_HEAD_DOF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, float("inf"))


@dataclass(frozen=True, eq=False)
class PosteriorItem:
    """One fit of one picture.

    Attributes:
        head, yaw_deg, method: what was fitted, and how.
        distances: (n,) mm, each scan point to the aligned prediction.
        corners: (n, 3) vertices of the triangle it landed on, barycentric: (n, 3) where there.
        spread: (n,) mm^2, the posterior's variance along the normal there.
        strangeness: of the fit, as ``SurfacePosterior.strangeness`` says.
    """

    head: int
    yaw_deg: float
    method: str
    distances: np.ndarray
    corners: np.ndarray
    barycentric: np.ndarray
    spread: np.ndarray
    strangeness: float

    def at(self, values: np.ndarray) -> np.ndarray:
        """Return values (V,) of vertices where the scan points landed, (n,)."""
        return np.einsum("nk,nk->n", self.barycentric, values[self.corners])

    def deviations(self, discrepancy: Discrepancy, unknown: np.ndarray) -> np.ndarray:
        """Return (n,) mm under a discrepancy and its variance (V,)."""
        scale = discrepancy.head_scale(self.strangeness)
        return scale * np.sqrt(self.spread + self.at(unknown))


class PosteriorResult(NamedTuple):
    """The fits, the JSON document, and what was estimated on the first half."""

    items: list[PosteriorItem]
    document: dict[str, Any]
    estimate: Discrepancy


def evaluate_posterior(
    heads_file: Path,
    options: TruthOptions,
    *,
    development: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PosteriorResult:
    """Run the bench over a file of heads.

    Args:
        heads_file: as ``truth.evaluate_truth`` takes it.
        options: what decides the pictures, and which fits there are.
        development: use heads outside those that ``eval truth --count 50 --seed 0`` draws.
        progress: called with pictures done and their number.

    Raises:
        InputError: the heads cannot be read, no picture could be fitted, or fewer than four heads.
        MissingDependencyError: the model or the detector is missing.
    """
    heads = read_heads(heads_file)
    model = load_model(options.model)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    portrait_of = head_portraits(heads_file, options)
    plain = FaceFitter(model, LandmarkFitConfig())
    fitters = {LANDMARK_FIT: plain, **further_fits(options, plain)}
    posterior = SurfacePosterior(model)
    chosen = (
        development_heads(len(heads), options.count)
        if development
        else choose_heads(options.count, len(heads), options.seed)
    )
    items: list[PosteriorItem] = []
    missing = 0
    total = len(chosen) * len(options.yaws_deg)
    for number, head in enumerate(chosen):
        for view, yaw in enumerate(options.yaws_deg):
            image = portrait_of(head, yaw).image
            faces = detector.detect(image)
            for method, fitter in fitters.items():
                try:
                    if not faces:
                        raise ItemError("no face was found")
                    fit = fitter.fit(image, faces[0]).fit
                    items.append(_item(posterior, heads, head, yaw, method, fit))
                except ItemError:
                    missing += 1
            if progress is not None:
                progress(number * len(options.yaws_deg) + view + 1, total)
    protocol = {
        **asdict(options),
        "heads": heads_file.name,
        "development": development,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
    }
    document, estimate = posterior_report(
        items, model, shipped=posterior.discrepancy, seed=options.seed, protocol=protocol
    )
    document["metrics"]["missing"] = missing
    return PosteriorResult(items, document, estimate)


def _item(
    posterior: SurfacePosterior,
    heads: HeadSet,
    head: int,
    yaw: float,
    method: str,
    fit: LandmarkFit,
) -> PosteriorItem:
    model = posterior.model
    scan, marks = heads.scan(head)
    neutral = model.shape(fit.identity)
    score = score_scan(scan, marks, model_prediction(model, neutral), warn=False)
    aligned = score.align(neutral.astype(np.float64))
    found = closest_points(
        build_tree(aligned, model.faces), np.asarray(scan)[score.crop].astype(np.float64)
    )
    corners = model.faces[found.triangle]
    # Distances are in the scan's millimetres, deviations in the prediction's.
    grown = score.start.scale * score.refinement.transform.scale
    spread = posterior.spread(fit)[corners]
    return PosteriorItem(
        head,
        yaw,
        method,
        score.distances / grown,
        corners,
        found.barycentric,
        np.einsum("nk,nk->n", found.barycentric, spread),
        posterior.strangeness(fit),
    )


def estimate_discrepancy(
    items: Sequence[PosteriorItem], model: MorphableModel, *, regions: Sequence[str] = REGIONS
) -> Discrepancy:
    """Estimate what the posterior does not know of.

    For each ``head_dof``, each region's deviation is the one with the right share of errors within
    ``_AIM`` deviations (the errors' tails are not normal, and maximum likelihood would give them
    all the say); the ``head_dof`` under which normal errors are most probable is then taken.

    Raises:
        InputError: there are no items.
    """
    if not items:
        raise InputError("discrepancy: expected at least one fit, got none")
    label = np.full(model.num_vertices, -1)
    known = [name for name in regions if name in model.regions]
    for index, name in enumerate(known):
        label[model.regions[name] & (label < 0)] = index
    nearest = [i.corners[np.arange(len(i.corners)), i.barycentric.argmax(axis=1)] for i in items]
    region = np.concatenate([label[rows] for rows in nearest])
    squared = np.concatenate([i.distances**2 for i in items])
    spread = np.concatenate([i.spread for i in items])
    trials: list[tuple[float, Discrepancy]] = []
    for dof in _HEAD_DOF:
        head = Discrepancy(head_dof=dof)
        scale2 = np.concatenate(
            [np.full(len(i.spread), head.head_scale(i.strangeness) ** 2) for i in items]
        )
        cost, deviations = 0.0, {}
        for index in range(-1, len(known)):
            here = region == index
            deviation, part = _calibrated(squared[here], spread[here], scale2[here])
            cost += part
            deviations[index] = round(deviation, 2)
        found = Discrepancy(
            general_mm=deviations[-1],
            regions_mm=tuple((name, deviations[i]) for i, name in enumerate(known)),
            head_dof=dof,
        )
        trials.append((cost, found))
    return min(trials, key=lambda trial: trial[0])[1]


def posterior_report(
    items: Sequence[PosteriorItem],
    model: MorphableModel,
    *,
    shipped: Discrepancy,
    seed: int,
    protocol: dict[str, Any],
) -> tuple[dict[str, Any], Discrepancy]:
    """Return the JSON document, and the discrepancy estimated on every other head.

    ``rows`` has, for the ``shipped`` deviations on all heads and the ``estimated`` ones on the
    heads that they were not estimated on, each method and view: ``within_1`` and ``within_2``
    (percent of the scan points within one and two deviations, with 95 % intervals that draw whole
    heads), ``error_mm`` and ``expected_mm`` (mean distance and what the deviations expect of it),
    and ``rank`` (Spearman's correlation of these two over heads; ``rank_low`` and ``rank_high``
    its 95 % interval). A view of None takes all views of a head together.

    Raises:
        InputError: fewer than four heads have a fit.
    """
    heads = sorted({item.head for item in items})
    if len(heads) < 4:
        raise InputError(f"posterior: expected fits of at least 4 heads, got {len(heads)}")
    first = set(heads[::2])
    estimate = estimate_discrepancy([i for i in items if i.head in first], model)
    rows = []
    for name, discrepancy, used in (
        (SHIPPED, shipped, list(items)),
        (ESTIMATED, estimate, [i for i in items if i.head not in first]),
    ):
        unknown = discrepancy.variance(model)
        for method in dict.fromkeys(i.method for i in items):
            mine = [i for i in used if i.method == method]
            yaws = sorted({i.yaw_deg for i in mine})
            for yaw in (None, *yaws) if len(yaws) > 1 else yaws:
                here = [i for i in mine if yaw is None or i.yaw_deg == yaw]
                row = {"deviations": name, "method": method, "yaw_deg": yaw}
                rows.append(row | _numbers(here, discrepancy, unknown, seed))
    main = items[-1].method
    pooled = [NowItem(str(i.head), main, i.distances, {}) for i in items if i.method == main]
    document = {
        "schema": SCHEMA,
        "protocol": {"name": "posterior", "main": main, "seed": seed, **protocol},
        "metrics": aggregate(pooled),
        "rows": rows,
        "shipped": _plain(shipped),
        "estimated": _plain(estimate),
        "items": [
            {"head": i.head, "yaw_deg": i.yaw_deg, "method": i.method}
            | _one(i, shipped, shipped.variance(model))
            for i in items
        ],
    }
    return document, estimate


def shares_within(
    items: Sequence[PosteriorItem], discrepancy: Discrepancy, model: MorphableModel
) -> np.ndarray:
    """Return (n,) for each scan point, the probability that an error is at most as large.

    With deviations that hold for normal errors these are uniform in [0, 1].
    """
    unknown = discrepancy.variance(model)
    ratio = [i.distances / i.deviations(discrepancy, unknown) for i in items]
    return erf(np.concatenate(ratio) / np.sqrt(2))


def _calibrated(squared: np.ndarray, spread: np.ndarray, scale2: np.ndarray) -> tuple[float, float]:
    """Return the deviation (mm) with the right share within ``_AIM``, and the cost in nats."""
    if not len(squared):
        return Discrepancy().general_mm, 0.0
    # An error is within k deviations where the discrepancy is at least this.
    needed = np.sqrt(np.maximum(squared / (scale2 * _AIM**2) - spread, 0))
    share = float(erf(_AIM / np.sqrt(2)))
    deviation = float(np.clip(np.quantile(needed, share), _LEAST_MM, _MOST_MM))
    variance = scale2 * (spread + deviation**2)
    return deviation, 0.5 * float((np.log(variance) + squared / variance).sum())


def _one(item: PosteriorItem, discrepancy: Discrepancy, unknown: np.ndarray) -> dict[str, Any]:
    deviations = item.deviations(discrepancy, unknown)
    ratio = item.distances / deviations
    return {
        "within_1": 100 * float((ratio <= 1).mean()),
        "within_2": 100 * float((ratio <= 2).mean()),
        "error_mm": float(item.distances.mean()),
        "expected_mm": _MEAN_ABSOLUTE * float(deviations.mean()),
        "head_scale": discrepancy.head_scale(item.strangeness),
        "points": len(ratio),
    }


def _numbers(
    items: Sequence[PosteriorItem], discrepancy: Discrepancy, unknown: np.ndarray, seed: int
) -> dict[str, Any]:
    """One row of the report; a head's views together are one point of the rank correlation."""
    ones = [_one(item, discrepancy, unknown) for item in items]
    heads = np.array([item.head for item in items])
    row: dict[str, Any] = {"count": len(items), "heads": len(np.unique(heads))}
    for name in ("within_1", "within_2"):
        values = np.array([one[name] for one in ones])
        found = bootstrap_interval(values, groups=heads, statistic="mean", seed=seed)
        row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
    groups = [
        [one for one, h in zip(ones, heads, strict=True) if h == head]
        for head in sorted(set(heads))
    ]
    error = np.array([np.mean([one["error_mm"] for one in group]) for group in groups])
    expected = np.array([np.mean([one["expected_mm"] for one in group]) for group in groups])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(error), len(error)) for _ in range(1000)]
    ranks = [rank_correlation(error[drawn], expected[drawn]) for drawn in draws]
    ranks = [rank for rank in ranks if np.isfinite(rank)] or [float("nan")]
    low, high = np.quantile(ranks, [0.025, 0.975])
    rank = {"rank": rank_correlation(error, expected), "rank_low": low, "rank_high": high}
    row |= {"error_mm": float(error.mean()), "expected_mm": float(expected.mean())}
    return row | {k: float(v) if np.isfinite(v) else None for k, v in rank.items()}


def _plain(discrepancy: Discrepancy) -> dict[str, Any]:
    values = asdict(discrepancy)
    values["regions_mm"] = dict(discrepancy.regions_mm)
    values["head_dof"] = None if np.isinf(discrepancy.head_dof) else discrepancy.head_dof
    return values

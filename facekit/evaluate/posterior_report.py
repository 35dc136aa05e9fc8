"""The files of ``facekit eval posterior``: document, calibration, errors and what was stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.evaluate.head_reports import LIMIT_MM, draw_head_errors, skin_mesh
from facekit.evaluate.heads import HeadSet
from facekit.evaluate.now import crop_scan
from facekit.evaluate.posterior import PosteriorResult, shares_within
from facekit.evaluate.reports import write_report
from facekit.export.curves import draw_curves
from facekit.fit.posterior import Discrepancy
from facekit.morphable.model import MorphableModel


def write_posterior_report(
    folder: Path,
    result: PosteriorResult,
    model: MorphableModel,
    heads: HeadSet,
    *,
    heat: bool = True,
) -> list[Path]:
    """Write ``report.json``, ``items.csv``, the curves, and errors beside deviations on heads.

    ``calibration.png`` draws for each share of the errors how many are as small as the shipped
    deviations say, ``curve.png`` the errors' own distribution. ``heat/METHOD/head007_yaw22.png``
    has a picture's errors, ``stated/`` the deviations at the same points.

    Args:
        folder: made when it is not there.
        result: of ``evaluate_posterior``.
        model: that was fitted.
        heads: the truth.
        heat: draw the errors and deviations.

    Raises:
        InputError: the folder cannot be made or written.
    """
    methods = list(dict.fromkeys(item.method for item in result.items))
    by_method = {name: [i for i in result.items if i.method == name] for name in methods}
    errors = {name: np.concatenate([i.distances for i in by_method[name]]) for name in methods}
    written = write_report(folder, result.document, distances=[errors[methods[-1]]])
    shipped = Discrepancy()
    shares = {name: shares_within(by_method[name], shipped, model) for name in methods}
    written += [
        draw_curves(
            folder / "calibration.png",
            {"as stated": np.linspace(0, 1, 401), **shares},
            limit=1.0,
            xlabel="share of the errors that should be smaller",
            title="share that is, by the shipped deviations",
        ),
        draw_curves(
            folder / "curve.png",
            errors,
            limit=LIMIT_MM,
            xlabel="distance of a point, mm",
            title="posterior: share of points at or below",
        ),
    ]
    if not heat:
        return written
    unknown = shipped.variance(model)
    _, faces = skin_mesh(heads)
    for item in result.items:
        skin, marks = heads.scan(item.head)
        crop = crop_scan(skin, marks)
        name = f"head{item.head:03d}_yaw{item.yaw_deg:g}"
        for kind, values in (
            ("heat", item.distances),
            ("stated", item.deviations(shipped, unknown)),
        ):
            path = folder / kind / item.method / f"{name}.png"
            title = f"{item.method}, {name}: {'error' if kind == 'heat' else 'stated deviation'}"
            written.append(draw_head_errors(path, skin, faces, crop, values, title=title))
    return written

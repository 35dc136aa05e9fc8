"""The report of a calibration: one page with coverage and residuals of every camera."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import cv2
import numpy as np

from facekit.capture.calibrate import Calibration, PictureError, picture_errors
from facekit.io.atomic import write_text

_SIDE = 220
_CELLS = 8
_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; }
body { max-width: 1180px; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p.sum { margin: 0 0 1rem; opacity: .8; }
table { border-collapse: collapse; font-size: .88rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .7rem .2rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.cameras { display: flex; flex-wrap: wrap; gap: 1rem; }
.camera { width: 450px; } .camera h3 { font-size: .95rem; margin: .4rem 0 .2rem; }
.camera img { width: 220px; height: 220px; } .bad { color: #b3261e; }
.bars span { display: inline-block; vertical-align: bottom; width: 9px; margin-right: 1px; }
.bars span { background: #5b8def; } .bars span.bad { background: #b3261e; }
"""


def write_report(path: Path, result: Calibration) -> Path:
    """Write ``report.html``.

    For each camera: where its corners lie with the errors as lines (magnified, see the caption),
    the errors about their middle, and each picture's error as a bar. Pictures set aside and cells
    of the picture that no corner fell in are named.
    """
    pictures = picture_errors(result)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Calibration</title><style>{_STYLE}</style></head><body>",
        "<h1>Calibration</h1>",
        f"<p class='sum'>{len(result.cameras)} cameras, {len(result.frames)} frames of the board, "
        f"{len(pictures)} pictures, {len(result.seen.camera)} corners: {result.rms_px:.3f} px rms, "
        f"median {result.median_px:.3f} px. World frame: {html.escape(result.rig.frame)}, mm.</p>",
    ]
    if result.failures:
        parts.append("<h2>Set aside</h2><ul>")
        parts += [
            f"<li class='bad'>{html.escape(f['input'])}: {html.escape(f['error'])}</li>"
            for f in result.failures
        ]
        parts.append("</ul>")
    parts += ["<h2>Cameras</h2>", _table(result, pictures), "<div class='cameras'>"]
    magnified = 12 / max(result.rms_px, 1e-6)
    for row, name in enumerate(result.cameras):
        parts.append(_camera(result, row, name, pictures, magnified))
    parts.append(
        f"</div><p>Left: every corner and its error, {magnified:.0f} times as long. Right: errors "
        f"about zero; the circle is {3 * result.rms_px:.3f} px. Bars: the pictures' rms.</p>"
    )
    worst = sorted(pictures, key=lambda p: -p.rms_px)[:12]
    parts.append(
        "<h2>Worst pictures</h2><table><tr><th>picture</th><th>corners</th><th>rms px</th>"
    )
    parts.append("<th>largest px</th><th>outliers</th></tr>")
    parts += [
        f"<tr><td>{html.escape(p.camera)}/{html.escape(p.frame)}</td><td>{p.corners}</td>"
        f"<td>{p.rms_px:.3f}</td><td>{p.largest_px:.3f}</td><td>{p.outliers}</td></tr>"
        for p in worst
    ]
    parts.append("</table></body></html>\n")
    return write_text(path, "\n".join(parts))


def coverage(result: Calibration, row: int) -> float:
    """Return the share of an 8 x 8 grid over camera ``row``'s picture that has corners in it."""
    camera = result.rig.cameras[result.cameras[row]]
    points = result.seen.pixels[result.seen.camera == row]
    cells = (points / [camera.width, camera.height] * _CELLS).astype(int).clip(0, _CELLS - 1)
    return len({(int(x), int(y)) for x, y in cells}) / _CELLS**2


def _table(result: Calibration, pictures: list[PictureError]) -> str:
    head = ("camera", "pictures", "corners", "rms px", "alone px", "coverage", "f px", "f &plusmn;")
    rows = ["<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"]
    for row, name in enumerate(result.cameras):
        mine = result.seen.camera == row
        covariance = result.rig.covariance[name]
        cells = (
            html.escape(name),
            str(sum(p.camera == name for p in pictures)),
            str(int(mine.sum())),
            f"{result.rig.rms_px[name]:.3f}",
            f"{result.alone[name].rms_px:.3f}",
            f"{100 * coverage(result, row):.0f} %",
            f"{result.rig.cameras[name].intrinsics[0, 0]:.2f}",
            f"{np.sqrt(covariance[0, 0]):.2f}",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join([*rows, "</table>"])


def _camera(
    result: Calibration, row: int, name: str, pictures: list[PictureError], magnified: float
) -> str:
    mine = result.seen.camera == row
    points, errors = result.seen.pixels[mine], result.residuals[mine]
    good = result.inlier[mine]
    camera = result.rig.cameras[name]
    bars = []
    own = [p for p in pictures if p.camera == name]
    tallest = max(4 * result.rms_px, 1e-6)
    for picture in own:
        height = 2 + round(38 * min(picture.rms_px / tallest, 1))
        bad = " class='bad'" if picture.rms_px > 3 * result.rms_px else ""
        title = f"{picture.frame}: {picture.rms_px:.3f} px, {picture.corners} corners"
        bars.append(
            f"<span{bad} style='height:{height}px' title='{html.escape(title, quote=True)}'></span>"
        )
    return (
        f"<div class='camera'><h3>{html.escape(name)}</h3>"
        f"{_image(_map(points, errors, good, (camera.width, camera.height), magnified))} "
        f"{_image(_scatter(errors, good, 3 * result.rms_px))}"
        f"<div class='bars'>{''.join(bars)}</div></div>"
    )


def _map(
    points: np.ndarray,
    errors: np.ndarray,
    good: np.ndarray,
    size: tuple[int, int],
    magnified: float,
) -> np.ndarray:
    scale = _SIDE / max(size)
    picture = np.full((round(size[1] * scale), round(size[0] * scale), 3), 245, np.uint8)
    for point, error, fine in zip(points, errors, good, strict=True):
        start = scale * (point + 0.5) - 0.5
        length = error * magnified * 0.5
        stop = start + length * min(1, 30 / max(float(np.linalg.norm(length)), 1e-9))
        colour = (190, 110, 40) if fine else (30, 30, 200)
        cv2.line(picture, _fixed(start), _fixed(stop), colour, 1, cv2.LINE_AA, 4)
    return picture


def _scatter(errors: np.ndarray, good: np.ndarray, radius: float) -> np.ndarray:
    picture = np.full((_SIDE, _SIDE, 3), 245, np.uint8)
    middle, scale = _SIDE / 2, 0.4 * _SIDE / max(radius, 1e-9)
    cv2.circle(
        picture,
        _fixed(np.array([middle, middle])),
        round(0.4 * _SIDE * 16),
        (170,) * 3,
        1,
        cv2.LINE_AA,
        4,
    )
    places = np.clip(middle + scale * errors, 2, _SIDE - 3)
    for place, fine in zip(places, good, strict=True):
        colour = (190, 110, 40) if fine else (30, 30, 200)
        cv2.circle(picture, _fixed(place), 16, colour, -1, cv2.LINE_AA, 4)
    return picture


def _fixed(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0]) * 16), round(float(point[1]) * 16)


def _image(picture: np.ndarray) -> str:
    data = cv2.imencode(".png", picture)[1].tobytes()
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"

"""``facekit eval images``: renders against the photographs that they should look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate import perceptual
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    stranger,
    summary,
)
from facekit.io.discover import find_images
from facekit.io.images import read_image
from facekit.io.masks import read_coverage, read_mask
from facekit.io.obj import read_obj
from facekit.io.params import params_camera, read_params
from facekit.metrics.images import picture_likeness
from facekit.metrics.statistics import bootstrap_interval
from facekit.render.images import render_textured

METRICS = ("psnr", "ssim", "lpips", "fid")
HIGHER_IS_BETTER = ("psnr", "ssim")


@dataclass(frozen=True)
class ImageOptions:
    """What is measured.

    Attributes:
        metrics: of ``METRICS``; the first is an item's value (FID has none an item).
        masks: folder of masks by the photographs' names, or None.
        allow_download: let torch fetch LPIPS' and FID's weights.
        jobs: processes, without LPIPS and FID.
    """

    metrics: tuple[str, ...] = ("psnr", "ssim")
    masks: Path | None = None
    allow_download: bool = False
    jobs: int = 1

    def __post_init__(self) -> None:
        unknown = [m for m in self.metrics if m not in METRICS]
        if unknown or not self.metrics or self.metrics[0] == "fid":
            raise InputError(
                f"metrics: expected some of {', '.join(METRICS)}, first one of an image (not fid), "
                f"got {', '.join(self.metrics) or 'none'}"
            )


class _Piece(NamedTuple):
    name: str
    photograph: Path
    render: Path | None
    mask: Path | None


class _Compared(NamedTuple):
    item: ScanItem
    pair: tuple[np.ndarray, np.ndarray] | None


def evaluate_images(
    predictions: Path,
    data: Path,
    options: ImageOptions | None = None,
    *,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Compare renders with photographs of the same name.

    A render is an image of the photograph's size (where it has an alpha channel only its opaque
    pixels count), or a folder of ``facekit fit``, whose textured face is rendered by its own
    camera. With masks only their pixels count, too. For LPIPS and FID everything else of the
    render is replaced by the photograph.

    Args:
        predictions: folder of renders or of fits.
        data: folder of photographs; every one needs a render.
        options: what is measured.
        progress: called with photographs done and their number.

    Raises:
        InputError: a folder is missing or empty.
        MissingDependencyError: LPIPS or FID cannot be computed here.
    """
    chosen = options or ImageOptions()
    networks = [m for m in chosen.metrics if m in ("lpips", "fid")]
    for metric in networks:
        perceptual.require(metric, allow_download=chosen.allow_download)
    if chosen.masks is not None and not chosen.masks.is_dir():
        raise InputError(f"{chosen.masks}: expected a folder of masks, found none")
    photographs = {item.key: item.path for item in find_images([data])}
    renders = find_renders(predictions)
    masks = {} if chosen.masks is None else {i.key: i.path for i in find_images([chosen.masks])}
    pieces = [_Piece(k, p, renders.get(k), masks.get(k)) for k, p in photographs.items()]
    jobs = 1 if networks else chosen.jobs
    compared = run_pieces(
        _compare, chosen, pieces, jobs=jobs, done=counter([1] * len(pieces), progress)
    )
    items = [c.item for c in compared]
    items += [stranger(key, "photograph", photographs) for key in renders if key not in photographs]
    document = scan_document(items, protocol=_protocol(chosen))
    document["measures"] = _measures(items, chosen)
    if "fid" in chosen.metrics:
        pairs = [c.pair for c in compared if c.pair is not None]
        document["metrics"]["fid"] = perceptual.fid(pairs) if len(pairs) > 1 else None
    return ScanEvaluation(items, document, {})


def find_renders(root: Path) -> dict[str, Path]:
    """Find renders by name: image files, or folders that ``facekit fit`` wrote.

    Raises:
        InputError: no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of renders, found none")
    fits = sorted(p.parent for p in root.rglob("params.npz") if p.with_name("face.obj").is_file())
    if fits:
        return {p.relative_to(root).as_posix(): p for p in fits}
    return {item.key: item.path for item in find_images([root])}


def render_fit(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Render a fit's textured face by its own camera: (H, W, 3) uint8, and where it is (H, W).

    Raises:
        InputError: a file is missing or unreadable.
        ItemError: the texture cannot be read.
    """
    params = read_params(folder / "params.npz")
    texture = read_image(folder / "texture.jpg")
    picture = render_textured(read_obj(folder / "face.obj"), texture, params_camera(params))
    return picture.image, picture.alpha >= 0.999


def _compare(options: ImageOptions, piece: _Piece) -> _Compared:
    try:
        photograph = read_image(piece.photograph)
        if piece.render is None:
            raise ItemError("no render was found")
        if piece.render.is_dir():
            picture, where = render_fit(piece.render)
        else:
            picture, covered = read_image(piece.render), read_coverage(piece.render)
            where = np.ones(picture.shape[:2], bool) if covered is None else covered
        if picture.shape != photograph.shape:
            raise ItemError(
                f"the render has {picture.shape[1]} x {picture.shape[0]} pixels, the photograph "
                f"{photograph.shape[1]} x {photograph.shape[0]}"
            )
        if options.masks is not None:
            where = where & _mask(piece, where.shape)
        found = picture_likeness(picture, photograph, where)
        details: dict[str, Any] = {"psnr": found.psnr, "ssim": found.ssim, "pixels": found.pixels}
        pair = None
        if {"lpips", "fid"} & set(options.metrics):
            pair = (np.where(where[..., None], picture, photograph), photograph)
        if pair is not None and "lpips" in options.metrics:
            details["lpips"] = _lpips()(*pair)
    except FacekitError as error:
        return _Compared(ScanItem(piece.name, error=str(error)), None)
    value = float(details[options.metrics[0]])
    kept = pair if "fid" in options.metrics else None
    return _Compared(ScanItem(piece.name, value=value, details=details), kept)


def _mask(piece: _Piece, shape: tuple[int, ...]) -> np.ndarray:
    if piece.mask is None:
        raise ItemError("no mask was found")
    mask = read_mask(piece.mask)
    if mask.shape != shape:
        raise ItemError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the photograph "
            f"{shape[1]} x {shape[0]}"
        )
    return mask


_network: list[Any] = []


def _lpips() -> Any:
    if not _network:
        _network.append(perceptual.lpips_metric())
    return _network[0]


def _protocol(options: ImageOptions) -> dict[str, Any]:
    return {
        "name": "images",
        "metrics": list(options.metrics),
        "value": options.metrics[0],
        "masks": None if options.masks is None else options.masks.name,
    }


def _measures(items: Sequence[ScanItem], options: ImageOptions) -> Mapping[str, Any]:
    """Return each measure's summary over images with the mean's 95 % interval."""
    table = {}
    for name in options.metrics:
        if name == "fid":
            continue
        rows = [
            item if item.value is None else ScanItem(item.name, value=float(item.details[name]))
            for item in items
        ]
        values = np.array([row.value for row in rows if row.value is not None], np.float64)
        one = summary(rows)
        if len(values):
            interval = bootstrap_interval(values, statistic="mean")
            one |= {"low": interval.low, "high": interval.high}
        table[name] = one
    return table

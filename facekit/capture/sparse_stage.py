"""The sparse stage of a scan: what is known of the cameras decides what is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.capture import sparse
from facekit.capture.feature_check import judge_matches
from facekit.capture.photographs import Photograph
from facekit.errors import ItemError
from facekit.io.atomic import atomic_path
from facekit.io.rig import write_rig
from facekit.types import Camera, Rig

SELF_CALIBRATED = (
    "lenses were estimated from the photographs: on a synthetic stage this costs a factor of ten "
    "to fifteen in the cameras' places, and the reprojection error does not show it; calibrate "
    "the cameras (facekit calibrate) for measurements"
)

# Views farther apart than this show too different pictures for features to match.
_MATCHED_DEG = 45.0


class SparseOptions(NamedTuple):
    """How: see ``ScanOptions``."""

    poses: str
    mapping: str
    trust_cameras: bool


def run_sparse(
    work: Path,
    images: Path,
    masks: Path | None,
    photographs: Sequence[Photograph],
    options: SparseOptions,
) -> dict[str, Any]:
    """Find or check the cameras of photographs.

    Writes ``cameras.json`` (the working frame; by photograph's name) and ``points.npz`` into
    ``work``, and COLMAP's model into ``work/model`` when there is one.

    Returns:
        Facts for the report: mode, scale, warnings, failures, per camera what was measured.

    Raises:
        ItemError: no cameras came out. MissingDependencyError: pycolmap is missing.
    """
    files = {f"{p.name}.png": p for p in photographs}
    measured = {name: p.camera for name, p in files.items() if p.camera is not None}
    known = len(measured) == len(files)
    facts: dict[str, Any] = {"scale": "metric", "warnings": [], "failures": [], "cameras": {}}
    if known and options.trust_cameras:
        facts["mode"] = "cameras as given, not checked"
        _write(work, {_key(name): camera for name, camera in measured.items()})
        return facts
    database = work / "features.db"
    focals = {name: p.focal_px for name, p in files.items() if p.focal_px}
    if not database.with_suffix(".done").exists():
        sparse.find_matches(
            database,
            images,
            list(files),
            cameras=measured if known else None,
            focals=focals if len(focals) == len(files) else {},
            masks=masks,
            pairs=_near_pairs(measured) if known and options.poses != "estimate" else None,
        )
        database.with_suffix(".done").touch()
    if known and options.poses != "estimate":
        model = sparse.triangulate(
            database, images, work / "model", measured, refine=options.poses == "refine"
        )
        facts["mode"] = (
            "cameras as given" if options.poses == "given" else "poses refined, lenses as given"
        )
        cameras = measured if options.poses == "given" else _kept_lenses(model.rig, measured)
        distances = _check(facts, database, measured)
    else:
        method = options.mapping if known else "incremental"
        model, others = sparse.map_images(
            database, images, work / "model", fixed=known, method=method
        )
        facts["mode"] = "lenses as given, poses estimated" if known else "everything estimated"
        facts["scale"] = "arbitrary"
        if not known:
            facts["warnings"].append(SELF_CALIBRATED)
        cameras = _kept_lenses(model.rig, measured) if known else dict(model.rig.cameras)
        distances = {}
        for other in others:
            facts["warnings"].append(
                f"{len(other.rig.cameras)} photographs form a separate model that was left out"
            )
        for name in sorted(set(files) - set(cameras)):
            facts["failures"].append(
                {
                    "input": str(files[name].path),
                    "error": "could not be placed among the other photographs",
                }
            )
        if len(cameras) < 3:
            raise ItemError(
                f"only {len(cameras)} photographs could be placed; expected at least 3 views "
                "that overlap, of a subject with texture that does not move"
            )
    for name in cameras:
        facts["cameras"][_key(name)] = {
            "reprojection_px": _number(model.reprojection_px.get(name, float("nan"))),
            "epipolar_px": _number(distances.get(_key(name), float("nan"))),
        }
    facts["points"] = len(model.points)
    facts["model"] = str(model.path.relative_to(work))
    _write(work, {_key(name): camera for name, camera in cameras.items()}, model.points)
    return facts


def _near_pairs(cameras: dict[str, Camera]) -> list[tuple[str, str]]:
    """Return pairs of cameras that look in directions less than 45 degrees apart."""
    names = sorted(cameras)
    axes = np.array([cameras[name].rotation[2] for name in names])
    near = np.argwhere(np.triu(axes @ axes.T > np.cos(np.radians(_MATCHED_DEG)), 1))
    return [(names[i], names[j]) for i, j in near]


def _key(name: str) -> str:
    return name.removesuffix(".png")


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _kept_lenses(rig: Rig, measured: dict[str, Camera]) -> dict[str, Camera]:
    """Return the poses of a mapping with the measured lenses (k3 included, sizes as measured)."""
    cameras = {}
    for name, placed in rig.cameras.items():
        lens = measured[name]
        cameras[name] = Camera(
            lens.intrinsics,
            placed.rotation,
            placed.translation,
            lens.width,
            lens.height,
            lens.distortion,
        )
    return cameras


def _check(facts: dict[str, Any], database: Path, measured: dict[str, Camera]) -> dict[str, float]:
    """Note cameras that moved; return every camera's distance from the epipolar lines, pixels."""
    rig = Rig({_key(name): camera for name, camera in measured.items()})
    pixels, matches = sparse.read_matches(database)
    try:
        checks = judge_matches(
            rig,
            {_key(name): found for name, found in pixels.items()},
            {(_key(one), _key(other)): rows for (one, other), rows in matches.items()},
        )
    except ItemError as error:
        facts["warnings"].append(f"the cameras could not be checked: {error}")
        return {}
    facts["moved"] = [check.name for check in checks if check.moved]
    for check in checks:
        if check.moved:
            facts["warnings"].append(
                f"camera {check.name} seems to have moved since it was calibrated: its matches "
                f"lie {check.error_px:.2f} px (median) from where the cameras' file says"
            )
    return {check.name: check.error_px for check in checks}


def _write(work: Path, cameras: dict[str, Camera], points: np.ndarray | None = None) -> None:
    write_rig(work / "cameras.json", Rig(cameras, "working frame of the scan"))
    with atomic_path(work / "points.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, points=np.zeros((0, 3)) if points is None else points)

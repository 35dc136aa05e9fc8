"""Folders of scans to a folder of registered heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.basis.register import RegisterOptions, Registrar, Registration
from facekit.basis.registered import RegisteredHead, write_head, write_index
from facekit.basis.scan_files import NEUTRAL, ScanItem, read_scan
from facekit.basis.template_file import HeadTemplate, write_template
from facekit.errors import FacekitError, ItemError
from facekit.export.heat import draw_heat_map
from facekit.io.atomic import write_json
from facekit.io.npz import read_npz
from facekit.morphable.model import MorphableModel
from facekit.runs import RunFolder, file_sha256

TEMPLATE_NAME = "template.npz"
_HEAT_MM = 1.0
_UP, _OUT = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class BatchOptions:
    """What a batch of registrations does besides registering.

    Attributes:
        unit: of the meshes and landmarks.
        pictures: write a heat map beside each head.
        overwrite: do everything again.
    """

    unit: str = "mm"
    pictures: bool = True
    overwrite: bool = False


class RegisterResult(NamedTuple):
    """What a batch made.

    Attributes:
        rows: of the index; a scan that could not be registered has none.
        failures: ``input`` and ``error`` of scans without an accepted head.
        made: scans registered now.
        seconds: of each of them, without reading and pictures.
    """

    rows: list[RegisteredHead]
    failures: list[dict[str, str]]
    made: int
    seconds: list[float]


def register_scans(
    items: Sequence[ScanItem],
    output: Path,
    template: HeadTemplate,
    prior: MorphableModel | None,
    *,
    options: RegisterOptions | None = None,
    batch: BatchOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RegisterResult:
    """Register scans and write ``REG``: heads, pictures, index, failures, template, manifest.

    A scan that cannot be registered, or whose registration is not accepted, is named in
    ``failures.json``; the others go on. Running again registers what is missing or changed.

    Args:
        items: of ``find_scans``, neutral faces first.
        output: the folder.
        template, prior: see ``Registrar``.
        options: of the registration; batch: of the folder.
        progress: called with (done, total).

    Raises:
        OutputExistsError: the folder was made with another template, prior or options.
    """
    chosen = batch or BatchOptions()
    registrar = Registrar(template, prior, options)
    run = RunFolder(
        output,
        command="basis register",
        options={**asdict(registrar.options), "unit": chosen.unit},
        assets={"template": template.sha256, "prior": prior.sha256 if prior else "none"},
        overwrite=chosen.overwrite,
    )
    write_template(template, output / TEMPLATE_NAME)
    made, seconds = 0, []
    hashes: dict[str, str] = {}
    for number, item in enumerate(items):
        sha = file_sha256(item.mesh)
        if item.landmarks.is_file():
            sha += file_sha256(item.landmarks)
        if item.expression:
            sha += hashes.get(item.subject, "")
        hashes[item.key] = sha
        if not run.is_done(item.key, sha):
            record, spent = _attempt(registrar, item, output, run, chosen)
            run.record(item.key, {"input": str(item.mesh), "sha256": sha, **record})
            made += 1
            if spent is not None:
                seconds.append(spent)
        if progress:
            progress(number + 1, len(items))
    rows, failures = [], []
    for key in sorted(run.records):
        record = run.records[key]
        if "row" in record:
            rows.append(RegisteredHead(*record["row"]))
        reason = record.get("error") or (rows[-1].reason if not rows[-1].accepted else "")
        if reason:
            failures.append({"input": record["input"], "error": reason})
    write_index(output, rows)
    write_json(output / "failures.json", failures)
    run.close()
    return RegisterResult(rows, failures, made, seconds)


def _attempt(
    registrar: Registrar, item: ScanItem, output: Path, run: RunFolder, batch: BatchOptions
) -> tuple[dict[str, Any], float | None]:
    """Register one scan; return its record and the seconds it took."""
    try:
        scan = read_scan(item, unit=batch.unit)
        start = time.monotonic()
        if item.expression:
            found = registrar.expression(scan, _neutral(item, output, run))
        else:
            found = registrar.neutral(scan)
        spent = time.monotonic() - start
    except FacekitError as error:
        return {"error": str(error), "outputs": []}, None
    row = write_head(
        output,
        found.vertices,
        subject=item.subject,
        expression=item.expression,
        template_sha256=registrar.template.sha256,
        residuals=found.residuals,
        accepted=found.accepted,
        reason=found.reason,
    )
    outputs = [row.path]
    if batch.pictures:
        picture = str(Path(row.path).with_suffix(".png"))
        _draw(output / picture, registrar.template, found, item.key)
        outputs.append(picture)
    quality = {name: round(value, 4) for name, value in _quality(found).items()}
    return {"outputs": outputs, "row": list(row), "quality": quality}, spent


def _neutral(item: ScanItem, output: Path, run: RunFolder) -> np.ndarray:
    record = run.records.get(item.subject, {})
    if "row" not in record:
        why = record.get("error", f"there is no scan {item.subject} or {item.subject}/{NEUTRAL}")
        raise ItemError(f"an expression needs the same person's registered neutral face: {why}")
    row = RegisteredHead(*record["row"])
    if not row.accepted:
        raise ItemError(f"the same person's neutral face was not accepted: {row.reason}")
    return read_npz(output / row.path, what="a registered head")["vertices"].astype(np.float64)


def _quality(found: Registration) -> dict[str, float]:
    names = ("coverage", "surface_mm", "surface_p95_mm", "landmark_mm", "folded", "unlikely")
    return {name: float(np.nan_to_num(getattr(found, name), posinf=-1.0)) for name in names}


def _draw(path: Path, template: HeadTemplate, found: Registration, name: str) -> None:
    errors = np.where(template.part == 0, found.residuals, np.nan)
    state = "accepted" if found.accepted else "set aside"
    draw_heat_map(
        path,
        found.vertices,
        template.faces,
        errors,
        axes=(_UP, _OUT),
        limit=_HEAT_MM,
        title=f"{name}: {state}; {found.surface_mm:.3f} mm, covered {100 * found.coverage:.0f} %",
    )

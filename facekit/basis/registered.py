"""Folders of registered heads: ``REG/<subject>[/<expression>].npz`` and ``REG/index.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.carry import Carrier
from facekit.basis.ict_source import IctSource
from facekit.basis.template import Template
from facekit.basis.template_file import HeadTemplate
from facekit.errors import InputError
from facekit.io.atomic import atomic_path, make_folder, write_text
from facekit.io.npz import read_npz

COLUMNS = ("subject", "expression", "path", "accepted", "residual_mm", "reason")
MEAN_SUBJECT = "source_mean"


class RegisteredHead(NamedTuple):
    """A row of the index.

    Attributes:
        subject, expression: names; expression is empty for the neutral face.
        path: of the .npz, relative to the folder.
        accepted: whether a basis may use it; residual_mm: mean distance to its scan.
        reason: why it was not accepted.
    """

    subject: str
    expression: str
    path: str
    accepted: bool
    residual_mm: float
    reason: str


def write_head(
    folder: Path,
    vertices: np.ndarray,
    *,
    subject: str,
    expression: str = "",
    template_sha256: str,
    residuals: np.ndarray | None = None,
    accepted: bool = True,
    reason: str = "",
) -> RegisteredHead:
    """Write one registered head and return its row.

    The .npz has ``vertices`` (V, 3) float32 mm, ``template_sha256``, ``residuals`` (V,) float32
    mm to the scan (empty when there was none, NaN where it shows nothing), ``accepted`` and
    ``reason``.
    """
    relative = Path(subject) / f"{expression}.npz" if expression else Path(f"{subject}.npz")
    residuals = np.zeros(0, np.float32) if residuals is None else residuals.astype(np.float32)
    with atomic_path(folder / relative) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            vertices=vertices.astype(np.float32),
            template_sha256=np.array(template_sha256),
            residuals=residuals,
            accepted=np.array(accepted),
            reason=np.array(reason),
        )
    known = residuals[np.isfinite(residuals)]
    residual = float(known.mean()) if len(known) else 0.0
    return RegisteredHead(subject, expression, relative.as_posix(), accepted, residual, reason)


def write_index(folder: Path, rows: list[RegisteredHead]) -> Path:
    """Write ``index.csv`` and return its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            [row.subject, row.expression, row.path, int(row.accepted), row.residual_mm, row.reason]
        )
    return write_text(folder / "index.csv", text.getvalue())


def read_index(folder: Path) -> list[RegisteredHead]:
    """Read ``index.csv``.

    Raises:
        InputError: it is missing or has other columns.
    """
    path = folder / "index.csv"
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a folder of registered heads with index.csv (facekit basis sample"
            " or register makes one), found none"
        )
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path}: expected the columns {', '.join(COLUMNS)}")
        return [
            RegisteredHead(
                r["subject"],
                r["expression"],
                r["path"],
                r["accepted"] == "1",
                float(r["residual_mm"]),
                r["reason"],
            )
            for r in reader
        ]


def read_vertices(folder: Path, row: RegisteredHead, template: HeadTemplate) -> np.ndarray:
    """Read a registered head's vertices (V, 3) float32, mm.

    Raises:
        InputError: the file is missing, damaged, or was made for another template.
    """
    path = folder / row.path
    data = read_npz(path, what="a registered head")
    missing = [key for key in ("vertices", "template_sha256") if key not in data]
    if missing:
        raise InputError(f"{path}: expected a registered head; missing {missing}")
    if str(data["template_sha256"]) != template.sha256:
        raise InputError(
            f"{path}: was registered to another template; register it again or pass its template"
        )
    vertices = data["vertices"]
    if vertices.shape != template.vertices.shape:
        raise InputError(
            f"{path}: expected vertices {template.vertices.shape}, got {vertices.shape}"
        )
    return vertices


def sample_heads(
    source: IctSource,
    template: HeadTemplate,
    folder: Path,
    *,
    count: int = 300,
    seed: int = 0,
    clip: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[RegisteredHead]:
    """Draw heads of the source, carry them to the template and write a registered folder.

    Each head has identity weights N(0, 1) clipped to +-``clip``. The source's mean is written
    too, as subject ``source_mean``, with each of the source's expressions.
    """
    if count < 2:
        raise InputError(f"count: expected at least 2 heads, got {count}")
    make_folder(folder)
    carrier = Carrier(source, _topology(template))
    draws = np.random.default_rng(seed).standard_normal((count, source.num_identity))
    draws = np.clip(draws, -clip, clip)
    rows = []
    total = count + 1 + len(source.expression_names)
    for name, expression, vertices in _heads(source, carrier, draws):
        rows.append(
            write_head(
                folder,
                vertices,
                subject=name,
                expression=expression,
                template_sha256=template.sha256,
            )
        )
        if progress:
            progress(len(rows), total)
    write_index(folder, rows)
    return rows


def _heads(
    source: IctSource, carrier: Carrier, draws: np.ndarray
) -> Iterator[tuple[str, str, np.ndarray]]:
    yield MEAN_SUBJECT, "", carrier.carry(source.neutral)
    for name in source.expression_names:
        yield MEAN_SUBJECT, name, carrier.carry_expression(name)
    for i in range(len(draws)):
        yield f"head_{i:04d}", "", carrier.carry(source.identity(draws[i : i + 1])[0])


def _topology(template: HeadTemplate) -> Template:
    return Template(template.faces, template.mirror, template.skin, template.part, template.rim)

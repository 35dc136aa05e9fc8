"""The summary of a batch: ``summary.csv``, ``failures.json`` and ``index.html``."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from facekit.io.atomic import write_json, write_text


def write_summary(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write one CSV row per result; a missing value stays empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, buffer.getvalue())


def write_failures(path: Path, failures: Sequence[Mapping[str, str]]) -> Path:
    """Write the items that have no valid result, each with the reason; ``[]`` when none."""
    return write_json(path, list(failures))


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #8889; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; }
body { max-width: 1180px; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
p.sum { margin: 0 0 1.6rem; opacity: .75; }
.face { border-top: 1px solid var(--line); padding: 1rem 0 1.2rem; }
.face img { width: 100%; max-height: 320px; object-fit: contain; object-position: left; }
.face h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.face .facts { opacity: .8; font-size: .88rem; margin: .3rem 0; }
.face a { margin-right: .9rem; }
.fail { color: #b3261e; overflow-wrap: anywhere; }
"""


def write_index(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    failures: Sequence[Mapping[str, str]],
    *,
    title: str,
    files: Sequence[str],
) -> Path:
    """Write a page that shows every result beside its input, with links to its files.

    Args:
        path: ``index.html``; pictures are referred to relative to it.
        rows: one mapping per face: ``folder``, ``input`` and facts to print.
        failures: mappings with ``input`` and ``error``.
        title: heading.
        files: file names in each face's folder to link.
    """
    noun = "face" if len(rows) == 1 else "faces"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p class='sum'>{len(rows)} {noun}",
        f", {len(failures)} without a result</p>" if failures else "</p>",
    ]
    parts += [_face_section(row, files) for row in rows]
    for failure in failures:
        parts.append(
            f"<div class='face'><h2>{html.escape(failure['input'])}</h2>"
            f"<p class='fail'>{html.escape(failure['error'])}</p></div>"
        )
    parts.append("</body></html>\n")
    return write_text(path, "\n".join(parts))


def _face_section(row: Mapping[str, Any], files: Sequence[str]) -> str:
    folder = quote(str(row["folder"]))
    facts = " · ".join(
        html.escape(_fact(key, value))
        for key, value in row.items()
        if key not in ("folder", "input") and value not in (None, "")
    )
    links = "".join(f"<a href='{folder}/{quote(name)}'>{html.escape(name)}</a>" for name in files)
    return (
        f"<div class='face'><h2>{html.escape(str(row['input']))}</h2>"
        f"<a href='{folder}/overlay.png'><img loading='lazy' src='{folder}/overlay.png' "
        f"alt='photograph, fitted face, and the face turned'></a>"
        f"<p class='facts'>{facts}</p>{links}</div>"
    )


def _fact(key: str, value: Any) -> str:
    """``yaw_deg``, 4.3 reads as ``yaw 4.3°``."""
    for suffix, unit in (("_deg", "°"), ("_mm", " mm"), ("_percent", " %")):
        if key.endswith(suffix):
            return f"{key.removesuffix(suffix).replace('_', ' ')} {value}{unit}"
    return f"{key.replace('_', ' ')} {value}"

"""Stirling's scans and lists of the FG2018 challenge, and which prediction belongs to which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.errors import InputError, ItemError
from facekit.evaluate.faces3d import MESH_SUFFIXES


def find_stirling_scans(data: Path) -> dict[str, tuple[Path, Path | None]]:
    """Find scans anywhere under a folder: stem to mesh and its ``.lnd`` (or None).

    The landmarks lie beside the scan, or in a tree of their own under the same stem, as the
    challenge's annotations do.

    Raises:
        InputError: no such folder, no scan, or two scans of one name.
    """
    if not data.is_dir():
        raise InputError(f"{data}: expected the folder of Stirling scans, found none")
    files = [p for p in sorted(data.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    marks = {p.stem.casefold(): p for p in files if p.suffix.lower() == ".lnd"}
    scans: dict[str, tuple[Path, Path | None]] = {}
    for path in files:
        if path.suffix.lower() in MESH_SUFFIXES:
            if path.stem in scans:
                raise InputError(f"{path}: a second scan named {path.stem}")
            scans[path.stem] = (path, marks.get(path.stem.casefold()))
    if not scans:
        raise InputError(f"{data}: expected scans as {' '.join(MESH_SUFFIXES)}, found none")
    return scans


def match_scan(key: str, scans: Sequence[str]) -> str:
    """Return the scan that a prediction's key belongs to.

    The key's last part, or one of its folders, is a scan's name; or its subject (what stands
    before the first underscore, in any case) is that of one scan, or of one neutral one (``_N``).

    Raises:
        ItemError: none fits, or several do.
    """
    parts = [*reversed(key.split("/"))]
    exact = next((part for part in parts if part in scans), None)
    if exact is not None:
        return exact
    for part in parts:
        subject = part.split("_")[0].casefold()
        same = [name for name in scans if name.split("_")[0].casefold() == subject]
        neutral = [name for name in same if name.casefold().endswith("_n")]
        for choice in (same, neutral):
            if len(choice) == 1:
                return choice[0]
        if same:
            raise ItemError(
                f"several scans may be meant: {', '.join(same)}; --list says which belongs to which"
            )
    some = ", ".join(scans[:3]) + (", …" if len(scans) > 3 else "")
    raise ItemError(f"there is no scan of this name; there are {len(scans)}: {some}")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a list of pairs: prediction and scan in each line, with a blank or comma between.

    Raises:
        InputError: no such file, or a line that is no pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a list of pairs ({error})") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if words and len(words) != 2:
            raise InputError(f"{path}: line {number}: expected prediction and scan, got {line!r}")
        if words:
            pairs.append((words[0], words[1]))
    if not pairs:
        raise InputError(f"{path}: expected pairs of prediction and scan, found none")
    return pairs

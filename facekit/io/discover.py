"""Which images a command works on, and the name of each one's results."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from facekit.errors import InputError
from facekit.io.images import SUFFIXES

_FURTHER_FACE = re.compile(r"\.face\d+$")


class InputImage(NamedTuple):
    """An image to work on.

    Attributes:
        path: the file.
        key: its results' name relative to the output folder, with forward slashes.
    """

    path: Path
    key: str


def find_images(paths: Sequence[Path], *, output: Path | None = None) -> list[InputImage]:
    """List images named directly and those in folders (recursively), sorted, each once.

    A folder's tree is mirrored: ``ROOT/a/x.jpg`` gets the key ``a/x``. Images whose keys would
    be the same keep their suffix (``a/x.jpg``, ``a/x.png``). Hidden files, masks (``x.mask.png``)
    and the output folder are left out. A file named directly is taken whatever its name.

    Raises:
        InputError: a path does not exist, or no supported image is found.
    """
    found: dict[Path, Path] = {}
    hidden_output = output.resolve() if output is not None else None
    for path in paths:
        if path.is_dir():
            for file in _walk(path, hidden_output):
                found.setdefault(file.resolve(), file.relative_to(path))
        elif path.exists():
            found.setdefault(path.resolve(), Path(path.name))
        else:
            raise InputError(f"{path}: there is no such file or folder")
    if not found:
        raise InputError(
            f"{', '.join(str(p) for p in paths)}: no supported image found; expected files that "
            f"end in {' '.join(sorted(SUFFIXES))}"
        )
    files = sorted(found.items(), key=lambda item: (str(item[1]), str(item[0])))
    keys = _unique_keys([relative for _, relative in files])
    return [InputImage(path, key) for (path, _), key in zip(files, keys, strict=True)]


def _walk(root: Path, output: Path | None) -> Iterable[Path]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(
            n for n in names if not n.startswith(".") and (here / n).resolve() != output
        )
        for name in sorted(files):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if not path.stem.lower().endswith(".mask"):
                yield path


def _unique_keys(relatives: list[Path]) -> list[str]:
    short = [relative.with_suffix("").as_posix() for relative in relatives]
    # File systems may ignore case, so results that differ only in case count as the same.
    counts = Counter(key.casefold() for key in short)
    keys = []
    for key, relative in zip(short, relatives, strict=True):
        base = _FURTHER_FACE.sub("", key)
        taken = counts[key.casefold()] > 1 or (base != key and base.casefold() in counts)
        keys.append(relative.as_posix() if taken else key)
    seen: Counter[str] = Counter()
    for index, key in enumerate(keys):
        seen[key.casefold()] += 1
        if seen[key.casefold()] > 1:
            keys[index] = f"{key}-{seen[key.casefold()]}"
    return keys

"""The portraits: photographs with machine labels, and the one split of their persons.

A folder of portraits holds ``labels_<set>.npz`` and a folder ``<set>`` of images for each set.
The labels are a landmarker's, not truth; each has a weight from that landmarker's own score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.images import read_photo
from facekit.io.npz import read_npz
from facekit.train.split import SPLITS, split_persons


@dataclass(frozen=True, eq=False)
class Portraits:
    """Photographs and labels.

    Attributes:
        names: N names ``<set>/<file>``.
        images: N arrays (H, W, 3) uint8 RGB.
        points: (N, 478, 3) float32, pixels of the image; z relative, smaller is nearer.
        boxes: (N, 4) float32 x, y, width, height of the labeller's detector.
        weights: (N,) float32 in [0, 1], how much a label is trusted.
        split: N strings of ``SPLITS``.
        rendered: (N,) bool: a rendered head with exact points.
        smile: (N,) float32 in [0, 1], the labeller's; 0 where it says nothing.
    """

    names: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    points: np.ndarray
    boxes: np.ndarray
    weights: np.ndarray
    split: tuple[str, ...]
    rendered: np.ndarray
    smile: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, split: str) -> Portraits:
        """Return the portraits of one split."""
        rows = [i for i, s in enumerate(self.split) if s == split]
        return Portraits(
            tuple(self.names[i] for i in rows),
            tuple(self.images[i] for i in rows),
            self.points[rows],
            self.boxes[rows],
            self.weights[rows],
            (split,) * len(rows),
            self.rendered[rows],
            self.smile[rows],
        )


def load_portraits(
    folder: Path,
    *,
    labels: Path | None = None,
    splits: Sequence[str] = SPLITS,
    limit: int | None = None,
) -> Portraits:
    """Read portraits and labels into memory.

    Args:
        folder: holds a folder ``<set>/`` of images per set, and ``labels_<set>.npz``.
        labels: folder of other ``labels_<set>.npz`` (see ``relabel``); None takes ``folder``.
        splits: which splits to decode (the split itself always uses every label).
        limit: keep only so many of each split, for trials.

    Raises:
        InputError: no labels there, or a labelled file is missing.
    """
    where = Path(folder if labels is None else labels)
    files = sorted(where.glob("labels_*.npz"))
    if not files:
        raise InputError(f"{where}: expected labels_<set>.npz files, found none")
    names: list[str] = []
    paths: list[Path] = []
    rendered: list[bool] = []
    smile: list[np.ndarray] = []
    columns: dict[str, list[np.ndarray]] = {}
    for file in files:
        group = file.stem.removeprefix("labels_")
        content = read_npz(file, what="labels of portraits")
        for key in ("landmarks478", "box", "landmark_score", "identity128", "files"):
            if key not in content:
                raise InputError(f"{file}: expected an array {key!r} in labels of portraits")
            if key != "files":
                columns.setdefault(key, []).append(np.asarray(content[key], np.float32))
        names += [f"{group}/{name}" for name in content["files"]]
        smile.append(_smile(content))
        rendered += ["rendered" in content] * len(content["files"])
        paths += [Path(folder) / group / str(name) for name in content["files"]]
    table = {key: np.concatenate(values) for key, values in columns.items()}
    split = split_persons(names, table["identity128"])
    keep: list[int] = []
    for wanted in splits:
        rows = [i for i, s in enumerate(split) if s == wanted]
        keep += rows if limit is None else rows[:limit]
    missing = [paths[i] for i in keep if not paths[i].exists()]
    if missing:
        raise InputError(f"{missing[0]}: labelled but missing ({len(missing)} such files)")
    return Portraits(
        tuple(names[i] for i in keep),
        tuple(np.ascontiguousarray(read_photo(paths[i]).image) for i in keep),
        table["landmarks478"][keep],
        table["box"][keep],
        label_weights(table["landmark_score"][keep]),
        tuple(split[i] for i in keep),
        np.array([rendered[i] for i in keep], dtype=bool),
        np.concatenate(smile)[keep],
    )


def join_portraits(parts: Sequence[Portraits]) -> Portraits:
    """Return several loaded collections as one, in order."""
    return Portraits(
        tuple(name for part in parts for name in part.names),
        tuple(image for part in parts for image in part.images),
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.weights for part in parts]),
        tuple(split for part in parts for split in part.split),
        np.concatenate([part.rendered for part in parts]),
        np.concatenate([part.smile for part in parts]),
    )


def label_weights(score: np.ndarray) -> np.ndarray:
    """Return the trust in a label from its landmarker's score: 0 below 0.5, 1 from 0.9."""
    return np.clip((np.asarray(score, np.float32) - 0.5) / 0.4, 0, 1)


def _smile(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    if "blendshapes52" not in labels:
        return np.zeros(len(labels["files"]), np.float32)
    names = list(labels["blendshape_names"])
    columns = [names.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    return np.asarray(labels["blendshapes52"][:, columns], np.float32).mean(1)

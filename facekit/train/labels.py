"""Labelled faces for training: from shards, and as tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import warp
from facekit.io.atomic import read_json
from facekit.learn.shards import ShardReader
from facekit.morphable.layout import CoefficientLayout, layout_of_document
from facekit.train.label_format import (
    CROP_SIZE,
    SCHEMA,
    FaceLabel,
    decode_facts,
    decode_label,
    decode_photo,
    label_crop,
)
from facekit.train.params import LabelledFace, LabelledFaces, coefficients_in_crop

# What training reads of a label.
TRAINING_KEYS = (
    "identity", "expression", "albedo", "rotation", "translation_mm", "intrinsics", "distortion",
    "light", "image_size", "landmarks_2d", "identity_std",
)  # fmt: skip
_WHOLE = SimilarityTransform(1.0, np.eye(2), np.zeros(2))


class LabelledShards:
    """The faces of a labels folder, or of one of its splits, by number.

    Args:
        folder: of ``facekit label`` or ``facekit simulate photos --format shards``.
        split: ``train``, ``validation`` or ``held_out``; None takes all.

    Attributes:
        layout: of the coefficient vector; model_sha256: the model that the labels belong to.

    Raises:
        InputError: no labels folder, or a damaged one.
    """

    def __init__(self, folder: Path, *, split: str | None = None) -> None:
        self.folder = Path(folder)
        document = read_json(self.folder / "dataset.json")
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise InputError(f"{self.folder}: expected a labels folder of {SCHEMA}")
        self.layout = layout_of_document(document.get("layout"), str(self.folder / "dataset.json"))
        self.model_sha256 = str(document["model_sha256"])
        self._kind = str(document.get("kind", ""))
        self._reader = ShardReader(self.folder)
        rows = self._reader.rows
        self._rows = [i for i, row in enumerate(rows) if split is None or row["split"] == split]

    def __len__(self) -> int:
        return len(self._rows)

    def label(self, index: int, *, keys: Collection[str] | None = None) -> FaceLabel:
        """Return everything that is stored of a face, or of its params these keys alone."""
        row = self._rows[index]
        return decode_label(self._reader.read(row), self._where(row), keys=keys)

    def persons(self) -> list[str]:
        """Return who each face shows, empty where that is not known.

        The index says so; of renders whose index has no such column, the samples do.
        """
        found = [self._reader.rows[i].get("person", "") for i in self._rows]
        if self._kind != "simulated" or any(found):
            return found
        return [str(self.label(i, keys=()).facts.get("person", "")) for i in range(len(self))]

    def face(self, index: int) -> LabelledFace:
        """Return a face as training takes it: in its crop, which is a photograph of its own."""
        row = self._rows[index]
        files, where = self._reader.read(row), self._where(row)
        params, deviations, facts = decode_facts(files, where, keys=TRAINING_KEYS)
        return LabelledFace(
            decode_photo(files, where),
            _WHOLE,
            params,
            float(facts["weight"]),
            certainty_of(deviations["identity"]),
        )

    def _where(self, row: int) -> str:
        entry = self._reader.rows[row]
        return f"{self.folder / entry['shard']}: the sample {entry['id']!r}"


class FaceTensors(Dataset[dict[str, Any]]):
    """Labelled faces as a map-style torch data set: their crops and coefficients.

    An item has ``image`` (3, S, S) uint8, ``coefficients`` (C,), ``distance_mm``, ``weight`` and
    ``certainty``.

    Args:
        faces: ``LabelledShards`` or ``StreamedFaces``.
        layout: of the coefficients.
        size: side S of the ``five-v1`` crop.
    """

    def __init__(
        self, faces: LabelledFaces, layout: CoefficientLayout, *, size: int = CROP_SIZE
    ) -> None:
        self.faces, self.layout, self.size = faces, layout, size

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return face_tensors(self.faces.face(index), self.layout, size=self.size)


def face_tensors(face: LabelledFace, layout: CoefficientLayout, *, size: int) -> dict[str, Any]:
    """Return a face's item of ``FaceTensors``."""
    crop = label_crop(face.params["landmarks_2d"], size=size)
    image = warp(face.image, crop, size=size)
    vector, distance = coefficients_in_crop(layout, face.params, crop, size=size)
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        "coefficients": torch.from_numpy(vector),
        "distance_mm": distance,
        "weight": face.weight,
        "certainty": face.certainty,
    }


def certainty_of(identity_std: np.ndarray) -> float:
    """Return how much of the prior's variance of identity is gone, 1 known, 0 nothing."""
    variance = np.asarray(identity_std, np.float64) ** 2
    return float(np.clip(1 - variance.mean(), 0, 1)) if variance.size else 1.0

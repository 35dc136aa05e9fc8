"""How the files of scan benchmarks are read, and by how many processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekit.evaluate.faces3d import FaceSurface, read_prediction
from facekit.morphable.model import MorphableModel


@dataclass(frozen=True)
class ScanInputs:
    """How files are read, alike for every scan benchmark.

    Attributes:
        unit: of the predictions; data_unit: of the scans.
        embedding: (N, 3) where landmarks lie on the predictions' topology, or None.
        model: of the controls and of landmarks on meshes of its topology, or None.
        strict: an item with a warning has no valid result.
        pictures: folder for heat maps, or None.
        jobs: processes; 0 takes as many as there are cores.
    """

    unit: str = "mm"
    data_unit: str = "mm"
    embedding: np.ndarray | None = None
    model: MorphableModel | None = None
    strict: bool = False
    pictures: Path | None = None
    jobs: int = 1

    def prediction(self, path: Path, *, shape: str = "neutral") -> FaceSurface:
        """Read a prediction."""
        return read_prediction(
            path, unit=self.unit, shape=shape, embedding=self.embedding, model=self.model
        )

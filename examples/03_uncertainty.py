"""Simulate a portrait, fit it, and compare the error with the deviation that the fit states.

Run: python examples/03_uncertainty.py OUTPUT_FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from facekit.fit.batch import FitOptions, fit_photos
from facekit.geometry.alignment import align_similarity
from facekit.io.params import read_params
from facekit.morphable import load_model
from facekit.simulate.samples import write_sample_photos


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example") / "uncertainty"
    write_sample_photos(folder / "photos", seed=3, overwrite=True)
    fit_photos([folder / "photos"], folder / "out", FitOptions(), overwrite=True)
    model = load_model("builtin")
    face = model.regions["face"]
    for truth_path in sorted((folder / "photos" / "truth").glob("*.npz")):
        truth = read_params(truth_path)
        fit = read_params(folder / "out" / truth_path.stem / "params.npz")
        expected = model.shape(truth["identity"])[face]
        found = model.shape(fit["identity"])[face]
        found = align_similarity(found, expected).apply(found)
        error = np.linalg.norm(found - expected, axis=1)
        stated = fit["vertex_std_mm"][face]
        print(f"{truth_path.stem}: error {error.mean():.2f} mm, stated {stated.mean():.2f} mm")


if __name__ == "__main__":
    main()

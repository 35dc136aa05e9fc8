"""Write docs/images from the samples: run after the networks, the model or the fit changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from facekit.fit.batch import FitOptions, fit_photos
from facekit.io.images import read_image, write_image
from facekit.simulate.samples import write_sample_photos

IMAGES = Path(__file__).with_name("images")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        write_sample_photos(photos)
        result = fit_photos([photos], out, FitOptions(largest=True))
        rows = [read_image(out / face["folder"] / "overlay.png") for face in result.faces[:4]]
    # Two faces a row: eight panels side by side read well on a page.
    pairs = [np.concatenate(rows[i : i + 2], axis=1) for i in (0, 2)]
    sheet = np.concatenate(pairs)
    half = sheet.reshape(sheet.shape[0] // 2, 2, sheet.shape[1] // 2, 2, 3)
    write_image(IMAGES / "hero.jpg", half.mean(axis=(1, 3)).round().astype(np.uint8), quality=90)


if __name__ == "__main__":
    main()

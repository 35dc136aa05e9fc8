"""Fit every face of a folder of photographs and print where the meshes are.

Run: python examples/01_fit_a_photo.py OUTPUT_FOLDER
"""

import sys
from pathlib import Path

from facekit.fit.batch import FitOptions, fit_photos
from facekit.simulate.samples import write_sample_photos


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example") / "fit"
    write_sample_photos(folder / "photos", seed=0, overwrite=True)
    result = fit_photos([folder / "photos"], folder / "out", FitOptions(), overwrite=True)
    for face in result.faces:
        print(f"{face['folder']}: quality {face['quality']}, yaw {face['yaw_deg']} degrees")
    print(f"open {result.page}")


if __name__ == "__main__":
    main()

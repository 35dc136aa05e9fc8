"""Rendered photographs of the toy model beside their exact landmarks, and labels of them."""

import shutil

import numpy as np
import toy

from facekit.morphable.native import write_native
from facekit.simulate.photos import PhotosRequest, write_photos
from facekit.simulate.sampler import PortraitOptions

OPTIONS = PortraitOptions(
    size=96,
    # So large that it lies in the middle.
    face_fraction=(0.8, 0.82),
    focal_mm=(60, 100),
    yaw_deg=30,
    roll_deg=20,
    supersample=1,
    glasses=0,
    occluders=0,
)


def write_model(folder):
    path = folder / "toy.npz"
    write_native(toy.toy_model(), path)
    return path


def write_collection(folder, model, count=4):
    """A folder ``photos`` of images with sidecars, and the truth by stem."""
    made = folder / "made"
    write_photos(made, PhotosRequest(model=str(model), options=OPTIONS, seed=1), count=count)
    photos = folder / "photos"
    (photos / "sub").mkdir(parents=True)
    truth = {}
    for number in range(count):
        stem = f"{number:05d}"
        place = photos / "sub" if number % 2 else photos
        shutil.copy(made / "images" / f"{stem}.png", place / f"{stem}.png")
        with np.load(made / "truth" / f"{stem}.npz") as file:
            truth[stem] = {key: file[key] for key in file.files}
            np.savez(place / f"{stem}.npz", landmarks_2d=file["landmarks_2d"])
    return photos, truth

"""Photographs to try every command on: rendered portraits with truth, and a public-domain one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from facekit.errors import OutputExistsError
from facekit.io.atomic import make_folder
from facekit.io.images import write_image
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.simulate.clip import ClipOptions, write_clip
from facekit.simulate.look import random_look
from facekit.simulate.photos import write_truth
from facekit.simulate.portrait import Portrait, View, render_portrait
from facekit.simulate.subject import random_coefficients, subject_from_model

_SIZE = 512
# Poses in degrees (yaw, pitch, roll), and lens and distance of the three portraits.
_POSES = ((-18.0, 4.0, 2.0), (4.0, -3.0, -4.0), (32.0, 2.0, 3.0))
_ITA_DEG = (48.0, 8.0, -38.0)


def sample_portraits(seed: int = 0) -> list[Portrait]:
    """Return three portraits of random people of the built-in model, 512 pixels, with truth."""
    return [_portrait(_model(), seed, number) for number in range(len(_POSES))]


def write_sample_photos(folder: Path, *, seed: int = 0, overwrite: bool = False) -> list[Path]:
    """Write ``astronaut.png`` and three rendered portraits, with their truth in ``truth/``.

    The astronaut is scikit-image's portrait of Eileen Collins (NASA, public domain). Files that
    are there already with the same content are kept.

    Raises:
        OutputExistsError: a photograph of the same name and other content is there, and not
            ``overwrite``.
        InputError: the folder cannot be written.
    """
    from skimage import data

    make_folder(folder)
    images = {"astronaut": data.astronaut()}
    portraits = sample_portraits(seed)
    images |= {f"portrait{number + 1}": p.image for number, p in enumerate(portraits)}
    for name, image in images.items():
        path = folder / f"{name}.png"
        if path.exists() and not overwrite and not _holds(path, image):
            raise OutputExistsError(
                f"{path}: exists and is another picture; choose another folder or pass --overwrite"
            )
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    for number, portrait in enumerate(portraits):
        write_truth(folder / "truth", f"portrait{number + 1}", portrait, seed=seed, index=number)
    return [folder / f"{name}.png" for name in images]


def write_sample_video(folder: Path, *, seed: int = 0, overwrite: bool = False) -> list[Path]:
    """Write ``clip.mp4``, three seconds of a rendered head that turns, blinks, smiles and talks.

    Its truth is in ``truth/clip.npz``; see ``simulate.clip.write_clip``.

    Raises:
        OutputExistsError: it is there already, and not ``overwrite``.
        InputError: the folder cannot be written.
    """
    path = folder / "clip.mp4"
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: exists; choose another folder or pass --overwrite")
    options = ClipOptions(frames=90, seed=seed, expressive=True, supersample=2)
    return [write_clip(path, _model(), options, truth=folder / "truth" / "clip.npz")]


@cache
def _model() -> MorphableModel:
    return load_model("builtin")


def _portrait(model: MorphableModel, seed: int, number: int) -> Portrait:
    rng = np.random.default_rng([seed, 3, number])
    identity, expression = random_coefficients(model, rng, expression_strength=0.55)
    subject = subject_from_model(model, identity=identity, expression=expression)
    look = random_look(rng, size=_SIZE, glasses=0.0, occluders=0.0, clean=1.0)
    look = replace(
        look,
        skin=replace(look.skin, ita_deg=_ITA_DEG[number], beard=0.0 if number != 1 else 0.4),
        hair=replace(look.hair, length=(0.0, 0.0, 150.0)[number], thickness=9.0, cover=1.0),
        sensor=replace(look.sensor, exposure=1.0, noise=0.3, blur_px=0.3, saturation=1.0),
    )
    yaw, pitch, roll = np.radians(_POSES[number])
    view = View(yaw, pitch, roll, 950.0, 2.55 * _SIZE, _SIZE, _SIZE, (0.0, 22.0))
    return render_portrait(subject, look, view)


def _holds(path: Path, image: np.ndarray) -> bool:
    from facekit.io.images import read_image

    found = read_image(path)
    return found.shape == image.shape and bool((found == image).all())

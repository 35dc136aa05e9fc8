"""Rendered heads as training data: a folder in the portraits' layout, with exact points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facekit.io.atomic import atomic_path, make_folder
from facekit.io.images import write_image
from facekit.morphable.model import MorphableModel
from facekit.simulate.sampler import ModelSubjects, PortraitOptions, PortraitSampler

SET = "renders"
OPTIONS = PortraitOptions(
    size=224,
    face_fraction=(0.4, 0.6),
    yaw_deg=80.0,
    yaw_uniform=True,
    pitch_deg=35.0,
    roll_deg=25.0,
    # Distances are drawn, not lenses: a lens and a large face put a camera at arm's length.
    focal_mm=None,
    views=4,
    supersample=1,
    occluders=0.15,
    glasses=0.2,
)


def write_renders(
    folder: Path,
    model: MorphableModel,
    count: int,
    *,
    seed: int = 0,
    variety: float = 1.0,
    options: PortraitOptions = OPTIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``renders/*.png`` and ``labels_renders.npz`` and return the latter's path.

    Args:
        folder: made when absent.
        model: with a ``mediapipe478`` landmark map.
        count: pictures.
        seed: of every draw; picture k is the same whatever the count.
        variety: spread of the heads' shapes and expressions over the model's own. What a network
            has seen vary it does not take for average.
        options: see ``PortraitOptions``.
        progress: called with pictures done and in all.

    Raises:
        InputError: the model lacks the map, or the folder cannot be written.
    """
    marks = model.landmark_map("mediapipe478")
    people = ModelSubjects(model, identity_strength=variety, expression_strength=variety)
    sampler = PortraitSampler(people, seed=seed, options=options)
    make_folder(folder / SET)
    names, points, boxes = [], [], []
    for index in range(count):
        portrait = sampler.sample(index)
        vertices = portrait.subject.points(portrait.subject.vertices, marks)
        seen, _ = portrait.points(marks)
        camera = portrait.camera
        depth = vertices @ camera.rotation[2] + camera.translation[2]
        # Labels have a relative depth in pixels at the head's own scale.
        scaled = (depth - depth.mean()) * camera.intrinsics[0, 0] / depth.mean()
        name = f"{index:06d}.png"
        write_image(folder / SET / name, portrait.image)
        names.append(name)
        points.append(np.column_stack([seen, scaled]))
        low, high = seen.min(0), seen.max(0)
        boxes.append(np.concatenate([low, high - low]))
        if progress is not None:
            progress(index + 1, count)
    persons = np.arange(count) // options.views
    path = folder / f"labels_{SET}.npz"
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            files=np.array(names),
            box=np.array(boxes, np.float32).reshape(-1, 4),
            landmarks478=np.array(points, np.float32).reshape(-1, 478, 3),
            landmark_score=np.ones(count, np.float32),
            identity128=_identities(persons, seed),
            rendered=np.ones(count, bool),
        )
    return path


def _identities(people: np.ndarray, seed: int) -> np.ndarray:
    """Return a random direction per person: in 128 dimensions no two are alike."""
    rows = [np.random.default_rng([seed, 3, int(p)]).standard_normal(128) for p in people]
    return np.array(rows, np.float32).reshape(-1, 128)

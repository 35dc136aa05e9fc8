"""Labelled faces without pictures: random coefficients and poses, and their landmarks."""

import numpy as np

from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.learn.loop import LoopConfig
from facekit.train.params import LabelledFace, ParamsConfig
from facekit.types import Camera

SMALL = ParamsConfig(
    loop=LoopConfig(steps=3, threads=1, precision="fp32", evaluate_every=3, report_every=1),
    batch_size=4,
    size=64,
    patch=4,
    widths=(4, 8, 8, 8),
    depths=(1, 1, 1, 1),
    hidden=8,
)


def drawn_params(model, number):
    rng = np.random.default_rng(number)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*rng.uniform(-0.5, 0.5, 3))
    translation = np.append(rng.uniform(-60, 60, 2), rng.uniform(500, 900))
    intrinsics = np.array([[600.0, 0, 127.5], [0, 600.0, 127.5], [0, 0, 1]])
    identity = rng.standard_normal(model.num_identity)
    expression = rng.uniform(0, 0.3, model.num_expression)
    camera = Camera(intrinsics, rotation, translation, 256, 256)
    marks = model.landmark_points("ibug68", model.shape(identity, expression))
    return {
        "identity": identity,
        "expression": expression,
        "albedo": np.zeros(model.num_albedo),
        "rotation": rotation,
        "translation_mm": translation,
        "intrinsics": intrinsics,
        "light": rng.standard_normal((9, 3)),
        "landmarks_2d": project(camera, marks)[:, :2],
    }


class Drawn:
    """Noise pictures whose mean brightness says the first coefficient."""

    def __init__(self, model, count, first=0):
        self.faces = [drawn_params(model, first + k) for k in range(count)]

    def __len__(self):
        return len(self.faces)

    def face(self, index):
        params = self.faces[index]
        level = np.clip(127 + 40 * params["identity"][0], 5, 250)
        image = np.full((256, 256, 3), level, np.uint8)
        return LabelledFace(image, SimilarityTransform(1.0, np.eye(2), np.zeros(2)), params)

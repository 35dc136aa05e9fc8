"""Faces for weakly supervised training that its own camera has drawn: everything is known."""

import numpy as np
import torch

from facekit.train.deep3d_data import WeakFace
from facekit.train.deep3d_face import Deep3DFace


def random_values(layout, rng, *, identity=None, turn=0.35):
    """A random face's coefficients (C,) in Deep3D's order."""
    values = np.zeros(layout.length, np.float32)
    count = layout.part("id").stop
    values[layout.part("id")] = rng.standard_normal(count) if identity is None else identity
    values[layout.part("exp")] = np.clip(rng.normal(0, 0.6, layout.sizes[1]), -0.25, 1.5)
    values[layout.part("angle")] = rng.uniform(-turn, turn, 3) * [0.5, 1, 0.2]
    gamma = rng.normal(0, 0.04, (1, 9)) + rng.normal(0, 0.01, (3, 9))
    values[layout.part("gamma")] = gamma.ravel()
    values[layout.part("trans")] = rng.normal(0, 0.05, 3)
    return values


class DrawnWeak:
    """Pictures of ``people`` with ``views`` each, over grey, by the model's own renderer."""

    def __init__(self, model, people, views, *, size=64, first=0, soil=None):
        self.face = Deep3DFace(model, size=size)
        self.values, self.images, self.points, self.people = [], [], [], []
        for person in range(first, first + people):
            rng = np.random.default_rng((person, 77))
            identity = rng.standard_normal(model.num_identity)
            for _ in range(views):
                values = random_values(self.face.layout, rng, identity=identity)
                with torch.no_grad():
                    placed = self.face.place(torch.from_numpy(values)[None])
                    picture, coverage = self.face.draw(placed)
                over = picture[0] + 0.4 * (1 - coverage[0, ..., None])
                image = (255 * over.clamp(0, 1)).round().numpy().astype(np.uint8)
                self.values.append(values)
                self.images.append(image if soil is None else soil(image, rng))
                self.points.append(placed.points[0].double().numpy())
                self.people.append(f"p{person:04d}")

    def __len__(self):
        return len(self.images)

    def weak_face(self, index):
        identity = self.values[index][self.face.layout.part("id")]
        full = np.full(self.images[index].shape[:2], 255, np.uint8)
        return WeakFace(
            self.images[index],
            self.points[index],
            full,
            skin=True,
            params={"identity": identity},
            certainty=1.0,
        )

    def persons(self):
        return list(self.people)

"""Small scenes for the differentiable renderer: ellipsoids before a camera, in torch."""

import numpy as np
import torch
import toy

from facekit.render.differentiable.held import hold
from facekit.render.differentiable.plain import project
from facekit.render.differentiable.topology import Topology

FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


class Scene:
    """A batch of heads that differ in size and place, with everything that a loss needs."""

    def __init__(self, rows=9, columns=12, size=20, batch=2, dtype=torch.float64, seed=0):
        vertices, faces = toy.ellipsoid(rows, columns)
        self.topology = Topology(faces, len(vertices))
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

        head = torch.from_numpy(vertices) @ FLIP
        self.vertices = torch.stack(
            [head * (1 + 0.08 * b) + torch.tensor([3.0 * b, 2.0, 700.0]) for b in range(batch)]
        ).to(dtype)
        focal = 2.6 * size
        lens = torch.tensor(
            [[focal, 0.4, size / 2 - 0.37], [0, 1.02 * focal, size / 2 - 0.61], [0, 0, 1]]
        )
        self.intrinsics = lens.to(dtype).repeat(batch, 1, 1)
        self.size = size
        self.albedo = 0.2 + 0.6 * draw(batch, len(vertices), 3)
        self.light = draw(batch, 9, 3) - 0.3
        self.image = draw(batch, size, size, 3)
        self.mask = draw(batch, size, size)
        self.mask[:, ::5] = 0

    def points(self):
        return project(self.vertices, self.intrinsics)

    def held(self):
        return hold(self.points(), self.topology, self.size, self.size)


def gradients(value, inputs, seed=1):
    """Gradients of a random linear function of ``value``."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value) - 0.3
    return torch.autograd.grad((value * weight).sum(), inputs)


def leaf(tensor):
    return tensor.detach().clone().requires_grad_()


def bits(tensor):
    return np.ascontiguousarray(tensor.detach().numpy()).tobytes()

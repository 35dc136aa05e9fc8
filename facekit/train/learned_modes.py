"""Corrections of a morphable model's mean and modes that a training can learn.

A correction is a smooth field over the mesh: a combination of the lowest vibrations of a graph
(the mesh's edges, and each vertex's nearest ones, so that eyeballs and teeth go with their
surroundings), which fades out away from the face region, where no picture says anything.

Source of the smooth fields: B. Vallet, B. Levy, Spectral geometry processing with manifold
harmonics, 2008.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix, diags, identity
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree
from torch import Tensor, nn

from facekit.errors import InputError
from facekit.fit.first_order.face import TorchFace
from facekit.geometry.mesh import mesh_edges
from facekit.morphable.model import MorphableModel

# Nearest vertices that a vertex is tied to besides its mesh neighbours; millimetres over which a
# correction fades outside the face region; root mean square of a new mode's start, mm.
_NEAREST, _FADE_MM, _START_MM = 6, 25.0, 0.1


class SmoothFields(NamedTuple):
    """Scalar fields over a mesh, smoothest first.

    Attributes:
        values: (M, V) float32, root mean square 1 before fading out.
        roughness: (M,) from 0, the smoothest, to 1, the last.
    """

    values: np.ndarray
    roughness: np.ndarray


def smooth_fields(model: MorphableModel, count: int) -> SmoothFields:
    """Return the ``count`` smoothest fields over a model's mesh, fading outside the face region.

    Raises:
        InputError: a count below 1 or not far below the number of vertices.
    """
    v = model.num_vertices
    if not 1 <= count < v // 2:
        raise InputError(f"fields: expected 1 to {v // 2 - 1}, got {count}")
    pairs = [mesh_edges(model.faces).vertices]
    mean = model.mean.astype(np.float64)
    _, near = cKDTree(mean).query(mean, k=_NEAREST + 1)
    pairs.append(np.column_stack([np.repeat(np.arange(v), _NEAREST), near[:, 1:].ravel()]))
    first, second = np.concatenate(pairs).T
    ones = np.ones(len(first))
    graph = coo_matrix((ones, (first, second)), shape=(v, v))
    graph = ((graph + graph.T) > 0).astype(np.float64)
    laplacian = diags(np.asarray(graph.sum(1)).ravel()) - graph
    # A small shift keeps the factorisation regular; the same start gives the same fields.
    start = np.random.default_rng(0).standard_normal(v)
    shifted = (laplacian + 1e-6 * identity(v)).tocsc()
    values, vectors = eigsh(shifted, k=count, sigma=0.0, which="LM", v0=start)
    order = np.argsort(values)
    values, vectors = np.maximum(values[order] - 1e-6, 0), vectors[:, order]
    face = mean[model.regions.get("face", np.ones(v, bool))]
    away = cKDTree(face).query(mean)[0]
    fade = np.exp(-0.5 * (away / _FADE_MM) ** 2)
    fields = (np.sqrt(v) * vectors.T * fade).astype(np.float32)
    return SmoothFields(fields, (values / max(values[-1], 1e-12)).astype(np.float32))


def with_new_modes(
    model: MorphableModel, count: int, fields: SmoothFields, *, seed: int
) -> MorphableModel:
    """Return a model with more identity modes, small random smooth ones, for a training to shape.

    Args:
        model: the model.
        count: of new modes; 0 returns the model.
        fields: what they are made of; the rougher, the less.
        seed: of the draw.
    """
    if not count:
        return model
    rng = np.random.default_rng((seed, 11))
    share = 1 / (1 + 100 * fields.roughness)
    steps = rng.standard_normal((count, len(share), 3)) * share[:, None]
    modes = np.einsum("kmd,mv->kvd", steps, fields.values)
    modes *= _START_MM / np.sqrt((modes**2).sum(2).mean(1))[:, None, None]
    modes = np.concatenate([model.identity_modes, modes.astype(np.float32)])
    return replace(model, identity_modes=modes)


class LearnedModes(nn.Module):
    """What is added to a model's mean and identity modes; nothing at first.

    Args:
        model: the model.
        fields: what corrections are made of.
        rate: how much faster than other weights they are learned (mm per unit of a weight).
    """

    fields: Tensor
    roughness: Tensor

    def __init__(self, model: MorphableModel, fields: SmoothFields, *, rate: float = 30.0) -> None:
        super().__init__()
        # A weight of the mean, then those of the modes.
        self.steps = nn.Parameter(torch.zeros(1 + model.num_identity, len(fields.values), 3))
        self.rate = rate
        self.register_buffer("fields", torch.from_numpy(fields.values))
        self.register_buffer("roughness", torch.from_numpy(fields.roughness))
        region = model.regions.get("face", np.ones(model.num_vertices, bool))
        vertices = np.unique(model.faces[region[model.faces].all(axis=1)])
        self._vertices = torch.from_numpy(vertices.astype(np.int64))
        marks = model.landmark_map("ibug68")
        self._corners = torch.from_numpy(model.faces[marks.faces].astype(np.int64))
        self._weights = torch.from_numpy(marks.barycentric.astype(np.float32))

    def shapes(self, face: TorchFace) -> TorchFace:
        """Return the face with the corrections, through which gradients flow."""
        steps = self.rate * self.steps
        device = self.fields.device
        on_face = torch.einsum("kmd,mv->kvd", steps, self.fields[:, self._vertices.to(device)])
        corners = self.fields[:, self._corners.to(device)]
        at_marks = (corners * self._weights.to(device)).sum(-1)
        on_marks = torch.einsum("kmd,mn->knd", steps, at_marks)
        changed = copy.copy(face)
        more = face.modes.new_zeros(face.num_expression, face.modes.shape[1])
        more_marks = face.marks_modes.new_zeros(face.num_expression, face.marks_modes.shape[1])
        changed.mean = face.mean + on_face[0]
        changed.modes = face.modes + torch.cat([on_face[1:].flatten(1), more])
        changed.marks_mean = face.marks_mean + on_marks[0]
        changed.marks_modes = face.marks_modes + torch.cat([on_marks[1:].flatten(1), more_marks])
        return changed

    def penalties(self) -> dict[str, Tensor]:
        """Return how far (mm^2, the mean of mean and modes) and how rough the corrections are."""
        squares = (self.rate * self.steps).square().sum(-1).mean(0)
        return {"departure": squares.sum(), "roughness": (squares * self.roughness).sum()}

    def model(self, model: MorphableModel) -> MorphableModel:
        """Return the whole model with the corrections."""
        with torch.no_grad():
            added = torch.einsum("kmd,mv->kvd", self.rate * self.steps, self.fields).cpu().numpy()
        return replace(
            model,
            mean=(model.mean + added[0]).astype(np.float32),
            identity_modes=(model.identity_modes + added[1:]).astype(np.float32),
        )

"""A model's shapes learned on from fitted photographs: expectation-maximisation.

Beside the model's K modes there are M smooth displacement fields of the whole face, the principal
functions of the process that the landmark fit itself takes for what a model cannot express. Each
photograph's landmarks say, to second order about its fit, how likely every combination of modes
and fields is, with pose and expression integrated out. All photographs together then say how
modes and fields are distributed:

    E: V_i = (S^-1 + L_i)^-1,  m_i = V_i (S^-1 mu + l_i)
    M: mu = sum m_i / (n + n0),  S = (sum V_i + (m_i - mu)(m_i - mu)^T + n0 S_0) / (n + n0)

with L_i, l_i a photograph's information about the coefficients, S_0 the identity and n0 the weight
of what was believed before, in photographs. The new modes are the principal components of the
shapes that S describes.

Source: M. Tipping, C. Bishop, Probabilistic principal component analysis, 1999, section 3.3, with
each observation's own noise; A. Gelman et al., Bayesian Data Analysis, section 3.6 (n0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.fit.landmark_basis import NUM_JAW, LandmarkBasis, build_landmark_basis
from facekit.fit.landmark_problem import FaceState, LandmarkFitConfig, LandmarkProblem
from facekit.fit.prior import FacePrior, model_prior
from facekit.geometry.mesh import vertex_areas
from facekit.morphable.model import MorphableModel

# Every so many-th photograph is kept to judge by.
HELD_OUT = 5
LEAST_PHOTOGRAPHS = 20
# Pixels' information about a pose that nothing else is known of, so that it can be inverted.
_TINY = 1e-9


@dataclass(frozen=True)
class RefineOptions:
    """How a model is learned on.

    Attributes:
        fields: smooth fields for each axis that may become part of the modes.
        field_mm, length_mm: deviation of the fields before anything is seen, and the distance
            over which they stay alike.
        strength: how many photographs what was believed before counts for.
        rounds: of expectation-maximisation.
        modes: K of the result; None keeps the number.
    """

    fields: int = 30
    field_mm: float = 0.3
    length_mm: float = 35.0
    strength: float = 30.0
    rounds: int = 50
    modes: int | None = None


class Information(NamedTuple):
    """What photographs say about D coefficients: -c^T L c / 2 + l^T c, each.

    Attributes:
        matrices: (N, D, D); vectors: (N, D).
    """

    matrices: np.ndarray
    vectors: np.ndarray


class Learned(NamedTuple):
    """A distribution of D coefficients.

    Attributes:
        mean: (D,); spread: (D, D) covariance.
        doubt: (D, D) the part of it that is no observation's but what each leaves open.
    """

    mean: np.ndarray
    spread: np.ndarray
    doubt: np.ndarray


class Refinement(NamedTuple):
    """A model learned on.

    Attributes:
        model: the new one.
        used, held_out: how many photographs it was learned from and judged by.
        before, after: negative log likelihood of what the held-out photographs show under the
            old and the new distribution, less a constant that both share: nats a photograph for
            landmarks, nats a value for skin.
        better: whether it fell.
    """

    model: MorphableModel
    used: int
    held_out: int
    before: float
    after: float

    @property
    def better(self) -> bool:
        """Whether what was held out is likelier than before."""
        return self.after < self.before


def refine_shapes(
    model: MorphableModel,
    faces: Sequence[Mapping[str, Any]],
    *,
    options: RefineOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Refinement:
    """Learn a model's mean and modes on from fitted photographs, one for each person.

    Args:
        model: with which the photographs were fitted.
        faces: values of ``params.npz``: ``identity``, ``expression``, ``rotation``,
            ``translation_mm``, ``intrinsics`` and ``landmarks_2d`` (what was found in the
            photograph, and not what the fit makes of it). The jaw's points, which are outlines of
            a view, are left out.
        options: see ``RefineOptions``.
        progress: called with (done, total).

    Raises:
        InputError: fewer than 20 photographs, or coefficients of another model.
    """
    chosen = options or RefineOptions()
    if len(faces) < LEAST_PHOTOGRAPHS:
        raise InputError(
            f"refine: expected at least {LEAST_PHOTOGRAPHS} fitted photographs, got {len(faces)}"
        )
    wide = replace(
        model, identity_modes=np.concatenate([model.identity_modes, smooth_fields(model, chosen)])
    )
    basis = build_landmark_basis(wide)
    found = []
    for number, face in enumerate(faces):
        found.append(_information(wide, basis, face, model.num_identity))
        if progress:
            progress(number + 1, len(faces))
    whole = Information(*(np.stack(column) for column in zip(*found, strict=True)))
    held = np.arange(len(faces)) % HELD_OUT == HELD_OUT - 1
    kept, judged = (Information(*(part[rows] for part in whole)) for rows in (~held, held))
    count = wide.num_identity
    learned = learn(kept, strength=chosen.strength, rounds=chosen.rounds)
    before = unlikelihood(judged, np.zeros(count), np.eye(count))
    after = unlikelihood(judged, learned.mean, learned.spread)
    # Where no photograph tells of a field, the field stays out of the modes.
    told = learned.spread - learned.doubt
    own = slice(0, model.num_identity)
    told[own, own] += learned.doubt[own, own]
    new = _with_modes(model, wide, learned.mean, told, chosen.modes or model.num_identity)
    note = f"{model.provenance}; learned on from {len(kept.vectors)} fitted photographs"
    new = replace(new, name=f"{model.name} refined", provenance=note)
    return Refinement(new, len(kept.vectors), int(held.sum()), before, after)


def smooth_fields(model: MorphableModel, options: RefineOptions) -> np.ndarray:
    """Return (3 fields, V, 3) float32 displacement fields whose sum is a smooth process, mm.

    With coefficients N(0, 1) they have about the covariance s^2 exp(-d^2 / 2 l^2) between two
    vertices d apart, for each axis; Nystroem's approximation from points spread over the face.
    """
    mean = model.mean.astype(np.float64)
    rows = np.flatnonzero(model.regions.get("scan", np.ones(len(mean), bool)))
    centres = mean[rows[_spread_out(mean[rows], min(2 * options.fields, len(rows)))]]

    def alike(points: np.ndarray) -> np.ndarray:
        squared = ((points[:, None] - centres) ** 2).sum(axis=2)
        return options.field_mm**2 * np.exp(-0.5 * squared / options.length_mm**2)

    values, vectors = np.linalg.eigh(alike(centres))
    top = np.argsort(values)[::-1][: options.fields]
    top = top[values[top] > 1e-6 * values.max()]
    functions = alike(mean) @ (vectors[:, top] / np.sqrt(values[top]))
    fields = np.zeros((len(top), 3, *mean.shape), np.float32)
    for axis in range(3):
        fields[:, axis, :, axis] = functions.T
    return fields.reshape(-1, *mean.shape)


def learn(seen: Information, *, strength: float, rounds: int) -> Learned:
    """Learn how coefficients are distributed by expectation-maximisation; see the module."""
    total, count = seen.vectors.shape
    prior = np.eye(count)
    mean, spread, unsure = np.zeros(count), prior, prior
    for _ in range(rounds):
        precision = np.linalg.inv(spread)
        sums, squares, unsure = np.zeros(count), np.zeros((count, count)), np.zeros_like(prior)
        for matrix, vector in zip(*seen, strict=True):
            doubt = np.linalg.inv(precision + matrix)
            place = doubt @ (precision @ mean + vector)
            sums += place
            squares += np.outer(place, place)
            unsure += doubt
        mean = sums / (total + strength)
        about = (
            unsure
            + squares
            - np.outer(sums, mean)
            - np.outer(mean, sums)
            + total * np.outer(mean, mean)
        )
        spread = (about + strength * prior) / (total + strength)
        spread = 0.5 * (spread + spread.T)
    return Learned(mean, spread, (unsure + strength * prior) / (total + strength))


def unlikelihood(seen: Information, mean: np.ndarray, spread: np.ndarray) -> float:
    """Return the mean negative log likelihood of observations, less a constant of their own."""
    precision = np.linalg.inv(spread)
    size = np.linalg.slogdet(spread)[1]
    total = 0.0
    for matrix, vector in zip(*seen, strict=True):
        right = precision @ mean + vector
        both = precision + matrix
        total += 0.5 * (
            size
            + np.linalg.slogdet(both)[1]
            + mean @ precision @ mean
            - right @ np.linalg.solve(both, right)
        )
    return float(total / len(seen.vectors))


def _spread_out(points: np.ndarray, count: int) -> np.ndarray:
    """Return rows of points far from each other, each the farthest from those before it."""
    rows = [int(np.argmax(points[:, 2]))]
    away = ((points - points[rows[0]]) ** 2).sum(axis=1)
    while len(rows) < count:
        rows.append(int(np.argmax(away)))
        away = np.minimum(away, ((points - points[rows[-1]]) ** 2).sum(axis=1))
    return np.array(rows)


def _information(
    wide: MorphableModel, basis: LandmarkBasis, face: Mapping[str, Any], known: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (D, D) and (D,): what a photograph's landmarks say, pose and expression unknown."""
    identity = np.asarray(face["identity"], np.float64)
    expression = np.asarray(face["expression"], np.float64)
    if len(identity) != known or len(expression) != wide.num_expression:
        raise InputError(
            f"refine: expected {known} identity and {wide.num_expression} expression"
            f" coefficients, got {len(identity)} and {len(expression)}: fit with this model"
        )
    count, free = wide.num_identity, wide.num_expression
    coefficients = np.concatenate([identity, np.zeros(count - known), expression])
    state = FaceState(
        coefficients,
        np.asarray(face["rotation"], np.float64),
        np.asarray(face["translation_mm"], np.float64),
        0.0,
    )
    trust = np.ones(68)
    trust[:NUM_JAW] = 0.0
    own = model_prior(wide)
    # Nothing is believed of modes and fields here: that is what is learned.
    precision = own.precision.copy()
    precision[:count, :count] = 0.0
    prior = FacePrior(own.mean, precision)
    points = np.asarray(face["landmarks_2d"], np.float64)
    lens = np.asarray(face["intrinsics"], np.float64)

    def problem(config: LandmarkFitConfig) -> LandmarkProblem:
        return LandmarkProblem(basis, wide, points, trust, lens, config, prior, outline=False)

    # Outliers are judged with what the model lacks allowed for, then seen without that.
    first = problem(LandmarkFitConfig())
    first.reweigh(state)
    second = problem(LandmarkFitConfig(discrepancy_mm=0.0))
    second.weights = first.weights
    hessian, gradient = second.linearise(state, np.arange(68), second.noise(state))
    inner, rest = slice(0, count), slice(count, count + free + 6)
    across = hessian[inner, rest]
    unknown = hessian[rest, rest] + _TINY * np.eye(free + 6)
    matrix = hessian[inner, inner] - across @ np.linalg.solve(unknown, across.T)
    slope = gradient[inner] - across @ np.linalg.solve(unknown, gradient[rest])
    matrix = 0.5 * (matrix + matrix.T)
    return matrix, matrix @ coefficients[:count] - slope


def _with_modes(
    model: MorphableModel,
    wide: MorphableModel,
    mean: np.ndarray,
    spread: np.ndarray,
    count: int,
) -> MorphableModel:
    """Return the model with the principal components of shapes that ``spread`` describes."""
    flat = wide.identity_modes.reshape(wide.num_identity, -1).astype(np.float64)
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0))
    shapes = root.T @ flat
    areas = np.repeat(vertex_areas(model.mean, model.faces).astype(np.float64), 3)
    _, axes = np.linalg.eigh((shapes * areas) @ shapes.T)
    modes = (axes[:, ::-1][:, :count].T @ shapes).reshape(-1, *model.mean.shape)
    moved = model.mean + (mean @ flat).reshape(model.mean.shape)
    return replace(model, mean=moved.astype(np.float32), identity_modes=modes.astype(np.float32))

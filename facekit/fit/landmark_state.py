"""What the landmark solver holds: a photograph's points, and a face on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.fit.landmark_belief import Near
from facekit.fit.landmark_kernels import NUM

DIVERGED = "landmark fit: diverged; are the landmarks those of one face?"


class Photo(NamedTuple):
    """What is fitted.

    Attributes:
        observed: (2, 68) pixels; trust: (68,) in [0, 1]; camera: (fx, fy, cx, cy).
        outline: whether the jaw's points lie on the face's outline.
        covariance: (2, 2, 68) the labeller's, mm^2; discrepancy: (68, 68) mm^2.
    """

    observed: np.ndarray
    trust: np.ndarray
    camera: np.ndarray
    outline: bool
    covariance: np.ndarray
    discrepancy: np.ndarray


class Place(NamedTuple):
    """A face somewhere on its way, and what is seen of it.

    Attributes:
        coefficients: (K + E,) the identity in the belief's z, and the expression.
        rotation, translation: (3, 3), (3,) head to camera; zoom: (1,) log focal length.
        force: (2, 68) the noise's inverse times the residuals, as far as it is known.
        points, seen, image, slope, head: see ``landmark_kernels.view``.
    """

    coefficients: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    zoom: np.ndarray
    force: np.ndarray
    points: np.ndarray
    seen: np.ndarray
    image: np.ndarray
    slope: np.ndarray
    head: np.ndarray

    @classmethod
    def empty(cls, coefficients: int) -> Place:
        """Return a place that is yet to be written."""
        return cls(np.empty(coefficients), *(np.empty(shape) for shape in _SHAPES))


# Of a place, after its coefficients.
_SHAPES = ((3, 3), 3, 1, (2, NUM), 3 * NUM, (3, NUM), (2, NUM), (2, 3, NUM), (2, 3, NUM))


@dataclass
class State:
    """A face on its way: where it is, and where it may go next."""

    at: Place
    next: Place
    rows: np.ndarray
    near: Near
    weights: np.ndarray
    cost: float = np.inf
    rounds: int = 0

    def accept(self) -> None:
        """Go to the next place."""
        self.at, self.next = self.next, self.at


class Linearised(NamedTuple):
    """A linear problem.

    Attributes:
        factor: (136, 136) upper, U^T U = S; identity: (136, K) the slopes by the identity.
        white: (136, n) the other variables' slopes through U^-T.
        hessian: (n, n), its upper triangle.
        root: (n, n) that with what is stuck held, damped and factored; not a number before a step.
        stuck: (E,) bool, which expressions were held at a bound then.
    """

    factor: np.ndarray
    identity: np.ndarray
    white: np.ndarray
    hessian: np.ndarray
    root: np.ndarray
    stuck: np.ndarray

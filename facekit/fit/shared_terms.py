"""Terms of a joint fit: what one photograph says about a person, and about itself.

A term holds one photograph's present state; ``fit.joint`` moves all of them together. Shared
variables are the identity coefficients and, with pixels, the person's skin (``fit.shared_skin``).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from facekit.fit.arrow import Block
from facekit.fit.landmark import FaceState, LandmarkProblem


class Term(Protocol):
    """One photograph in a joint fit."""

    def renew(self) -> bool:
        """Renew what is held while a step is taken; say whether the cost's form changed."""

    def moved(self, shared: np.ndarray, own: np.ndarray) -> Any:
        """Return the state with these shared variables, after a step of the photograph's own."""

    def accept(self, candidate: Any) -> None:
        """Take a candidate as the present state."""

    def cost(self, candidate: Any | None = None) -> float:
        """Return the negative log posterior, twice, of a candidate or the present state."""

    def linearise(self) -> Block:
        """Return the present state's normal equations."""

    def allowed(self, candidate: Any) -> bool:
        """Say whether a candidate may be taken, whatever its cost."""


class LandmarkTerm:
    """68 landmarks of one photograph.

    Attributes:
        problem: the residuals.
        judge: the same landmarks under their own noise, by which outliers lose weight.
        state: of the photograph, with the shared identity as its first coefficients.
    """

    def __init__(self, problem: LandmarkProblem, judge: LandmarkProblem, state: FaceState) -> None:
        self.problem, self.judge, self.state = problem, judge, state
        problem.weights = judge.weights
        self._identity = np.arange(problem.basis.num_identity)
        self.rows, self.noise = problem.rows(state), problem.noise(state)

    @property
    def landmarks(self) -> LandmarkProblem:
        """The residuals."""
        return self.problem

    @property
    def face(self) -> FaceState:
        """The state."""
        return self.state

    def renew(self) -> bool:
        """See ``Term``: the jaw's outline and the noise's size."""
        rows = self.problem.rows(self.state)
        changed = bool((rows != self.rows).any())
        self.rows, self.noise = rows, self.problem.noise(self.state)
        return changed

    def reweigh(self) -> bool:
        """Give outliers less weight; say whether anything changed."""
        changed = self.judge.reweigh(self.state)
        self.problem.weights = self.judge.weights
        self.renew()
        return changed

    def moved(self, shared: np.ndarray, own: np.ndarray) -> FaceState:
        """See ``Term``."""
        K = len(self._identity)
        step = np.concatenate([shared[:K] - self.state.coefficients[:K], own])
        return self.problem.moved(self.state, step)

    def accept(self, candidate: FaceState) -> None:
        """See ``Term``."""
        self.state = candidate

    def cost(self, candidate: FaceState | None = None) -> float:
        """See ``Term``."""
        return self.problem.cost(candidate or self.state, self.rows, self.noise)

    def linearise(self) -> Block:
        """See ``Term``."""
        hessian, gradient = self.problem.linearise(self.state, self.rows, self.noise)
        free = self.problem.free_variables(self.state, gradient, "all")
        K = len(self._identity)
        return Block(hessian, gradient, self._identity, free[K:])

    def allowed(self, candidate: FaceState) -> bool:
        """See ``Term``: the head stays before the camera."""
        return bool(candidate.translation[2] > 1)

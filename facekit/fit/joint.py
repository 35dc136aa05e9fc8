"""Levenberg-Marquardt over photographs that share variables: an identity, and a skin.

The energy is the sum of the photographs' own with the quadratic prior of what they share and none
of them brings. Steps come from ``fit.arrow``; all photographs move together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError

from facekit.errors import ItemError
from facekit.fit.arrow import Block, Eliminated, eliminate, solve
from facekit.fit.shared_terms import Term


class Joint(NamedTuple):
    """A minimum: shared variables (S,), the energy, and steps tried."""

    shared: np.ndarray
    energy: float
    iterations: int


def minimise(
    terms: Sequence[Term],
    shared: np.ndarray,
    precision: np.ndarray,
    *,
    steps: int = 25,
    tolerance: float = 1e-5,
) -> Joint:
    """Move all photographs to a minimum of the joint energy.

    Args:
        terms: their states are at ``shared``, and are left at the result's.
        shared: (S,) to begin with.
        precision: (S, S) of the shared variables' prior about 0, beyond what the photographs
            bring themselves.
        steps: tried at most.
        tolerance: stop when a step lowers the energy by a smaller part than this.

    Raises:
        ItemError: the energy is not finite to begin with.
    """
    damping = 1e-3
    energy = joint_energy(terms, shared, precision)
    if not np.isfinite(energy):
        raise ItemError("image set: diverged; are the photographs those of one person?")
    tried, fresh, stalled = 0, True, False
    blocks: list[Block] = []
    while tried < steps:
        tried += 1
        if fresh:
            blocks = [term.linearise() for term in terms]
        try:
            left = eliminate(blocks, precision, precision @ shared, damping=damping)
            change, own = solve(blocks, left)
        except LinAlgError:
            damping, fresh = damping * 8, False
            continue
        target = shared + change
        candidates = [term.moved(target, step) for term, step in zip(terms, own, strict=True)]
        new = np.inf
        if all(t.allowed(c) for t, c in zip(terms, candidates, strict=True)):
            new = float(target @ precision @ target)
            new += sum(t.cost(c) for t, c in zip(terms, candidates, strict=True))
        if not new < energy:
            damping, fresh = max(damping * 8, 1e-3), False
            if damping > 1e8:
                break
            continue
        small = energy - new < tolerance * (1 + abs(energy))
        moved = False
        for term, candidate in zip(terms, candidates, strict=True):
            term.accept(candidate)
            moved |= term.renew()
        shared, damping, fresh = target, max(damping / 8, 1e-9), True
        energy = joint_energy(terms, shared, precision)
        # A step that moves an outline changes the energy itself; once is given another look.
        if small and (stalled or not moved):
            break
        stalled = small
    return Joint(shared, energy, tried)


def joint_energy(terms: Sequence[Term], shared: np.ndarray, precision: np.ndarray) -> float:
    """Return the negative log posterior of all photographs, twice and without constants."""
    return float(shared @ precision @ shared) + sum(term.cost() for term in terms)


def normal_equations(
    terms: Sequence[Term], shared: np.ndarray, precision: np.ndarray
) -> tuple[list[Block], Eliminated]:
    """Return the blocks at the present states, and the shared variables' own system."""
    blocks = [term.linearise() for term in terms]
    return blocks, eliminate(blocks, precision, precision @ shared)

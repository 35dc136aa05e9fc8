"""What is known of a person's identity, from every view so far: an information filter.

A view adds information, the more views the surer. But a network or labeller errs alike on frames
that look alike, so that a thousand frames of one view are not a thousand views: errors within one
view (yaw and pitch to 15 degrees) are taken as correlated, and n frames count as
n / (1 + (n - 1) r) of one, the variance of a mean of equally correlated values.
"""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array
from facekit.fit.network_prior import CORRELATION
from facekit.fit.prior import Information

# Side of a view in degrees, and frames of one view after which more say nothing.
VIEW_DEG, VIEW_FRAMES = 15.0, 8


class IdentityFilter:
    """One person's identity coefficients, prior N(0, 1) each.

    Args:
        count: K.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._views: dict[tuple[int, int], tuple[int, Information]] = {}
        self.mean = np.zeros(count)
        self.covariance = np.eye(count)

    @property
    def frames(self) -> int:
        """Frames that were added."""
        return sum(count for count, _ in self._views.values())

    def wants(self, yaw_deg: float, pitch_deg: float) -> bool:
        """Say whether a frame of this view still tells something."""
        return self._views.get(_view(yaw_deg, pitch_deg), (0, None))[0] < VIEW_FRAMES

    def add(self, information: Information, *, yaw_deg: float, pitch_deg: float) -> None:
        """Add what a frame tells beyond the prior.

        Args:
            information: of the frame alone, positive semidefinite.
            yaw_deg, pitch_deg: the head's.
        """
        count = self._count
        matrix = check_array(information.matrix, "information", shape=(count, count))
        vector = check_array(information.vector, "information", shape=(count,))
        key = _view(yaw_deg, pitch_deg)
        number, total = self._views.get(key, (0, None))
        if total is not None:
            matrix, vector = matrix + total.matrix, vector + total.vector
        self._views[key] = (number + 1, Information(matrix, vector))
        self._solve()

    def _solve(self) -> None:
        precision, vector = np.eye(self._count), np.zeros(self._count)
        for number, total in self._views.values():
            share = 1 / (1 + (number - 1) * CORRELATION)
            precision += share * total.matrix
            vector += share * total.vector
        covariance = np.linalg.inv(precision)
        self.covariance = 0.5 * (covariance + covariance.T)
        self.mean = self.covariance @ vector


def distance(
    first: np.ndarray, first_covariance: np.ndarray, other: np.ndarray, other_covariance: np.ndarray
) -> float:
    """Return how far apart two identities are: the rms deviation of their difference.

    It is near 1 for one person seen twice, more for two people.
    """
    difference = first - other
    spread = first_covariance + other_covariance
    return float(np.sqrt(difference @ np.linalg.solve(spread, difference) / len(difference)))


def _view(yaw_deg: float, pitch_deg: float) -> tuple[int, int]:
    return round(yaw_deg / VIEW_DEG), round(pitch_deg / VIEW_DEG)

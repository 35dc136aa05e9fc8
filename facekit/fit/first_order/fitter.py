"""Run a published first-order schedule on one face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facekit import threads
from facekit.errors import InputError, ItemError, UsageError
from facekit.fit.first_order.config import ADAM_3DMM, SCHEDULES, FirstOrderConfig
from facekit.fit.first_order.drawing import Drawn, open_drawn
from facekit.fit.first_order.face import Parameters, TorchFace
from facekit.fit.first_order.problem import FirstOrderProblem
from facekit.fit.first_order.shading import published_light
from facekit.fit.landmark import FaceState, LandmarkFit, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.terms.identity import Embedding
from facekit.morphable.model import MorphableModel
from facekit.types import DetectedFace


class FirstOrderFit(NamedTuple):
    """Result of a first-order fit.

    Attributes:
        fit: coefficients and pose as a landmark fit has them. Adam has no posterior: the
            covariance is that of the landmark fit's energy at this place, ``cost`` the energy.
        albedo: (A,) standard deviations.
        light: (9, 3) harmonics that shade sRGB albedo to sRGB colours, camera frame.
        terms: the energy's terms at the end, weighted, by name.
        parameters: where the steps ended.
    """

    fit: LandmarkFit
    albedo: np.ndarray
    light: np.ndarray
    terms: dict[str, float]
    parameters: Parameters


@dataclass
class FirstOrderFitter:
    """Fits one model to photographs; holds what is computed once.

    Attributes:
        model: the morphable model.
        basis: its landmark rows.
        config: the schedule.
        renderer: one of ``config.RENDERERS``.
        landmark_config: of the posterior.
        embedding: recognition network of the feature term, or None.
    """

    model: MorphableModel
    basis: LandmarkBasis
    config: FirstOrderConfig = ADAM_3DMM
    renderer: str = "builtin"
    landmark_config: LandmarkFitConfig = field(default_factory=LandmarkFitConfig)
    embedding: Embedding | None = None

    @cached_property
    def _parts(self) -> tuple[TorchFace, Drawn]:
        face = TorchFace(self.model, self.basis, "cpu")
        drawn = open_drawn(self.renderer, face.topology)
        if drawn.device != "cpu":
            face = TorchFace(self.model, self.basis, drawn.device)
        return face, drawn

    def open(self) -> None:
        """Open the renderer now, so that what is missing shows before the first face.

        Raises:
            MissingDependencyError: the renderer's package or device is missing.
        """
        _ = self._parts

    def problem(
        self,
        image: np.ndarray,
        face: DetectedFace,
        intrinsics: np.ndarray,
        *,
        mask: np.ndarray | None = None,
    ) -> FirstOrderProblem:
        """The energy of one face; see ``fit``."""
        if face.ibug68 is None:
            raise InputError("first-order fit: expected a detection with 68 landmarks")
        part, drawn = self._parts
        return FirstOrderProblem(
            part, self.config, drawn, image, face, intrinsics, mask=mask, embedding=self.embedding
        )

    def fit(
        self,
        image: np.ndarray,
        face: DetectedFace,
        intrinsics: np.ndarray,
        *,
        mask: np.ndarray | None = None,
    ) -> FirstOrderFit:
        """Fit one face.

        Args:
            image: (H, W, 3) uint8 sRGB.
            face: a detection with 68 landmarks.
            intrinsics: (3, 3) of the photograph, one focal length; it is not fitted.
            mask: (H, W) weights of pixels in [0, 1], or None.

        Raises:
            ItemError: the landmarks lie on one point, or the steps diverge.
            MissingDependencyError: the renderer's package or device is missing.
        """
        problem = self.problem(image, face, intrinsics, mask=mask)
        before = torch.get_num_threads()
        torch.set_num_threads(threads.num_threads())
        try:
            return self._descend(problem, face, intrinsics)
        finally:
            torch.set_num_threads(before)

    def _descend(
        self, problem: FirstOrderProblem, face: DetectedFace, intrinsics: np.ndarray
    ) -> FirstOrderFit:
        part, config = problem.face, self.config
        at = part.start()
        _descend([at.angles, at.shift], lambda: problem.rigid(at), config.rigid_steps, config)

        _descend(
            [block for block in at if block.numel()],
            lambda: torch.stack(list(problem.terms(at).values())).sum(),
            config.steps,
            config,
            after=lambda: part.keep_bounds(at),
        )
        with torch.no_grad():
            terms = {name: float(value) for name, value in problem.terms(at).items()}
            light = published_light(at.gamma)[0].cpu().numpy().astype(np.float64)
        fit = self._as_landmark_fit(problem, at, face, intrinsics, sum(terms.values()))
        return FirstOrderFit(fit, at.albedo[0].detach().cpu().numpy(), light, terms, at)

    def _as_landmark_fit(
        self,
        problem: FirstOrderProblem,
        at: Parameters,
        face: DetectedFace,
        intrinsics: np.ndarray,
        energy: float,
    ) -> LandmarkFit:
        with torch.no_grad():
            coefficients = problem.face.coefficients(at)[0].cpu().numpy().astype(np.float64)
            turn = problem.turn(at)[0].cpu().numpy().astype(np.float64)
            centre = problem.shift(at)[0].cpu().numpy().astype(np.float64)
        if not (np.isfinite(coefficients).all() and np.isfinite(turn).all() and centre[2] > 0):
            raise ItemError("first-order fit: diverged; are the landmarks those of one face?")
        marks = LandmarkProblem.of_face(
            self.basis, self.model, face, intrinsics, self.landmark_config
        )
        state = FaceState(coefficients, turn, centre - turn @ problem.face.centre, 0.0)
        return marks.result(state, energy, self.config.rigid_steps + self.config.steps)


def open_first_order(
    model: MorphableModel,
    basis: LandmarkBasis,
    schedule: str,
    renderer: str,
    landmark_config: LandmarkFitConfig,
) -> FirstOrderFitter:
    """Return the fitter of a schedule of ``config.SCHEDULES``.

    Raises:
        UsageError: an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    return FirstOrderFitter(
        model, basis, SCHEDULES[schedule], renderer, landmark_config=landmark_config
    )


def _descend(
    blocks: list[Tensor],
    energy: Callable[[], Tensor],
    steps: int,
    config: FirstOrderConfig,
    *,
    after: Callable[[], None] | None = None,
) -> None:
    optimiser = torch.optim.Adam(blocks, lr=config.learning_rate)
    for _ in range(steps):
        optimiser.zero_grad()
        energy().backward()
        optimiser.step()
        if after is not None:
            after()

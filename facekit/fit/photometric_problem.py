"""The energy of a photographed face: residuals, derivatives, priors, and what is seen.

The energy is that of the landmark fit (landmarks and priors together) plus

    e^T S^-1 e,   e_v = log(a_v Y(n_v) l + f) + k o_v - log(I(pi(x_v)) + f)

over points v of the visible skin: a the model's albedo, Y the nine spherical harmonics of the
normal in the camera frame, l the light, o the logarithm of the share of the surroundings that a
point of the mean head sees and k how much of it shows, I the blurred photograph's linear light at
the projected point, and f a floor that keeps darkness from counting without bound. S is that of
``fit.colour_noise``. The derivatives are analytic: the photograph's slope times the projection,
and the harmonics' derivative times that of the vertex normals. Visibility, robust weights and
outlines (the landmarks', and ``fit.outline_term``'s) are held in a step, and renewed between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.spatial import cKDTree

from facekit.errors import ItemError
from facekit.fit.colour_noise import ColourNoise, relief_process
from facekit.fit.landmark import FaceState, LandmarkProblem
from facekit.fit.outline_term import OutlineProblem
from facekit.fit.patch import SurfacePatch
from facekit.fit.pixels import ImageLevel, channel_weights
from facekit.fit.shading import harmonics, harmonics_slope
from facekit.fit.visibility import mean_openness, unhidden_vertices
from facekit.geometry.sampling import sample_image
from facekit.morphable.model import MorphableModel

# The light: nine harmonics and the share of ambient occlusion that shows.
NUM_LIGHT = 10
_ANY_BRIGHTNESS = 1e3
# Weight of a point that is left out.
LEFT_OUT = 1e-3


@dataclass(frozen=True)
class PhotometricConfig:
    """Settings of the photometric fit.

    Attributes:
        noise: what colours scatter about the model's.
        red: weight of the red channel in the one channel that is compared; blood, which skin
            differs by most, hardly absorbs red.
        blur_mm: blur of the levels on the face, coarse to fine.
        floor: light added before the logarithm, relative to the face's median.
        least_facing: cosine between normal and view below which a point does not count.
        robust_dof: degrees of freedom of the Student-t noise.
        outlier: deviations beyond which a point is something else than skin.
        reach_mm: distance around such a point within which nothing counts.
        light_std: prior deviation of the light's first and second band over its mean.
        hollows: prior mean and deviation of how much ambient occlusion shows: 1 where all
            light is ambient, 0 where none is.
        rounds: renewals of visibility and weights at each level.
        steps: accepted and rejected steps of a round.
        tolerance: a round ends when a step lowers the energy by a smaller part than this.
    """

    noise: ColourNoise = field(default_factory=ColourNoise)
    red: float = 0.8
    blur_mm: tuple[float, ...] = (3.0,)
    floor: float = 0.05
    least_facing: float = 0.3
    robust_dof: float = 4.0
    outlier: float = 1.5
    reach_mm: float = 12.0
    light_std: tuple[float, float] = (0.7, 0.3)
    hollows: tuple[float, float] = (0.5, 0.3)
    rounds: int = 3
    steps: int = 6
    tolerance: float = 1e-4


class FaceSurface(NamedTuple):
    """What a model's sample points bring, computed once.

    Attributes:
        patch: the points.
        albedo: (N,) mean albedo of the compared channel.
        hollows: (N,) logarithm of the share of the surroundings seen from the mean head.
        process: (N, N) covariance of the colours' correlated part.
        own_variance: (N,) of each point's own noise.
        relief: (2, N, N) of ``ColourNoise.relief_shares``.
    """

    patch: SurfacePatch
    albedo: np.ndarray
    hollows: np.ndarray
    process: np.ndarray
    own_variance: np.ndarray
    relief: np.ndarray


def build_surface(
    model: MorphableModel, patch: SurfacePatch, config: PhotometricConfig
) -> FaceSurface:
    """Collect what a model's sample points bring to every photograph."""
    weights = channel_weights(config.red)
    albedo = model.albedo_mean[patch.samples].astype(np.float64) @ weights
    return FaceSurface(
        patch,
        np.maximum(albedo, 0.01),
        np.log(mean_openness(model)[patch.samples]),
        config.noise.process(patch.mean[patch.own]),
        config.noise.own_variance(albedo_slope(model, weights)[patch.samples]),
        config.noise.relief_shares(patch.mean[patch.own]),
    )


class Seen(NamedTuple):
    """What is held while steps are taken."""

    chosen: np.ndarray  # samples that count
    factor: np.ndarray  # lower Cholesky factor of their covariance
    weights: np.ndarray
    rows: np.ndarray  # landmark rows
    marks: np.ndarray  # Cholesky factor of the landmarks' covariance


class Point(NamedTuple):
    """A face, and its light: nine harmonics, then how much ambient occlusion shows."""

    face: FaceState
    light: np.ndarray


class PhotometricProblem:
    """Residuals, their derivatives and the priors of one photographed face."""

    def __init__(
        self,
        landmarks: LandmarkProblem,
        surface: FaceSurface,
        model: MorphableModel,
        config: PhotometricConfig,
    ) -> None:
        self.landmarks, self.surface, self.model, self.config = landmarks, surface, model, config
        self.patch = surface.patch
        self.places = self.patch.mean[self.patch.own]
        self.num_face = landmarks.num_free
        self.num_free = self.num_face + NUM_LIGHT
        self.light_mean = np.zeros(NUM_LIGHT)
        self.light_mean[-1] = config.hollows[0]
        self.mask: np.ndarray | None = None  # (H, W) float32 weights of the photograph's pixels
        self.outline: OutlineProblem | None = None

    def camera_points(self, face: FaceState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Support's points in the head frame, samples' in the camera's, and their normals."""
        points = self.patch.points(face.coefficients)
        normals = self.patch.normals(points) @ face.rotation.T
        return points, points[self.patch.own] @ face.rotation.T + face.translation, normals

    def residuals(
        self, at: Point, level: ImageLevel, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals (M,) of chosen samples and whether each lies inside the picture."""
        _, camera, normals = self.camera_points(at.face)
        observed, _, inside = level.sample(project_level(level, camera[index]))
        unit = _unit(normals[index])[0]
        shade = self.surface.albedo[index] * (harmonics(unit) @ at.light[:9])
        hidden = at.light[9] * self.surface.hollows[index]
        return np.log(np.maximum(shade, 0) + level.floor) + hidden - observed, inside

    def jacobian(
        self, at: Point, level: ImageLevel, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals (M,) and their derivatives (M, num_free): face, then light."""
        face = at.face
        points, camera, normals = self.camera_points(face)
        count = len(self.patch.samples)
        observed, image_slope, _ = level.sample(project_level(level, camera))
        unit, length = _unit(normals)
        basis = harmonics(unit)
        logarithm, by_shade, tilt = self._shading(unit, at.light[:9], level.floor)
        residual = logarithm + at.light[9] * self.surface.hollows - observed
        by_normal = tilt / length[:, None]
        focal = level.intrinsics[[0, 1], [0, 1]]
        depth = np.maximum(camera[:, 2], 1.0)
        by_place = np.empty((count, 3))
        by_place[:, :2] = -image_slope * focal / depth[:, None]
        by_place[:, 2] = -(by_place[:, :2] * camera[:, :2]).sum(1) / depth
        keep = np.zeros(count, bool)
        keep[index] = True
        by_normal[~keep] = 0
        by_place[~keep] = 0
        out = np.zeros((len(index), self.num_free))
        C = self.landmarks.num_coefficients
        turned_back = by_place @ face.rotation, by_normal @ face.rotation
        out[:, :C] = self.patch.pull_back(points, *turned_back)[index]
        turned = camera - face.translation
        turn = np.cross(turned, by_place) + np.cross(normals, by_normal)
        out[:, C : C + 3] = turn[index]
        out[:, C + 3 : C + 6] = by_place[index]
        out[:, self.num_face : -1] = by_shade[index, None] * basis[index]
        out[:, -1] = self.surface.hollows[index]
        return residual[index], out

    def _shading(
        self, unit: np.ndarray, light: np.ndarray, floor: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logarithm of predicted light (N,) and its derivatives.

        They are with respect to the shading (N,), and to the unit normal along the sphere (N, 3),
        in the camera frame.
        """
        shade = self.surface.albedo * (harmonics(unit) @ light)
        lit = np.maximum(shade, 0) + floor
        by_shade = np.where(shade > 0, self.surface.albedo / lit, 0.0)
        tilt = by_shade[:, None] * np.einsum("nbd,b->nd", harmonics_slope(unit), light)
        tilt -= np.einsum("nd,nd->n", tilt, unit)[:, None] * unit
        return np.log(lit), by_shade, tilt

    def light_prior(self, light: np.ndarray) -> np.ndarray:
        """Prior deviations (10,) of the light, relative to its mean brightness, which is held."""
        first, second = self.config.light_std
        mean = max(abs(float(light[0])), 1e-6)
        bands = mean * np.repeat([_ANY_BRIGHTNESS, first, second], [1, 3, 5])
        return np.append(bands, self.config.hollows[1])

    def energy(self, at: Point, level: ImageLevel, seen: Seen, prior: np.ndarray) -> float:
        """The negative log posterior, twice and without constants."""
        residual, inside = self.residuals(at, level, seen.chosen)
        if not inside.all():
            return np.inf
        white = whiten(seen.factor, residual)
        total = float(white @ white + (((at.light - self.light_mean) / prior) ** 2).sum())
        if self.outline is not None:
            total += self.outline.cost(at.face)
        return total + self.landmarks.cost(at.face, seen.rows, seen.marks)

    def linearise(
        self, at: Point, level: ImageLevel, seen: Seen, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton matrix and gradient (both halved) of the energy."""
        residual, jacobian = self.jacobian(at, level, seen.chosen)
        white = whiten(seen.factor, np.column_stack([jacobian, residual]))
        hessian = white[:, :-1].T @ white[:, :-1]
        gradient = white[:, :-1].T @ white[:, -1]
        marks, marks_gradient = self.landmarks.linearise(at.face, seen.rows, seen.marks)
        n = self.num_face
        hessian[:n, :n] += marks
        gradient[:n] += marks_gradient
        if self.outline is not None:
            rim, rim_gradient = self.outline.linearise(at.face)
            hessian[:n, :n] += rim
            gradient[:n] += rim_gradient
        light = np.arange(n, self.num_free)
        hessian[light, light] += prior**-2.0
        gradient[n:] += prior**-2.0 * (at.light - self.light_mean)
        return hessian, gradient

    def see(self, at: Point, level: ImageLevel, weights: np.ndarray | None = None) -> Seen:
        """Find what is visible and the face's outline, and factor the noise there.

        Args:
            weights: (N,) of all samples from the last round, or None.

        Raises:
            ItemError: too little of the face is seen.
        """
        if self.outline is not None:
            self.outline.look(at.face)
        index = self._visible(at.face, level)
        shown = self._shown(at.face)[index]
        index, shown = index[shown > LEFT_OUT], shown[shown > LEFT_OUT]
        if len(index) < 30:
            raise ItemError("photometric fit: less than a few points of skin are seen")
        own = self.surface.own_variance[index]
        covariance = self._covariance(at, level, index)
        chosen = shown if weights is None else shown * weights[index]
        total = np.diag(covariance) + own
        diagonal = np.arange(len(index))
        covariance[diagonal, diagonal] += own + total * (1 / chosen - 1)
        factor = np.linalg.cholesky(covariance)
        rows = self.landmarks.rows(at.face)
        return Seen(index, factor, chosen, rows, self.landmarks.noise(at.face))

    def robust_weights(
        self, at: Point, level: ImageLevel, index: np.ndarray, before: np.ndarray | None = None
    ) -> np.ndarray:
        """Return weights (N,) of all samples; those not in ``index`` get 1.

        A point loses weight when it is far off, and when it is far from what its neighbours say
        (its error given all others': [S^-1 e]_v over the root of [S^-1]_vv). What is
        ``outlier`` deviations off is something else than skin (hair, glasses, a shadow): it is
        left out with all within ``reach_mm``, for good, since otherwise the face would shrink
        until it shows no more.

        Args:
            before: (N,) weights of the last round.

        Raises:
            ItemError: every point was left out.

        Source of the conditional error: S. Sundararajan, S. Keerthi, Predictive approaches for
        choosing hyperparameters in Gaussian processes, 2001, eq. 10.
        """
        config, dof = self.config, self.config.robust_dof
        residual, _ = self.residuals(at, level, index)
        covariance = self._covariance(at, level, index)
        diagonal = np.arange(len(index))
        covariance[diagonal, diagonal] += self.surface.own_variance[index]
        variance = np.diag(covariance).copy()
        earlier = np.ones(len(index)) if before is None else before[index]
        if not (earlier > LEFT_OUT).any():
            raise ItemError("photometric fit: nothing that looks like skin is left of the face")
        off = residual - np.median(residual[earlier > LEFT_OUT])
        squared = off**2 / variance
        weights = np.minimum((dof + 1) / (dof + squared), 1.0)
        covariance[diagonal, diagonal] += variance * (1 / np.minimum(weights, earlier) - 1)
        factor, lower = cho_factor(covariance, check_finite=False)
        variances = np.diag(dpotri(factor, lower)[0])
        expected = cho_solve((factor, lower), off, check_finite=False) ** 2 / variances
        weights = np.minimum(weights, (dof + 1) / (dof + expected))
        weights[earlier <= LEFT_OUT] = LEFT_OUT
        alien = (squared > config.outlier**2) & (earlier > LEFT_OUT)
        if alien.any():
            places = self.places[index]
            reach = cKDTree(places[alien]).query(places)[0]
            weights[reach <= config.reach_mm] = LEFT_OUT
        total = np.ones(len(self.patch.samples)) if before is None else before.copy()
        total[total > LEFT_OUT] = 1.0
        total[index] = weights
        return total

    def _covariance(self, at: Point, level: ImageLevel, index: np.ndarray) -> np.ndarray:
        """Covariance (M, M) of the correlated noise of chosen samples."""
        _, _, normals = self.camera_points(at.face)
        unit, _ = _unit(normals)
        tilt = self._shading(unit, at.light[:9], level.floor)[2] @ at.face.rotation
        relief = relief_process(self.surface.relief, self.places, tilt, index)
        return self.surface.process[np.ix_(index, index)] + relief

    def _shown(self, face: FaceState) -> np.ndarray:
        """The mask's weights (N,) where the samples lie in the photograph."""
        if self.mask is None:
            return np.ones(len(self.patch.samples))
        _, camera, _ = self.camera_points(face)
        spots = self.landmarks.focal * camera[:, :2] / np.maximum(camera[:, 2:], 1.0)
        x, y = (spots + self.landmarks.centre).T
        return sample_image(self.mask, x, y)[:, 0].astype(np.float64)

    def _visible(self, face: FaceState, level: ImageLevel) -> np.ndarray:
        _, camera, normals = self.camera_points(face)
        unit, _ = _unit(normals)
        distance = np.linalg.norm(camera, axis=1)
        facing = -np.einsum("nd,nd->n", unit, camera) / distance
        K = self.landmarks.basis.num_identity
        vertices = self.model.shape(face.coefficients[:K], face.coefficients[K:])
        placed = vertices.astype(np.float64) @ face.rotation.T + face.translation
        spots = np.column_stack([project_level(level, placed), placed[:, 2]])
        height, width = level.values.shape
        seen = unhidden_vertices(
            spots,
            self.model.faces,
            self.patch.samples,
            facing,
            width=width,
            height=height,
            focal_px=float(level.intrinsics[0, 0]),
        )
        seen &= facing > self.config.least_facing
        return np.flatnonzero(seen)


def albedo_slope(model: MorphableModel, weights: np.ndarray) -> np.ndarray:
    """Return the steepness (V,) of the mean albedo's logarithm along the edges, 1/mm."""
    value = np.log(np.maximum(model.albedo_mean.astype(np.float64) @ weights, 0.01))
    steep = np.zeros(model.num_vertices)
    for one, two in ((0, 1), (1, 2), (2, 0)):
        i, j = model.faces[:, one], model.faces[:, two]
        length = np.linalg.norm(model.mean[i] - model.mean[j], axis=1)
        slope = np.abs(value[i] - value[j]) / np.maximum(length, 0.1)
        np.maximum.at(steep, i, slope)
        np.maximum.at(steep, j, slope)
    return steep


def project_level(level: ImageLevel, camera: np.ndarray) -> np.ndarray:
    """Project points (N, 3) of the camera frame to a level's pixels (N, 2)."""
    depth = np.maximum(camera[:, 2:], 1.0)
    focal = level.intrinsics[[0, 1], [0, 1]]
    return focal * camera[:, :2] / depth + level.intrinsics[:2, 2]


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
    return vectors / length[:, None], length


def whiten(factor: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values (N, ...) divided by a lower Cholesky factor (N, N)."""
    return solve_triangular(factor, values, lower=True, check_finite=False)

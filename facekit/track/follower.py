"""One face from frame to frame: where to look, what the networks say, what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.detect.faces import box_of_five, dense_crop
from facekit.detect.landmark_sets import dense_to_ibug68, ibug68_to_five
from facekit.detect.parameters import CropReading, ParameterReader
from facekit.detect.passes import Candidate, PointNetwork
from facekit.errors import InputError, ItemError
from facekit.fit.landmark import FaceState
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.network_prior import network_information
from facekit.fit.prior import FacePrior
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import five_crop
from facekit.geometry.crop_pose import CropPose, decode_pose
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.io.frames import Frame
from facekit.morphable.model import MorphableModel
from facekit.track.identity import IdentityFilter
from facekit.track.motion import HeadPose
from facekit.track.solver import FrameSolver

# Presence below which a face that was followed is lost, and from which a found one is a face.
LOST, FOUND = 0.5, 0.8
# A crop stays where it is while its corners move by less than this share of its side: a face
# that is still is then seen through still pixels.
_STILL = 0.02
# Share of a new speed that points take over, and seconds over which it is trusted.
_SPEED_SHARE, _LONGEST = 0.5, 0.2
# Passes over a face just found, and steps of its first fit.
_FIRST_PASSES, _FIRST_STEPS = 3, 8
# Side of the picture a face is known again by.
LOOK_SIDE = 16
# Least deviation of an expression weight that a network is believed.
_LEAST_WEIGHT_STD = 0.02


@dataclass(frozen=True, eq=False)
class Tools:
    """What followers share.

    Attributes:
        model: the morphable model.
        basis: its landmark rows.
        intrinsics: (3, 3) of the video.
        points: the landmark network. It says whether what was found is a face; with ``steps`` it
            is what follows it.
        reader: the parameter network, or None where only ``points`` looks.
        steps: Gauss-Newton steps a frame to the landmarks; 0 only with a reader.
    """

    model: MorphableModel
    basis: LandmarkBasis
    intrinsics: np.ndarray
    points: PointNetwork
    reader: ParameterReader | None
    steps: int

    def __post_init__(self) -> None:
        if self.reader is None and self.steps < 1:
            raise InputError("track: without a parameter network landmarks are needed")


class Marks(NamedTuple):
    """Landmarks (68, 2) in pixels, their confidence (68,) and the face's presence."""

    points: np.ndarray
    confidence: np.ndarray
    presence: float


class Sight(NamedTuple):
    """What a frame shows of a face, unfiltered.

    Attributes:
        pose: of the head.
        expression: (E,).
        presence: in [0, 1].
        five: (5, 2) eyes, nose tip and mouth corners, pixels.
    """

    pose: HeadPose
    expression: np.ndarray
    presence: float
    five: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """(4,) x, y, width, height."""
        return box_of_five(self.five)


class Follower:
    """Follows one face.

    Args:
        tools: shared.
        identity: what is known of the person; it grows with every view.
    """

    def __init__(self, tools: Tools, identity: IdentityFilter) -> None:
        self._tools, self.identity = tools, identity
        self._solver = FrameSolver(tools.basis, tools.model, tools.intrinsics)
        self._solver.set_identity(identity.mean)
        self._state: FaceState | None = None
        self._five = np.zeros((5, 2))
        self._dense: np.ndarray | None = None
        # Pixels a second of each point.
        self._five_speed, self._dense_speed = np.zeros((5, 2)), np.zeros((478, 2))
        self._crop: SimilarityTransform | None = None
        self._five_crop: SimilarityTransform | None = None

    def start(self, frame: Frame, five: np.ndarray) -> Sight | None:
        """Look at a face that was just found at five points (5, 2); None where there is none."""
        self._five, self._dense, self._state = five, None, None
        self._crop = self._five_crop = None
        self._five_speed, self._dense_speed = np.zeros((5, 2)), np.zeros((478, 2))
        self._solver.forget()
        return self._look(frame, passes=_FIRST_PASSES, least=FOUND)

    def follow(self, frame: Frame, seconds: float) -> Sight | None:
        """Look where the face should be; None where it is no longer.

        A crop that is late pulls what is seen in it back, so every point is moved on at the speed
        that it has.

        Args:
            frame: the next one.
            seconds: since the one before.
        """
        elapsed = min(max(seconds, 0.0), _LONGEST)
        before = self._five, self._dense
        self._five = before[0] + elapsed * self._five_speed
        if before[1] is not None:
            self._dense = before[1] + elapsed * self._dense_speed
        sight = self._look(frame, passes=1, least=LOST)
        if sight is None or elapsed == 0:
            return sight
        self._five_speed = _speed(self._five_speed, before[0], self._five, elapsed)
        if before[1] is not None and self._dense is not None:
            self._dense_speed = _speed(self._dense_speed, before[1], self._dense, elapsed)
        return sight

    def project(self, pose: HeadPose, expression: np.ndarray) -> np.ndarray:
        """Return where the face's landmarks are seen under a pose and expression, (68, 2)."""
        return self._solver.points(FaceState(expression, *pose, 0.0))

    def picture(self, frame: Frame) -> np.ndarray:
        """Return the aligned face, (16, 16, 3) float32 of mean 0 and deviation 1."""
        look = frame.warp(five_crop(self._five, size=LOOK_SIDE), size=LOOK_SIDE).astype(np.float32)
        return (look - look.mean()) / max(float(look.std()), 1.0)

    def _look(self, frame: Frame, *, passes: int, least: float) -> Sight | None:
        middle = self._five.mean(0)
        if not (np.isfinite(middle).all() and _inside(middle, frame)):
            return None
        try:
            if self._tools.steps:
                return self._by_landmarks(frame, passes, least)
            # What was found is first looked at by the landmark network: it knows faces best.
            if self._state is None and self._marks(frame, passes, least) is None:
                return None
            return self._by_network(frame, least)
        except (ItemError, InputError, np.linalg.LinAlgError):
            # Points or a pose that no head has: the face is gone from where it was.
            return None

    def _by_network(self, frame: Frame, least: float) -> Sight | None:
        reading = self._read(frame)
        if reading.presence < least:
            return None
        self._dense = None
        self._state = state = self._read_state(reading)
        self._five = ibug68_to_five(self._solver.points(state))
        self._learn(reading, None, state)
        pose = HeadPose(state.rotation, state.translation)
        return Sight(pose, state.coefficients, reading.presence, self._five)

    def _marks(self, frame: Frame, passes: int, least: float) -> Marks | None:
        """What the landmark network sees; None where it sees no face. Moves the crop along."""
        network = self._tools.points
        for _ in range(passes):
            crop = self._landmark_crop(network)
            picture = frame.warp(crop, size=network.size)
            dense, confidence, presence = network.look(picture[None], [crop])
            if presence[0] < least:
                return None
            self._dense = dense[0]
        points = dense_to_ibug68(dense[0])
        self._five = ibug68_to_five(points)
        return Marks(points, confidence[0], float(presence[0]))

    def _by_landmarks(self, frame: Frame, passes: int, least: float) -> Sight | None:
        marks = self._marks(frame, passes, least)
        if marks is None:
            return None
        prior, reading = None, None
        if self._tools.reader is not None:
            reading = self._read(frame)
            prior = self._belief(reading)
        steps = _FIRST_STEPS if self._state is None else self._tools.steps
        seen = marks.points, marks.confidence
        state = self._solver.solve(*seen, self._state, steps=steps, prior=prior)
        if self._learn(reading, marks, state):
            # The identity has moved; pose and expression follow it in this very frame.
            state = self._solver.solve(*seen, state, steps=1, prior=prior)
        self._state = state
        pose = HeadPose(state.rotation, state.translation)
        return Sight(pose, state.coefficients, marks.presence, self._five)

    def _learn(
        self,
        reading: CropReading | None,
        marks: Marks | None,
        state: FaceState,
    ) -> bool:
        """Let the frame tell of the identity, where its view is new; say whether it did."""
        yaw, pitch, _ = camera_rotation_to_euler_deg(state.rotation)
        if not self.identity.wants(yaw, pitch):
            return False
        if reading is not None and self._tools.reader is not None:
            spread = self._tools.reader.identity_spread
            information = network_information(reading, spread=spread)
        elif marks is not None:
            information = self._solver.information(marks.points, marks.confidence, state)
        else:
            return False
        self.identity.add(information, yaw_deg=yaw, pitch_deg=pitch)
        self._solver.set_identity(self.identity.mean)
        return True

    def _landmark_crop(self, network: PointNetwork) -> SimilarityTransform:
        """The crop to look through; the last one while the face is still."""
        if self._dense is not None:
            crop = dense_crop(self._dense, size=network.size, margin=network.margin)
        else:
            crop = network.box_crop(Candidate(box_of_five(self._five), 1.0, self._five))
        self._crop = steady(self._crop, crop, size=network.size)
        return self._crop

    def _read(self, frame: Frame) -> CropReading:
        reader = self._tools.reader
        if reader is None:
            raise InputError("track: expected a parameter network")
        crop = five_crop(self._five, size=reader.size)
        self._five_crop = steady(self._five_crop, crop, size=reader.size)
        return reader.look(frame.warp(self._five_crop, size=reader.size), self._five_crop)

    def _read_state(self, reading: CropReading) -> FaceState:
        reader = self._tools.reader
        if reader is None:
            raise InputError("track: expected a parameter network")
        pose = CropPose(reading.parts["rotation"], reading.parts["translation"])
        rotation, translation = decode_pose(
            pose, self._tools.intrinsics, reading.crop, size=reader.size
        )
        bounds = self._tools.model.expression_bounds
        expression = np.clip(reading.parts["expression"], bounds[:, 0], bounds[:, 1])
        return FaceState(expression.astype(np.float64), rotation, translation, 0.0)

    def _belief(self, reading: CropReading) -> FacePrior | None:
        """What the network says of the expression; None where it sees no face."""
        if reading.presence < LOST:
            return None
        K, E = self._tools.model.num_identity, self._tools.model.num_expression
        covariance = reading.covariance[K : K + E, K : K + E] + _LEAST_WEIGHT_STD**2 * np.eye(E)
        mean = np.asarray(reading.parts["expression"], np.float64)
        return FacePrior(mean, np.linalg.inv(0.5 * (covariance + covariance.T)))


def _speed(speed: np.ndarray, before: np.ndarray, after: np.ndarray, elapsed: float) -> np.ndarray:
    return speed + _SPEED_SHARE * ((after - before) / elapsed - speed)


def _inside(point: np.ndarray, frame: Frame) -> bool:
    return bool((point >= 0).all() and point[0] < frame.width and point[1] < frame.height)


def steady(
    last: SimilarityTransform | None, crop: SimilarityTransform, *, size: int
) -> SimilarityTransform:
    """Return the last crop if the new one's corners lie within 2 % of its side, else the new."""
    if last is None:
        return crop
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    apart = np.abs(last.apply(crop.inverse().apply(corners)) - corners).max()
    return last if apart < _STILL * size else crop

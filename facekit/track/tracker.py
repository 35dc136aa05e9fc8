"""Every face of a video, frame by frame: find, follow, lose and find again."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.detect.builtin import BuiltinDetector
from facekit.detect.faces import box_of_points
from facekit.detect.parameters import ParameterReader, open_reader
from facekit.detect.passes import PointNetwork
from facekit.detect.session import open_asset
from facekit.errors import UsageError
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.geometry.cameras import intrinsics_from_fov
from facekit.io.frames import Frame
from facekit.morphable.model import MorphableModel
from facekit.track.follower import Follower, Sight, Tools
from facekit.track.identity import IdentityFilter
from facekit.track.motion import HeadPose
from facekit.track.people import Newcomer, Person, doubles, overlap, recognise, surprise

# Longest side of the picture in which faces are searched.
SEARCH_SIDE = 640
# Frames between searches while somebody is missing, and seconds after which a missing person is
# no longer looked for so often.
_RETRY, _PATIENCE = 3, 5.0
# A found box that overlaps a followed face by more is that face.
_FOLLOWED = 0.2
# Frames between pictures that a person is known again by.
_LOOK_EVERY = 10
# The angle of view of a video's longer side when nothing is known: a phone's or webcam's.
TYPICAL_FOV_DEG = 62.0


@dataclass(frozen=True)
class TrackOptions:
    """How a video is followed.

    Attributes:
        network: ``auto``, ``none`` or an ONNX file of a parameter network.
        refine: Gauss-Newton steps a frame to landmarks; -1 takes 0 with a parameter network and
            1 without.
        every: frames between searches for new people.
        faces: at most so many people at a time, the largest first; 0 for all.
        fov_deg: angle of view of the longer side; 0 takes a typical one.
        focal_px: focal length in pixels instead; 0 for unknown.
        smooth: filter poses and expressions.
    """

    network: str = "auto"
    refine: int = -1
    every: int = 30
    faces: int = 0
    fov_deg: float = 0.0
    focal_px: float = 0.0
    smooth: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.faces < 0 or self.refine < -1:
            raise UsageError(
                "track: expected at least 1 frame between searches, and no negative number of "
                f"faces or steps, got {self.every}, {self.faces} and {self.refine}"
            )
        if not (0 <= self.fov_deg < 180 and self.focal_px >= 0):
            raise UsageError(
                "track: expected an angle of view below 180 degrees and a positive focal "
                f"length, got {self.fov_deg} and {self.focal_px}"
            )


class TrackedFace(NamedTuple):
    """One person in one frame.

    Attributes:
        person: the id, from 1.
        presence: in [0, 1].
        identity: (K,) as known by now.
        expression: (E,).
        pose: of the head.
        points: (68, 2) the fitted face's landmarks, pixels.
        box: (4,) x, y, width, height of the points' bounding box.
    """

    person: int
    presence: float
    identity: np.ndarray
    expression: np.ndarray
    pose: HeadPose
    points: np.ndarray
    box: np.ndarray


class Tracker:
    """Follows faces; give it frames in order.

    Args:
        model: what faces are made of.
        width, height: of the frames.
        options: how.
        detector, points: other networks than the shipped ones.
        reader: another parameter network than ``options.network`` names.

    Attributes:
        intrinsics: (3, 3) of the video.
        people: everybody seen so far.
        seconds: spent on ``search`` and ``follow`` so far.
    """

    def __init__(
        self,
        model: MorphableModel,
        width: int,
        height: int,
        options: TrackOptions | None = None,
        *,
        detector: BuiltinDetector | None = None,
        points: PointNetwork | None = None,
        reader: ParameterReader | None = None,
    ) -> None:
        self.options = o = options or TrackOptions()
        self.model = model
        self.intrinsics = intrinsics_from_fov(width, height, o.fov_deg or TYPICAL_FOV_DEG)
        if o.focal_px:
            self.intrinsics[[0, 1], [0, 1]] = o.focal_px
        # One thread each: they are small, and the other cores decode.
        network = reader or open_reader(_source(o.network), model, threads=1)
        steps = o.refine if o.refine >= 0 else (0 if network is not None else 1)
        if network is None:
            steps = max(steps, 1)
        self._tools = Tools(
            model,
            build_landmark_basis(model),
            self.intrinsics,
            points or PointNetwork(open_asset("landmarks", threads=1)),
            network,
            steps,
        )
        self._detector = detector or BuiltinDetector(search_side=SEARCH_SIDE)
        self.people: list[Person] = []
        self.seconds: dict[str, float] = defaultdict(float)

    @property
    def assets(self) -> dict[str, str]:
        """The hashes of the networks."""
        reader = self._tools.reader
        found = {"landmarks": self._detector.fingerprint}
        return found if reader is None else found | {"parameters": reader.fingerprint}

    def step(self, frame: Frame) -> list[TrackedFace]:
        """Return the faces of the next frame, by id."""
        start = time.perf_counter()
        moment = float(frame.time)
        lost = self._follow(frame, moment)
        between = time.perf_counter()
        self.seconds["follow"] += between - start
        if self._search_due(frame.number, moment, lost):
            self._search(frame, moment)
            self.seconds["search"] += time.perf_counter() - between
        return [self._result(p, frame) for p in self.people if p.active]

    def _follow(self, frame: Frame, moment: float) -> bool:
        """Follow everybody into a frame; say whether somebody was lost."""
        sights: dict[int, Sight] = {}
        people = {person.number: person for person in self.people if person.active}
        for number, person in people.items():
            sight = person.follower.follow(frame, moment - person.time)
            if sight is not None:
                sights[number] = sight
        for first, second in doubles(sights):
            if first in sights and second in sights:
                del sights[self._impostor(people[first], people[second], sights, frame)]
        for number, person in people.items():
            if number not in sights:
                person.lose()
                continue
            person.update(sights[number], moment, frame.number)
            if frame.number % _LOOK_EVERY == 0:
                person.remember(person.follower.picture(frame))
        return len(sights) < len(people)

    def _impostor(
        self, first: Person, second: Person, sights: dict[int, Sight], frame: Frame
    ) -> int:
        """Of two people seen in one face, the number of the one whose face it is not."""
        moment = float(frame.time)
        a, b = (
            surprise(p, sights[p.number], p.follower.picture(frame), moment)
            for p in (first, second)
        )
        return first.number if a > b else second.number

    def _search_due(self, number: int, moment: float, lost: bool) -> bool:
        active = sum(person.active for person in self.people)
        if self.options.faces and active >= self.options.faces:
            return False
        if lost or number % self.options.every == 0:
            return True
        missed = any(not p.active and moment - p.time < _PATIENCE for p in self.people)
        return (missed or not active) and number % _RETRY == 0

    def _search(self, frame: Frame, moment: float) -> None:
        image, scale = frame.reduced(SEARCH_SIDE)
        followed = [person.seen.box for person in self.people if person.active]
        newcomers: list[Newcomer] = []
        for candidate in self._detector.boxes(image):
            box = candidate.box / scale
            if any(overlap(box, other) > _FOLLOWED for other in followed):
                continue
            follower = Follower(self._tools, IdentityFilter(self.model.num_identity))
            sight = follower.start(frame, (candidate.five + 0.5) / scale - 0.5)
            if sight is None or any(overlap(sight.box, b) > _FOLLOWED for b in followed):
                continue
            followed.append(sight.box)
            newcomers.append(Newcomer(follower, sight, follower.picture(frame)))
        if self.options.faces:
            room = self.options.faces - sum(person.active for person in self.people)
            newcomers = sorted(newcomers, key=lambda n: -float(n.sight.box[2]))[: max(room, 0)]
        missing = [person for person in self.people if not person.active]
        for newcomer, person in recognise(newcomers, missing, moment):
            if person is None:
                person = Person(
                    len(self.people) + 1, newcomer.follower, newcomer.sight, moment, frame.number
                )
                self.people.append(person)
            else:
                follower = Follower(self._tools, person.identity)
                again = follower.start(frame, newcomer.sight.five)
                if again is None:
                    continue
                person.follower = follower
                person.update(again, moment, frame.number)
            person.remember(newcomer.look)

    def _result(self, person: Person, frame: Frame) -> TrackedFace:
        sight = person.seen
        pose, expression = sight.pose, sight.expression
        if self.options.smooth:
            pose, expression = person.calm(float(frame.time))
        points = person.follower.project(pose, expression)
        return TrackedFace(
            person.number,
            sight.presence,
            person.identity.mean,
            expression,
            pose,
            points,
            box_of_points(points),
        )


def _source(network: str) -> str | Path:
    return network if network in ("auto", "none") else Path(network)

"""Who is who: faces found again, faces that cover one another, ids that stay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from facekit.track.follower import Follower, Sight
from facekit.track.identity import IdentityFilter, distance
from facekit.track.motion import HeadPose, MotionFilter

# A person's velocity and picture take over this share of every new one.
_VELOCITY_SHARE, _LOOK_SHARE = 0.5, 0.1
# Boxes that overlap by more (intersection over union) show one face.
SAME_FACE = 0.4
# Two pictures of one face are 1 - correlation apart by about this much.
_LOOK_SCALE = 0.25
# Where and when a face was last seen counts by at most this much, over this many seconds.
_PLACE_COST, _PLACE_SECONDS = 2.0, 1.0
# A face that is farther than this from everybody who is missing is somebody new.
_STRANGER = 3.5


@dataclass(eq=False)
class Person:
    """Somebody who was seen.

    Attributes:
        number: the id, from 1.
        follower: follows the face.
        motion: filters it.
        seen: the last sight of it.
        time: of that, seconds; frame: its number.
        active: the face is being followed.
        velocity: (2,) pixels a second.
        filtered: time of the last filtered sight, or None.
        look: (S, S, 3) the face's mean picture, or None.
    """

    number: int
    follower: Follower
    seen: Sight
    time: float
    frame: int
    active: bool = True
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    filtered: float | None = None
    look: np.ndarray | None = None
    motion: MotionFilter = field(default_factory=MotionFilter)

    @property
    def identity(self) -> IdentityFilter:
        """What is known of the person's identity."""
        return self.follower.identity

    def shift(self, time: float) -> np.ndarray:
        """Return how many pixels (2,) the face should have moved until a time."""
        return self.velocity * min(time - self.time, 0.2)

    def update(self, sight: Sight, time: float, frame: int) -> None:
        """Take over what a frame shows of the person."""
        elapsed = time - self.time
        if self.active and elapsed > 0:
            speed = (sight.five.mean(0) - self.seen.five.mean(0)) / elapsed
            self.velocity = self.velocity + _VELOCITY_SHARE * (speed - self.velocity)
        elif not self.active:
            self.velocity = np.zeros(2)
        self.seen, self.time, self.frame, self.active = sight, time, frame, True

    def calm(self, time: float) -> tuple[HeadPose, np.ndarray]:
        """Return the filtered pose and expression (E,) of the last sight, seen at this time."""
        elapsed = 0.0 if self.filtered is None else time - self.filtered
        self.filtered = time
        return self.motion(self.seen.pose, self.seen.expression, elapsed)

    def lose(self) -> None:
        """Note that the face is no longer seen."""
        self.active, self.filtered = False, None
        self.motion.reset()

    def remember(self, look: np.ndarray | None) -> None:
        """Take over how the face looks now, None for what could not be seen."""
        if look is not None:
            share = 1.0 if self.look is None else _LOOK_SHARE
            old = np.zeros_like(look) if self.look is None else self.look
            self.look = old + share * (look - old)


@dataclass(frozen=True, eq=False)
class Newcomer:
    """A face that was just found.

    Attributes:
        follower: with an identity of its own.
        sight: the first one.
        look: as ``Person.look``.
    """

    follower: Follower
    sight: Sight
    look: np.ndarray | None


def recognise(
    newcomers: list[Newcomer], missing: list[Person], time: float
) -> list[tuple[Newcomer, Person | None]]:
    """Return who each newcomer is: somebody missing, or None for somebody new.

    Whole assignments are compared, so that two who come back together are not mixed up because
    the first of them resembles both.
    """
    if not newcomers:
        return []
    cost = np.full((len(newcomers), len(missing) + len(newcomers)), _STRANGER)
    for row, newcomer in enumerate(newcomers):
        for column, person in enumerate(missing):
            cost[row, column] = unlikeness(newcomer, person, time)
    rows, columns = linear_sum_assignment(cost)
    return [
        (
            newcomers[row],
            missing[column] if column < len(missing) and cost[row, column] < _STRANGER else None,
        )
        for row, column in zip(rows, columns, strict=True)
    ]


def unlikeness(newcomer: Newcomer, person: Person, time: float) -> float:
    """Return how little a face resembles a person: picture, identity, and where it should be.

    The place counts for a second or so: then everybody may be anywhere.
    """
    gap = max(time - person.time, 0.0)
    side = max(float(person.seen.box[2]), 1.0)
    expected = person.seen.five.mean(0) + person.velocity * min(gap, _PLACE_SECONDS)
    away = float(np.linalg.norm(newcomer.sight.five.mean(0) - expected)) / side
    zoom = abs(np.log(newcomer.sight.box[2] / side))
    there = np.exp(-gap / _PLACE_SECONDS) * np.exp(-away - 2 * zoom)
    mine, theirs = newcomer.follower.identity, person.identity
    shape = distance(mine.mean, mine.covariance, theirs.mean, theirs.covariance)
    look = look_distance(newcomer.look, person.look) / _LOOK_SCALE
    return float(_PLACE_COST * (1 - there) + look + shape)


def look_distance(first: np.ndarray | None, other: np.ndarray | None) -> float:
    """Return 1 - correlation of two pictures, 1 where one is missing."""
    if first is None or other is None:
        return 1.0
    a, b = first.ravel() - first.mean(), other.ravel() - other.mean()
    return float(1 - a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


def overlap(first: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes (x, y, width, height)."""
    low = np.maximum(first[:2], other[:2])
    high = np.minimum(first[:2] + first[2:], other[:2] + other[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    return shared / max(float(first[2:].prod() + other[2:].prod()) - shared, 1e-9)


def doubles(sights: dict[int, Sight]) -> list[tuple[int, int]]:
    """Return the pairs of people (numbers) whose sights show one face."""
    numbers = sorted(sights)
    return [
        (a, b)
        for i, a in enumerate(numbers)
        for b in numbers[i + 1 :]
        if overlap(sights[a].box, sights[b].box) > SAME_FACE
    ]


def surprise(person: Person, sight: Sight, look: np.ndarray | None, time: float) -> float:
    """Return how little a sight suits the person that it was followed as."""
    expected = person.seen.five.mean(0) + person.shift(time)
    side = max(float(person.seen.box[2]), 1.0)
    away = float(np.linalg.norm(sight.five.mean(0) - expected)) / side
    return away + look_distance(look, person.look) / _LOOK_SCALE

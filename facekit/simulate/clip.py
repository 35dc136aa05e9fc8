"""A short video of a rendered head that turns, with its truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.video import VideoWriter
from facekit.morphable.model import MorphableModel
from facekit.simulate.look import Look, random_look
from facekit.simulate.portrait import Portrait, View, render_portrait
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import Subject, random_coefficients, subject_from_model

NTSC = Fraction(30000, 1001)


@dataclass(frozen=True)
class ClipOptions:
    """What is filmed.

    Attributes:
        frames: how many.
        width, height: of the picture.
        rate: frames a second.
        yaw_deg: the head turns to both sides by this much.
        speed_deg: its largest speed, degrees a second.
        distance_mm: from the camera.
        fov_deg: angle of view of the width.
        noise: deviation of the sensor's noise, grey levels of 255.
        seed: of the person and the noise.
        supersample: samples per pixel and side.
    """

    frames: int = 60
    width: int = 640
    height: int = 360
    rate: Fraction = NTSC
    yaw_deg: float = 25.0
    speed_deg: float = 60.0
    distance_mm: float = 700.0
    fov_deg: float = 62.0
    noise: float = 2.0
    seed: int = 0
    supersample: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.width, self.height) < 16:
            raise InputError(
                "clip: expected at least 1 frame of 16 x 16 pixels, got "
                f"{self.frames} of {self.width} x {self.height}"
            )

    def view(self, number: int) -> View:
        """Return where the head is in a frame: its yaw is a sine, the rest moves a little."""
        seconds = float(number / self.rate)
        phase = seconds * np.radians(self.speed_deg) / max(np.radians(self.yaw_deg), 1e-9)
        yaw = np.radians(self.yaw_deg) * np.sin(phase) if self.yaw_deg else 0.0
        pitch = np.radians(0.2 * self.yaw_deg) * np.sin(0.5 * phase)
        focal = self.width / (2 * np.tan(np.radians(self.fov_deg) / 2))
        return View(float(yaw), float(pitch), 0.0, self.distance_mm, focal, self.width, self.height)


def clip_person(model: MorphableModel, seed: int) -> tuple[Subject, Look]:
    """Return a person of a model, as a clean camera sees them."""
    rng = np.random.default_rng([seed, 11])
    identity, expression = random_coefficients(model, rng, expression_strength=0.3)
    look = random_look(rng, size=512, glasses=0.0, occluders=0.0, clean=1.0)
    sensor = replace(look.sensor, exposure=1.0, noise=0.0, blur_px=0.3, saturation=1.0, jpeg=0)
    subject = subject_from_model(model, identity=identity, expression=expression)
    return subject, replace(look, sensor=sensor)


def render_clip(model: MorphableModel, options: ClipOptions | None = None) -> Iterator[Portrait]:
    """Yield the frames of a clip, each with its truth, the sensor's noise added."""
    o = options or ClipOptions()
    subject, look = clip_person(model, o.seed)
    scene = build_scene(subject, look)
    rng = np.random.default_rng([o.seed, 12])
    for number in range(o.frames):
        portrait = render_portrait(
            subject, look, o.view(number), supersample=o.supersample, scene=scene
        )
        noisy = portrait.image + rng.normal(0, o.noise, portrait.image.shape)
        image = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
        yield replace(portrait, image=image)


def write_clip(
    path: Path,
    model: MorphableModel,
    options: ClipOptions | None = None,
    *,
    truth: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a clip as H.264.

    Args:
        path: an .mp4 file.
        model: of the person.
        options: what is filmed.
        truth: an .npz file for ``times_s`` (T,), ``pose_deg`` (T, 3) yaw, pitch and roll,
            ``landmarks_2d`` (T, 68, 2) and ``intrinsics`` (3, 3).
        progress: called with frames done and in all.
    """
    o = options or ClipOptions()
    times, poses, marks = [], [], []
    intrinsics = np.eye(3)
    with (
        atomic_path(path) as temporary,
        VideoWriter(temporary, o.width, o.height, o.rate, quality=18) as writer,
    ):
        for number, portrait in enumerate(render_clip(model, o)):
            moment = number / o.rate
            writer.write(portrait.image, moment)
            times.append(float(moment))
            poses.append(portrait.pose_deg)
            marks.append(portrait.landmarks_2d)
            intrinsics = portrait.camera.intrinsics
            if progress is not None:
                progress(number + 1, o.frames)
    if truth is not None:
        with atomic_path(truth) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                times_s=np.array(times),
                pose_deg=np.array(poses),
                landmarks_2d=np.array(marks, np.float32),
                intrinsics=intrinsics,
            )
    return path

"""A short video of a rendered head that turns, with its truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

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
        expressive: the face blinks, smiles and opens its mouth; otherwise it is stiff.
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
    expressive: bool = False

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


class ClipFrame(NamedTuple):
    """A portrait and its model's expression weights (E,)."""

    portrait: Portrait
    expression: np.ndarray


def clip_person(
    model: MorphableModel, seed: int, expression: np.ndarray | None = None
) -> tuple[Subject, Look]:
    """Return a person of a model, as a clean camera sees them.

    Args:
        model: any with what ``simulate`` needs.
        seed: of the person.
        expression: (E,) weights; None draws weak ones.
    """
    rng = np.random.default_rng([seed, 11])
    identity, drawn = random_coefficients(model, rng, expression_strength=0.3)
    expression = drawn if expression is None else expression
    look = random_look(rng, size=512, glasses=0.0, occluders=0.0, clean=1.0)
    sensor = replace(look.sensor, exposure=1.0, noise=0.0, blur_px=0.3, saturation=1.0, jpeg=0)
    subject = subject_from_model(model, identity=identity, expression=expression)
    return subject, replace(look, sensor=sensor)


def clip_expression(model: MorphableModel, seconds: float) -> np.ndarray:
    """Return the weights (E,) of an expressive face: blinks, a smile, and speech-like jaw."""
    curves = {
        "eyeBlink": np.exp(-(((seconds % 1.5 - 0.9) / 0.06) ** 2)),
        "mouthSmile": 0.7 * np.sin(np.pi * np.clip(seconds - 1.2, 0, 1)) ** 2,
        "jawOpen": 0.35 * np.sin(4.0 * np.pi * seconds) ** 2 * (seconds % 2.0 < 1.2),
    }
    names = [name.removesuffix("_L").removesuffix("_R") for name in model.expression_names]
    return np.array([curves.get(name, 0.0) for name in names])


def render_clip(model: MorphableModel, options: ClipOptions | None = None) -> Iterator[ClipFrame]:
    """Yield the frames of a clip, each with its truth, the sensor's noise added."""
    o = options or ClipOptions()
    _, expression = random_coefficients(
        model, np.random.default_rng([o.seed, 11]), expression_strength=0.3
    )
    subject, look = clip_person(model, o.seed)
    scene = build_scene(subject, look)
    rng = np.random.default_rng([o.seed, 12])
    for number in range(o.frames):
        if o.expressive:
            expression = clip_expression(model, float(number / o.rate))
            subject, _ = clip_person(model, o.seed, expression)
            scene = build_scene(subject, look)
        portrait = render_portrait(
            subject, look, o.view(number), supersample=o.supersample, scene=scene
        )
        noisy = portrait.image + rng.normal(0, o.noise, portrait.image.shape)
        image = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
        yield ClipFrame(replace(portrait, image=image), expression)


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
            ``landmarks_2d`` (T, 68, 2), ``expression`` (T, E) and ``intrinsics`` (3, 3).
        progress: called with frames done and in all.
    """
    o = options or ClipOptions()
    times, poses, marks, weights = [], [], [], []
    intrinsics = np.eye(3)
    with (
        atomic_path(path) as temporary,
        VideoWriter(temporary, o.width, o.height, o.rate, quality=18) as writer,
    ):
        for number, (portrait, expression) in enumerate(render_clip(model, o)):
            moment = number / o.rate
            writer.write(portrait.image, moment)
            times.append(float(moment))
            poses.append(portrait.pose_deg)
            marks.append(portrait.landmarks_2d)
            weights.append(expression)
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
                expression=np.array(weights, np.float32),
                intrinsics=intrinsics,
            )
    return path

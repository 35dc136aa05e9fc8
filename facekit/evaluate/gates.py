"""The four gates of the photometric fit: from its own assumptions to pictures that break them.

(a) heads of the model's own space with its mean albedo under spherical-harmonics light;
(b) the same heads with a skin of their own; (c) heads of another model with their own skin, under
the same light; (d) those heads as ``eval truth`` draws them: cast shadows, highlights, hair,
glasses and a camera's flaws. Each gate prints the mean face, the landmark fit, the photometric
fit and the best projection on the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from facekit.errors import UsageError
from facekit.evaluate.heads import HeadSet, Picture, Render, choose_heads, read_heads
from facekit.evaluate.truth import TruthOptions, head_renderer
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.render.interpolate import interpolate, unit
from facekit.render.rasterise import rasterise
from facekit.render.shade import sh_shading, to_uint8
from facekit.simulate.background import random_background
from facekit.simulate.light import Lighting, random_light
from facekit.simulate.look import Look, random_look
from facekit.simulate.portrait import View, face_centre, render_portrait, view_camera
from facekit.simulate.scene import Scene, build_scene
from facekit.simulate.sensor import SensorStyle
from facekit.simulate.subject import (
    Subject,
    open_foreign_heads,
    random_coefficients,
    subject_from_model,
)
from facekit.types import Camera

GATES = ("a", "b", "c", "d")
# Chin to crown of an adult head.
_HEAD_MM = 240.0
_SUPERSAMPLE = 2


def model_heads(model: MorphableModel, count: int, seed: int) -> tuple[HeadSet, list[Subject]]:
    """Draw heads of a model's own space with expressions, and their neutral truth."""
    subjects = []
    for number in range(count):
        rng = np.random.default_rng([seed, 31, number])
        identity, expression = random_coefficients(model, rng)
        subjects.append(subject_from_model(model, identity=identity, expression=expression))
    region = model.regions.get("scan", np.ones(model.num_vertices, bool))
    marks = model.landmark_map("now7")
    heads = HeadSet(
        np.stack([subject.neutral for subject in subjects]),
        model.faces[region[model.faces].all(axis=1)],
        model.faces[marks.faces],
        marks.barycentric.astype(np.float64),
    )
    return heads, subjects


def development_heads(total: int, count: int, *, bench: int = 50, bench_seed: int = 0) -> list[int]:
    """Return heads of a file that the published bench does not draw, spread evenly."""
    drawn = set(choose_heads(bench, total, bench_seed)) if bench < total else set()
    free = [head for head in range(total) if head not in drawn]
    if not 1 <= count <= len(free):
        raise UsageError(f"count: expected 1 to {len(free)} heads outside the bench, got {count}")
    return [free[i * len(free) // count] for i in range(count)]


def gate_pictures(
    gate: str, model: MorphableModel, options: TruthOptions, heads_file: Path | None
) -> tuple[HeadSet, list[int], Render]:
    """Return a gate's heads, which of them are used, and their renderer.

    Args:
        gate: one of ``GATES``.
        model: of gates (a) and (b)'s heads, and (a)'s albedo.
        options: count, seed and size are used; the seed also draws skins, lights and cameras.
        heads_file: of gates (c) and (d).

    Raises:
        UsageError: an unknown gate, or no heads file where one is needed.
        InputError: the heads cannot be read.
    """
    if gate not in GATES:
        raise UsageError(f"gate: expected one of {', '.join(GATES)}, got {gate!r}")
    if gate in ("a", "b"):
        heads, subjects = model_heads(model, options.count, options.seed)
        chosen = list(range(options.count))
        if gate == "a":
            return heads, chosen, _albedo_renderer(model, subjects, options)
        return heads, chosen, _skin_renderer(lambda head: subjects[head], options)
    if heads_file is None:
        raise UsageError(f"gate {gate}: needs --heads FILE")
    heads = read_heads(heads_file)
    chosen = development_heads(len(heads), options.count)
    if gate == "c":
        return heads, chosen, _skin_renderer(open_foreign_heads(heads_file).subject, options)
    return heads, chosen, head_renderer(heads_file, options)


def harmonic_light(rng: np.random.Generator) -> np.ndarray:
    """Draw a light (9, 3) that is spherical harmonics alone."""
    return random_light(rng).harmonics


def _view(options: TruthOptions, head: int, yaw_deg: float, rng: np.random.Generator) -> View:
    focal = options.size * rng.uniform(1.2, 2.4)
    turn = yaw_deg if head % 2 == 0 else -yaw_deg
    pitch, roll = np.clip(rng.normal(0, [6, 4]), -15, 15)
    return View(
        yaw=float(np.radians(turn)),
        pitch=float(np.radians(pitch)),
        roll=float(np.radians(roll)),
        distance_mm=focal * _HEAD_MM / (options.size * rng.uniform(0.5, 0.75)),
        focal_px=focal,
        width=options.size,
        height=options.size,
    )


def _albedo_renderer(
    model: MorphableModel, subjects: list[Subject], options: TruthOptions
) -> Render:
    albedo = model.albedo()

    def render(head: int, yaw_deg: float) -> Picture:
        rng = np.random.default_rng([options.seed, head, round(10 * abs(yaw_deg)), 5])
        subject = subjects[head]
        view = _view(options, head, yaw_deg, rng)
        camera = view_camera(view, face_centre(subject))
        light = harmonic_light(np.random.default_rng([options.seed, head, 6]))
        backdrop = random_background(rng, view.width, view.height)
        image = _render_vertices(subject, albedo, camera, light, backdrop, rng)
        marks = project(camera, subject.points(subject.vertices))[:, :2]
        return Picture(image, marks)

    return render


def _render_vertices(
    subject: Subject,
    albedo: np.ndarray,
    camera: Camera,
    light: np.ndarray,
    backdrop: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Shade a head's albedo per vertex under spherical harmonics; (H, W, 3) uint8."""
    width, height = camera.width * _SUPERSAMPLE, camera.height * _SUPERSAMPLE
    points = project(camera, subject.vertices)
    points[:, :2] = _SUPERSAMPLE * (points[:, :2] + 0.5) - 0.5
    fragments = rasterise(points, subject.faces, width, height, near=10.0)
    normals = vertex_normals(subject.vertices, subject.faces) @ camera.rotation.T
    normal = unit(interpolate(fragments, subject.faces, normals))
    colour = interpolate(fragments, subject.faces, albedo)
    # The same exposure for every head: lit skin is about a third of white.
    shade = np.maximum(sh_shading(normal, light), 0)
    picture = cv2.resize(backdrop, (width, height), interpolation=cv2.INTER_LINEAR)
    picture[fragments.covered] = (0.6 * colour * shade)[fragments.covered]
    picture = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    noise = np.sqrt(1e-6 + 3e-5 * np.maximum(picture, 0))
    return to_uint8(picture + noise * rng.standard_normal(picture.shape, np.float32))


def _skin_renderer(subject_of: Callable[[int], Subject], options: TruthOptions) -> Render:
    @lru_cache(maxsize=1)
    def person(head: int) -> tuple[Subject, Look, Scene]:
        rng = np.random.default_rng([options.seed, head, 7])
        subject = subject_of(head)
        look = _plain_look(random_look(rng, size=options.size, glasses=0.0, occluders=0.0), rng)
        scene = build_scene(subject, look, occlusion_directions=1)
        return subject, look, replace(scene, occlusion=np.ones_like(scene.occlusion))

    def render(head: int, yaw_deg: float) -> Picture:
        subject, look, scene = person(head)
        rng = np.random.default_rng([options.seed, head, round(10 * abs(yaw_deg)), 8])
        portrait = render_portrait(subject, look, _view(options, head, yaw_deg, rng), scene=scene)
        return Picture(portrait.image, portrait.landmarks_2d.astype(np.float64))

    return render


def _plain_look(look: Look, rng: np.random.Generator) -> Look:
    """A look without hair, shine, cast shadows or a camera's flaws."""
    dark = np.zeros(3)
    light = Lighting(
        ambient=harmonic_light(rng),
        key=look.light.key,
        key_colour=dark,
        fill=look.light.fill,
        fill_colour=dark,
        softness_mm=2.0,
    )
    sensor = SensorStyle(
        exposure=look.sensor.exposure,
        balance=(1.0, 1.0, 1.0),
        blur_px=0.3,
        motion_px=0.0,
        motion_deg=0.0,
        noise=0.3,
        contrast=1.0,
        saturation=1.0,
        jpeg=0,
    )
    return replace(
        look,
        skin=replace(look.skin, gloss=0.0, pores=0.0),
        hair=replace(look.hair, thickness=0.0, length=0.0),
        light=light,
        sensor=sensor,
    )

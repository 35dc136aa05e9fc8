"""Subjects of known geometry for the simulation's tests."""

from functools import cache

import numpy as np
import toy

from facekit.morphable import load_model
from facekit.simulate.subject import Subject, subject_from_mesh, subject_from_model
from facekit.types import LandmarkMap


@cache
def toy_subject() -> Subject:
    """An ellipsoid head of the toy model with a face painted on it."""
    rng = np.random.default_rng(0)
    model = toy.toy_model()
    return subject_from_model(
        model, identity=rng.normal(0, 0.5, 8), expression=np.array([0.4, 0, 0, 0])
    )


@cache
def mesh_subject() -> Subject:
    """The same head as a plain mesh with 51 landmarks."""
    model = toy.toy_model()
    marks = model.landmark_map("ibug68")
    inner = LandmarkMap(marks.faces[17:], marks.barycentric[17:])
    return subject_from_mesh("mesh", model.mean, model.faces, inner)


def write_heads(path, count=3):
    """A heads file: ellipsoids with an eyeball each side and 51 landmarks."""
    model = toy.toy_model()
    marks = model.landmark_map("ibug68")
    ball, ball_faces = toy.ellipsoid(9, 12)
    ball = ball / toy.RADII * 12
    skin = model.mean
    balls = [ball + [side * 32, 28, 84] for side in (-1, 1)]
    vertices = np.concatenate([skin, *balls])
    eye_faces = np.concatenate([ball_faces + len(skin), ball_faces + len(skin) + len(ball)]).astype(
        np.int32
    )
    rng = np.random.default_rng(1)
    heads = np.stack([vertices * (1 + 0.04 * rng.standard_normal(3)) for _ in range(count)])
    expressed = heads + np.where(np.arange(len(vertices))[:, None] < len(skin), [0, 0, 0.5], 0)
    np.savez(
        path,
        neutral=np.rint(heads / 0.01).astype(np.int16),
        expressed=np.rint(expressed / 0.01).astype(np.int16),
        quantum_mm=0.01,
        skin_faces=model.faces,
        eye_faces=eye_faces,
        scan_faces=model.faces,
        landmark_vertices=model.faces[marks.faces[17:]],
        landmark_weights=marks.barycentric[17:],
        now7_rows=np.array([19, 22, 25, 28, 16, 31, 37]),
    )
    return path


def write_model_heads(path, count):
    """Heads of the built-in model's own shape space, in the format of foreign heads."""
    model = load_model("builtin")
    rng = np.random.default_rng(0)
    neutral, expressed = [], []
    for _ in range(count):
        identity = 1.3 * rng.normal(size=model.num_identity).clip(-2, 2)
        weights = np.zeros(model.num_expression)
        weights[rng.integers(0, model.num_expression, 2)] = 0.3
        neutral.append(model.shape(identity))
        expressed.append(model.shape(identity, weights))
    marks = model.landmarks["ibug68"]
    eye = model.regions["eyeballs"][model.faces].all(axis=1)
    face = model.regions["face"][model.faces].all(axis=1)
    np.savez(
        path,
        neutral=np.round(np.array(neutral) / 0.01).astype(np.int16),
        expressed=np.round(np.array(expressed) / 0.01).astype(np.int16),
        quantum_mm=np.float64(0.01),
        skin_faces=model.faces[~eye],
        eye_faces=model.faces[eye],
        scan_faces=model.faces[face & ~eye],
        landmark_ids=np.arange(17, 68),
        landmark_vertices=model.faces[marks.faces[17:]],
        landmark_weights=marks.barycentric[17:],
        now7_rows=np.array([19, 22, 25, 28, 16, 31, 37]),
    )
    return path

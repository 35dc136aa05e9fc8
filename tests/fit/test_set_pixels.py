"""Joint fits of pixels on the toy model: faces with a blotch, under lights of their own."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.fit.arrow import eliminate, solve
from facekit.fit.image_set import ImageSetConfig, ImageSetFitter, Member
from facekit.fit.joint import joint_energy
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.patch import build_patch
from facekit.fit.photo import FaceFitter, Setting
from facekit.fit.photometric import PhotometricFitter
from facekit.fit.set_pixels import SetPixels
from facekit.fit.shared_skin import PixelTerm, SkinProblem
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.interpolate import interpolate, unit
from facekit.render.rasterise import rasterise
from facekit.render.shade import ambient_sh, directional_light_sh, sh_shading, to_uint8
from facekit.types import Camera, DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
K = MODEL.num_identity
INTRINSICS = np.array([[700.0, 0, 127.5], [0, 700, 127.5], [0, 0, 1]])
KNOWN = Setting(focal_px=700.0)
IDENTITY = np.random.default_rng(8).normal(size=K)
CONFIG = LandmarkFitConfig()


def photograph(yaw, side, *, noise=0.7):
    """A picture under a light from one side, and landmarks with noise of so many pixels."""
    rng = np.random.default_rng(int(yaw) + 100)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.05, 0.0)
    camera = Camera(INTRINSICS, rotation, np.array([3.0, -5, 900]), 256, 256)
    vertices = MODEL.shape(IDENTITY)
    points = project(camera, vertices)
    fragments = rasterise(points, MODEL.faces, 256, 256, near=10.0)
    normals = vertex_normals(vertices, MODEL.faces) @ rotation.T
    normal = unit(interpolate(fragments, MODEL.faces, normals))
    towards = np.array([side, -0.4, -0.7])
    light = ambient_sh(np.full(3, 0.4)) + directional_light_sh(
        towards / np.linalg.norm(towards), np.full(3, 0.6)
    )
    # The person has a dark cheek that the model does not know.
    blotch = 1 - 0.3 * np.exp(-((MODEL.mean - [30, -25, 70]) ** 2).sum(1) / 2 / 15**2)
    colour = interpolate(fragments, MODEL.faces, (MODEL.albedo() * blotch[:, None]))
    image = to_uint8(colour * np.maximum(sh_shading(normal, light), 0))
    marks = project(camera, BASIS.points(np.concatenate([IDENTITY, np.zeros(4)]))[:68])[:, :2]
    marks = marks + noise * rng.normal(size=marks.shape)
    box = np.concatenate([marks.min(0), np.ptp(marks, axis=0)])
    return image, DetectedFace(box, 1.0, ibug68=marks, jaw_on_outline=False)


PHOTOS = [photograph(yaw, side) for yaw, side in ((0, 0.6), (-35, -0.6), (35, 0.3), (15, -0.3))]


def fitted(photometric):
    fitter = FaceFitter(MODEL, CONFIG, photometric=photometric)
    members = [Member(image, [face], KNOWN) for image, face in PHOTOS]
    # Outlines have tests of their own; here pixels are judged.
    return ImageSetFitter(fitter, ImageSetConfig(outline=None)).fit(members).faces


def shape_error(face):
    found, truth = face.neutral - face.neutral.mean(0), MODEL.shape(IDENTITY)
    truth = truth - truth.mean(0)
    found = found * (np.linalg.norm(truth) / np.linalg.norm(found))
    return float(np.linalg.norm(found - truth, axis=1).mean())


def test_pixels_improve_on_landmarks_and_give_one_identity():
    without, faces = fitted(False), fitted(True)
    assert shape_error(faces[0]) < 0.8 * shape_error(without[0])
    for face in faces[1:]:
        np.testing.assert_allclose(face.fit.identity, faces[0].fit.identity, atol=1e-9)
    spread = [np.trace(found[0].fit.covariance[:K, :K]) for found in (faces, without)]
    assert 0 < spread[0] < spread[1]
    assert np.linalg.eigvalsh(faces[0].fit.covariance).min() > 0


def terms_at_the_truth():
    fitter = PhotometricFitter(MODEL, BASIS, build_patch(MODEL, count=60), CONFIG)
    pixels = SetPixels(fitter)
    terms = []
    for (image, face), yaw in zip(PHOTOS[:2], (0, -35), strict=True):
        marks = LandmarkProblem(BASIS, MODEL, face.ibug68, np.ones(68), INTRINSICS, CONFIG)
        problem = SkinProblem(marks, fitter.surface, MODEL, fitter.config)
        rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.05, 0.0)
        coefficients = np.concatenate([IDENTITY, np.full(4, 0.2)])
        state = FaceState(coefficients, rotation, np.array([3.0, -5, 900]), 0.0)
        levels, at = fitter.begin(problem, image, INTRINSICS, state)
        terms.append(PixelTerm(problem, at, levels[-1]))
    return terms, pixels._share(terms, K)


def test_the_gradient_is_that_of_the_energy():
    terms, precision = terms_at_the_truth()
    rng = np.random.default_rng(0)
    shared = np.concatenate([IDENTITY, 0.05 * rng.normal(size=len(precision) - K)])
    for term in terms:
        term.accept(term.moved(shared, np.zeros(term.problem.num_free - K)))
    blocks = [term.linearise() for term in terms]
    left = eliminate(blocks, precision, precision @ shared)
    total = precision @ shared
    for block in blocks:
        total[block.shared] += block.gradient[: len(block.shared)]
    rest = [np.zeros(term.problem.num_free - K) for term in terms]
    for index in (0, 3, K + 5, K + 30):
        found = []
        for sign in (1, -1):
            moved = shared.copy()
            moved[index] += sign * 1e-5
            energy = moved @ precision @ moved
            energy += sum(
                term.cost(term.moved(moved, still)) for term, still in zip(terms, rest, strict=True)
            )
            found.append(energy)
        slope = (found[0] - found[1]) / 4e-5
        assert slope == pytest.approx(total[index], rel=2e-3, abs=2e-2)
    change, own = solve(blocks, left)
    candidates = [
        term.moved(shared + 0.1 * change, 0.1 * step) for term, step in zip(terms, own, strict=True)
    ]
    before = joint_energy(terms, shared, precision)
    after = (shared + 0.1 * change) @ precision @ (shared + 0.1 * change)
    after += sum(term.cost(c) for term, c in zip(terms, candidates, strict=True))
    assert after < before


def test_a_photograph_without_skin_still_brings_its_landmarks():
    black = [np.zeros_like(PHOTOS[1][0]), PHOTOS[1][1]]
    members = [Member(image, [face], KNOWN) for image, face in (PHOTOS[0], black, PHOTOS[2])]
    faces = ImageSetFitter(FaceFitter(MODEL, CONFIG, photometric=True)).fit(members).faces
    assert all(face is not None for face in faces)
    np.testing.assert_allclose(faces[1].fit.identity, faces[0].fit.identity, atol=1e-9)


def test_the_skin_finds_the_dark_cheek():
    fitter = PhotometricFitter(MODEL, BASIS, build_patch(MODEL, count=200), CONFIG)
    terms = []

    class Watched(SetPixels):
        def _share(self, found, count):
            terms.extend(found)
            return super()._share(found, count)

    solver = ImageSetFitter(FaceFitter(MODEL, CONFIG, photometric=True))
    solver.__dict__["pixels"] = Watched(replace(fitter))
    solver.fit([Member(image, [face], KNOWN) for image, face in PHOTOS])
    skin = terms[0].problem.skin
    places = MODEL.mean[fitter.patch.samples]
    cheek = np.linalg.norm(places - [30, -25, 70], axis=1) < 15
    other = np.linalg.norm(places - [-30, -25, 70], axis=1) < 15
    assert skin[cheek].mean() < skin[other].mean() - 0.05

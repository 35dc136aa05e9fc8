"""The published first-order fits: their colours, their terms, and what they recover."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import toy_model

from facekit.errors import InputError, ItemError, MissingDependencyError, UsageError
from facekit.fit.first_order.config import ADAM_3DMM, ADAM_DEEP3D, RENDERERS, SCHEDULES
from facekit.fit.first_order.drawing import open_drawn
from facekit.fit.first_order.face import TorchFace, rotation
from facekit.fit.first_order.fitter import FirstOrderFitter, open_first_order
from facekit.fit.first_order.shading import encode_srgb, published_light
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.presets import PRESETS, choose_preset
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.differentiable import plain
from facekit.render.shade import linear_to_srgb
from facekit.types import Camera, DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
INTRINSICS = np.array([[700.0, 0, 127.5], [0, 700, 127.5], [0, 0, 1]])
QUICK = replace(ADAM_3DMM, size=96, rigid_steps=250, steps=120)


def published_colour(gamma, x, y, z):
    """Deng et al.'s formula, term by term: y up, z towards the viewer."""
    a = np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)
    c = np.array([1, np.sqrt(3)]) / np.sqrt(4 * np.pi)
    c = c[0], c[1], 3 * np.sqrt(5) / np.sqrt(12 * np.pi)
    basis = np.array(
        [
            a[0] * c[0] + 0 * x,
            -a[1] * c[1] * y,
            a[1] * c[1] * z,
            -a[1] * c[1] * x,
            a[2] * c[2] * x * y,
            -a[2] * c[2] * y * z,
            a[2] * c[2] * 0.5 / np.sqrt(3) * (3 * z**2 - 1),
            -a[2] * c[2] * x * z,
            a[2] * c[2] * 0.5 * (x**2 - y**2),
        ]
    )
    light = gamma.copy()
    light[:, 0] += 0.8
    return (light @ basis).T


def face_at(identity, yaw=15.0, expression=None):
    turn = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.08, -0.05)
    camera = Camera(INTRINSICS, turn, np.array([4.0, -6.0, 900.0]), 256, 256)
    weights = np.zeros(MODEL.num_expression) if expression is None else expression
    marks = BASIS.points(np.concatenate([identity, weights]))[:68]
    spots = project(camera, marks)[:, :2]
    box = np.concatenate([spots.min(0), np.ptp(spots, axis=0)])
    return camera, DetectedFace(box, 1.0, ibug68=spots)


def photograph(identity, gamma, yaw=15.0):
    """A face in the published fits' own colours, drawn by the plain renderer."""
    camera, face = face_at(identity, yaw)
    vertices = MODEL.shape(identity).astype(np.float64) @ camera.rotation.T + camera.translation
    part = TorchFace(MODEL, BASIS, "cpu")
    region = MODEL.regions.get("face", np.ones(MODEL.num_vertices, bool))
    kept = np.unique(MODEL.faces[region[MODEL.faces].all(axis=1)])
    drawn = open_drawn("plain", part.topology)
    colours = drawn.picture(
        torch.from_numpy(vertices[kept]).float()[None],
        encode_srgb(part.albedo_mean)[None],
        published_light(torch.from_numpy(gamma).float()[None]),
        torch.from_numpy(INTRINSICS).float()[None],
        256,
    )[0]
    image = np.rint(colours.clamp(0, 1).numpy() * 255).astype(np.uint8)
    return image, face, camera


def test_light_and_albedo_are_the_published_ones():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    gamma = rng.normal(size=(3, 9))
    ours = (
        plain.harmonics(torch.from_numpy(normals))
        @ published_light(torch.from_numpy(gamma)[None])[0]
    )
    x, y, z = normals.T
    np.testing.assert_allclose(ours.numpy(), published_colour(gamma, x, -y, -z), atol=1e-12)
    value = np.linspace(0, 1, 300)
    np.testing.assert_allclose(
        encode_srgb(torch.from_numpy(value)).numpy(), linear_to_srgb(value), atol=1e-6
    )


def test_angles_are_the_librarys():
    yaw, pitch, roll = 0.4, -0.2, 0.3
    turn = rotation(torch.tensor([[-pitch, yaw, -roll]], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(turn, euler_to_matrix(yaw, pitch, roll), atol=1e-12)


def test_the_schedule_is_the_published_one():
    assert (ADAM_3DMM.rigid_steps, ADAM_3DMM.steps, ADAM_3DMM.learning_rate) == (1000, 500, 1e-2)
    assert (ADAM_3DMM.size, ADAM_3DMM.margin) == (256, 1.3)
    assert (ADAM_3DMM.landmark, ADAM_3DMM.photometric, ADAM_3DMM.constancy) == (100, 1.6, 1)
    prior = (ADAM_3DMM.identity, ADAM_3DMM.expression, ADAM_3DMM.albedo)
    assert prior == (1e-3, 0.8e-3, 1.7e-6)
    # The public Adam fitter defines a term of the light's colour and does not use it.
    assert ADAM_3DMM.whiteness == 0
    deep = ADAM_DEEP3D
    assert (deep.landmark, deep.photometric, deep.constancy) == (1.6e-3, 1.92, 5)
    assert (deep.whiteness, deep.feature, deep.size) == (10, 0.2, 224)
    np.testing.assert_allclose(
        (deep.identity, deep.expression, deep.albedo), (3e-4, 2.4e-4, 5.1e-6)
    )


@pytest.mark.parametrize("config", SCHEDULES.values(), ids=SCHEDULES)
def test_terms_have_known_values(config):
    camera, face = face_at(np.zeros(MODEL.num_identity), yaw=0)
    image = np.full((256, 256, 3), 128, np.uint8)
    fitter = FirstOrderFitter(MODEL, BASIS, config)
    problem = fitter.problem(image, face, camera.intrinsics)
    at = problem.face.start()
    with torch.no_grad():
        at.identity[0, :2] = torch.tensor([3.0, -1.0])
        at.gamma[0, 0, 4] = 0.3
        terms = {name: float(value) for name, value in problem.terms(at).items()}
    assert terms["identity"] == pytest.approx(config.identity * 10)
    if config.whiteness:
        # One colour of one of nine coefficients: (0.3, 0, 0) about its mean, over 27.
        assert terms["whiteness"] == pytest.approx(10 * (0.2**2 + 2 * 0.1**2) / 27, rel=1e-5)
    else:
        assert "whiteness" not in terms
    assert "feature" not in terms
    # The first place puts the mean face's landmarks at the labelled ones' middle and size.
    start = problem.face.start()
    with torch.no_grad():
        marks = problem.landmarks(start, problem.face.coefficients(start), problem.turn(start))
    gap = (marks - problem.observed)[0].numpy()
    spread = problem.observed[0].numpy().std(axis=0)
    assert np.abs(gap).max() < 0.35 * spread.max()


def test_every_renderer_gives_the_same_energy_and_gradient():
    image, face, camera = photograph(np.zeros(MODEL.num_identity), np.zeros((3, 9)))
    results = []
    for name in ("builtin", "plain", "staged"):
        fitter = FirstOrderFitter(MODEL, BASIS, QUICK)
        problem = fitter.problem(image, face, camera.intrinsics)
        if name == "staged":
            # What pytorch3d and nvdiffrast go through, with a renderer that is there.
            from facekit.fit.first_order.drawing import _Rendered
            from facekit.render.differentiable.renderer import open_renderer

            problem.drawn = _Rendered(open_renderer("torch"), problem.face.topology)
        else:
            problem.drawn = open_drawn(name, problem.face.topology)
        at = problem.face.start()
        with torch.no_grad():
            at.identity.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
            at.angles[0, 1] = 0.2
        value = torch.stack(list(problem.terms(at).values())).sum()
        blocks = (at.identity, at.expression, at.gamma, at.angles, at.shift)
        results.append([value, *torch.autograd.grad(value, blocks)])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            scale = float(want.detach().abs().max())
            torch.testing.assert_close(got, want, atol=2e-3 * scale, rtol=0)


def test_a_face_in_its_own_colours_is_recovered():
    identity = np.zeros(MODEL.num_identity)
    identity[:3] = [1.2, -0.8, 0.7]
    gamma = np.zeros((3, 9))
    gamma[:, 3] = 0.15
    gamma[0] *= 1.3
    image, face, camera = photograph(identity, gamma)
    fitter = FirstOrderFitter(MODEL, BASIS, replace(QUICK, steps=250))
    found = fitter.fit(image, face, camera.intrinsics)
    truth = MODEL.shape(identity)
    error = np.linalg.norm(MODEL.shape(found.fit.identity) - truth, axis=1).mean()
    assert error < 0.5 * np.linalg.norm(MODEL.mean - truth, axis=1).mean()
    assert np.abs(found.fit.residuals_px).max() < 3
    turn = found.fit.rotation @ camera.rotation.T
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 3
    assert found.terms["photometric"] < 0.02
    assert found.light.shape == (9, 3)
    n = MODEL.num_identity + MODEL.num_expression + 6
    assert found.fit.covariance.shape == (n, n)
    assert found.fit.cost == pytest.approx(sum(found.terms.values()))


def test_expressions_stay_in_the_models_bounds():
    weights = np.full(MODEL.num_expression, 1.6)
    camera, face = face_at(np.zeros(MODEL.num_identity), expression=weights)
    image = np.full((256, 256, 3), 90, np.uint8)
    found = FirstOrderFitter(MODEL, BASIS, QUICK).fit(image, face, camera.intrinsics)
    bounds = MODEL.expression_bounds
    assert (found.fit.expression >= bounds[:, 0] - 1e-6).all()
    assert (found.fit.expression <= bounds[:, 1] + 1e-6).all()


def test_masked_pixels_do_not_count():
    image, face, camera = photograph(np.zeros(MODEL.num_identity), np.zeros((3, 9)))
    spoiled, mask = image.copy(), np.ones(image.shape[:2], np.float32)
    spoiled[:, :110] = (0, 255, 0)
    mask[:, :112] = 0
    fitter = FirstOrderFitter(MODEL, BASIS, replace(QUICK, rigid_steps=100, steps=60))
    seen = fitter.fit(image, face, camera.intrinsics, mask=mask)
    other = fitter.fit(spoiled, face, camera.intrinsics, mask=mask)
    np.testing.assert_allclose(other.fit.identity, seen.fit.identity, atol=2e-3)
    fooled = fitter.fit(spoiled, face, camera.intrinsics)
    assert np.abs(fooled.fit.identity - seen.fit.identity).max() > 0.02


def test_the_feature_term_needs_and_uses_a_network():
    image, face, camera = photograph(np.zeros(MODEL.num_identity), np.zeros((3, 9)))
    config = replace(QUICK, feature=0.2)

    def embedding(crops):
        return torch.nn.functional.avg_pool2d(crops, 28).flatten(1) + 0.1

    fitter = FirstOrderFitter(MODEL, BASIS, config, embedding=embedding)
    problem = fitter.problem(image, face, camera.intrinsics)
    at = problem.face.start()
    term = problem.terms(at)["feature"]
    assert 0 < float(term.detach()) < 0.4
    (gradient,) = torch.autograd.grad(term, at.gamma)
    assert float(gradient.abs().max()) > 0


def test_what_cannot_be_fitted_is_said():
    camera, face = face_at(np.zeros(MODEL.num_identity))
    image = np.zeros((256, 256, 3), np.uint8)
    fitter = FirstOrderFitter(MODEL, BASIS, QUICK)
    with pytest.raises(InputError, match="68 landmarks"):
        fitter.fit(image, replace(face, ibug68=None), camera.intrinsics)
    with pytest.raises(ItemError, match="one point"):
        fitter.fit(image, replace(face, ibug68=np.full((68, 2), 50.0)), camera.intrinsics)
    with pytest.raises(UsageError, match="renderer"):
        open_drawn("painter", TorchFace(MODEL, BASIS, "cpu").topology)
    with pytest.raises(UsageError, match="schedule"):
        open_first_order(MODEL, BASIS, "sgd", "builtin", LandmarkFitConfig())


@pytest.mark.parametrize("name", ["pytorch3d", "nvdiffrast"])
def test_a_missing_renderer_says_how_to_get_it(name, monkeypatch):
    monkeypatch.setattr("facekit.render.differentiable.renderer._has", lambda package: False)
    fitter = open_first_order(MODEL, BASIS, "adam-3dmm", name, LandmarkFitConfig())
    with pytest.raises(MissingDependencyError, match="pip install"):
        fitter.open()


def test_presets_are_settings_and_refuse_what_they_cannot_use():
    assert set(SCHEDULES) < set(PRESETS)
    assert not choose_preset("fast").photometric
    assert choose_preset("default", photometric=True) == choose_preset("best")
    assert choose_preset("adam-3dmm", renderer="plain").first_order == "adam-3dmm"
    for name, options in (
        ("fast", {"renderer": "plain"}),
        ("adam-3dmm", {"photometric": True}),
        ("adam-3dmm", {"renderer": "numba"}),
        ("slow", {}),
    ):
        with pytest.raises(UsageError):
            choose_preset(name, **options)
    assert "builtin" in RENDERERS

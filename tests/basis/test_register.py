import numpy as np
import pytest
from toy_scans import CLEAN, scan_model, surface_of, toy_head, toy_scan

from facekit.basis.register import RegisterOptions, Registrar
from facekit.basis.template_model import template_of_model
from facekit.errors import InputError, ItemError
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.rotations import euler_to_matrix
from facekit.simulate.scan import ScanOptions
from facekit.types import Mesh

FACE = scan_model().regions["scan"]


def registrar(prior=True, **options):
    model = scan_model()
    settings = RegisterOptions(**options)
    return Registrar(template_of_model(model), model if prior else None, settings)


def errors(found, truth, rows=FACE):
    return np.linalg.norm(found.vertices - truth, axis=1)[rows]


def test_a_known_shape_is_found_with_its_correspondence():
    truth = toy_head(1)
    turn, shift = euler_to_matrix(0.2, -0.1, 0.3), np.array([40.0, -25.0, 300.0])
    mesh, marks = toy_scan(truth, ScanOptions(refine=1, holes=0))
    moved = Mesh(mesh.vertices @ turn.T + shift, mesh.faces)
    found = registrar().neutral(surface_of(moved, marks @ turn.T + shift))
    assert found.accepted and found.reason == ""
    # Along an ellipsoid's smooth skin a shape may slide.
    assert errors(found, truth @ turn.T + shift).mean() < 0.7
    assert found.surface_mm < 0.1 and found.coverage > 0.95 and found.folded == 0
    assert np.nanmean(found.residuals[FACE]) == pytest.approx(found.surface_mm, abs=1e-6)


def test_without_a_prior_correspondence_is_better_than_after_alignment():
    truth = toy_head(1)
    scan = surface_of(*toy_scan(truth))
    tool = registrar(prior=False)
    start = tool._align(tool.template.vertices, scan, with_scale=True)
    before = np.linalg.norm(start.apply(tool.template.vertices) - truth, axis=1)[FACE].mean()
    found = tool.neutral(scan)
    assert found.surface_mm < 0.1
    assert errors(found, truth).mean() < 0.8 * before


def test_a_hole_is_filled_by_the_prior():
    truth = toy_head(2)
    mesh, marks = toy_scan(truth)
    centre = truth[FACE][np.abs(truth[FACE] - [35.0, -10.0, 70.0]).sum(axis=1).argmin()]
    away = np.linalg.norm(mesh.vertices - centre, axis=1) > 28
    kept = Mesh(mesh.vertices, mesh.faces[away[mesh.faces].all(axis=1)])
    found = registrar().neutral(surface_of(kept, marks))
    hole = (np.linalg.norm(truth - centre, axis=1) < 20) & FACE
    assert hole.sum() > 10 and np.isnan(found.residuals[hole]).all()
    # Distance to the true surface, which the scan did not show there.
    tree = build_tree(truth, scan_model().faces)
    plain = registrar(prior=False).neutral(surface_of(kept, marks))
    filled, guessed = (
        np.sqrt(closest_points(tree, r.vertices[hole]).squared_distance).mean()
        for r in (found, plain)
    )
    assert filled < 0.3 and filled < guessed


def test_the_back_that_no_scan_shows_follows_the_prior():
    truth = toy_head(3)
    found = registrar().neutral(surface_of(*toy_scan(truth)))
    assert np.linalg.norm(found.vertices - truth, axis=1).max() < 3.0


def test_an_expression_is_registered_through_the_neutral():
    model = scan_model()
    neutral = toy_head(4)
    truth = neutral + 0.8 * model.expression_modes[0]
    found = registrar().expression(surface_of(*toy_scan(truth)), neutral)
    assert found.accepted and errors(found, truth).mean() < 0.3
    moved = np.linalg.norm(model.expression_modes[0], axis=1) > 2
    assert errors(found, truth, moved).mean() < 1.0


def test_few_landmarks_are_enough_and_too_few_are_named():
    truth = toy_head(1)
    mesh, marks = toy_scan(truth)
    some = np.full((68, 3), np.nan)
    rows = [30, 36, 39, 42, 45, 48, 54, 57]
    some[rows] = marks[rows]
    assert registrar().neutral(surface_of(mesh, some)).accepted
    some[[36, 39, 42]] = np.nan
    with pytest.raises(ItemError, match="at least 6 of the 51 inner landmarks, got 5"):
        registrar().neutral(surface_of(mesh, some))


def test_landmarks_of_no_face_and_other_units_are_named():
    truth = toy_head(1)
    mesh, marks = toy_scan(truth)
    shuffled = np.random.default_rng(0).permutation(marks)
    with pytest.raises(ItemError, match="landmarks are no face's"):
        registrar(sizes=(0.01, 10.0)).neutral(surface_of(mesh, shuffled))
    small = Mesh(mesh.vertices / 10, mesh.faces)
    with pytest.raises(ItemError, match="unit millimetres"):
        registrar().neutral(surface_of(small, marks / 10))


def test_a_scan_of_little_of_the_face_is_set_aside():
    truth = toy_head(1)
    mesh, marks = toy_scan(truth)
    some = mesh.vertices[:, 0] > 20
    found = registrar().neutral(
        surface_of(Mesh(mesh.vertices, mesh.faces[some[mesh.faces].all(axis=1)]), marks)
    )
    assert not found.accepted and "of the face has scan near it" in found.reason


def test_what_the_model_finds_unlikely_is_set_aside():
    model = scan_model()
    truth = model.shape(np.full(model.num_identity, 2.5)).astype(float)
    found = registrar(unlikely=1.5).neutral(surface_of(*toy_scan(truth, CLEAN)))
    assert not found.accepted and "deviations from the model's mean" in found.reason


def test_a_prior_of_another_topology_is_refused():
    from facekit.morphable import load_model

    template = template_of_model(scan_model())
    with pytest.raises(InputError, match="another topology"):
        Registrar(template, load_model("builtin"))


def test_the_built_in_head_registers_its_own_kind():
    from facekit.morphable import load_model

    model = load_model("builtin")
    identity = np.clip(np.random.default_rng(5).standard_normal(model.num_identity), -2, 2)
    truth = model.shape(identity).astype(float)
    from facekit.simulate.scan import simulate_scan

    mesh = simulate_scan(truth, model.faces, options=ScanOptions(refine=1), seed=5).mesh
    noise = np.random.default_rng(6).normal(0, 1.0, (68, 3))
    marks = model.landmark_points("ibug68", truth) + noise
    found = Registrar(template_of_model(model), model).neutral(surface_of(mesh, marks))
    face = model.regions["scan"]
    assert found.accepted and found.surface_mm < 0.1
    assert errors(found, truth, face).mean() < 0.6
    eyes = model.regions["eyeballs"]
    assert errors(found, truth, eyes).mean() < 1.5

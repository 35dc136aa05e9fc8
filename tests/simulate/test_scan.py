from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.simulate.scan import ScanOptions, simulate_scan, split_triangles

MODEL = toy_model()
FRONT = (-60.0, -30.0, 0.0, 30.0, 60.0)
QUIET = ScanOptions(yaws_deg=FRONT, noise_mm=0.0, bumps_mm=0.0, holes=0, refine=1)


def distances(mesh):
    tree = build_tree(MODEL.mean, MODEL.faces)
    return np.sqrt(closest_points(tree, mesh.vertices).squared_distance)


def test_split_triangles_are_the_same_surface():
    fine, faces = split_triangles(MODEL.mean, MODEL.faces)
    assert len(faces) == 4 * len(MODEL.faces)
    np.testing.assert_array_equal(fine[: len(MODEL.mean)], MODEL.mean)
    np.testing.assert_allclose(
        fine[faces[4 * 7 : 4 * 8]].mean(axis=(0, 1)),
        MODEL.mean[MODEL.faces[7]].mean(axis=0),
        atol=1e-4,
    )


def test_a_quiet_scan_lies_on_the_head_and_shows_its_front():
    scan = simulate_scan(MODEL.mean, MODEL.faces, options=QUIET)
    assert distances(scan.mesh).max() < 1e-3
    assert scan.seen[MODEL.mean[:, 2] > 20].mean() > 0.99
    assert not scan.seen[MODEL.mean[:, 2] < -85].any()
    assert scan.mesh.faces.max() == len(scan.mesh.vertices) - 1


def test_noise_has_its_size_and_holes_are_open():
    noisy = ScanOptions(noise_mm=0.2, bumps_mm=0.0, holes=0, refine=1)
    scan = simulate_scan(MODEL.mean, MODEL.faces, options=noisy, seed=1)
    assert distances(scan.mesh).mean() == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.1)
    holed = ScanOptions(noise_mm=0.0, bumps_mm=0.0, holes=3, hole_mm=25.0, refine=1, yaws_deg=FRONT)
    fewer = simulate_scan(MODEL.mean, MODEL.faces, options=holed, seed=1)
    whole = simulate_scan(MODEL.mean, MODEL.faces, options=QUIET, seed=1)
    assert len(fewer.mesh.vertices) < len(whole.mesh.vertices)
    again = simulate_scan(MODEL.mean, MODEL.faces, options=holed, seed=1)
    np.testing.assert_array_equal(fewer.mesh.vertices, again.mesh.vertices)


def test_bad_options_and_unseen_heads_are_refused():
    with pytest.raises(InputError, match="not negative"):
        ScanOptions(noise_mm=-1.0)
    with pytest.raises(InputError, match="nothing was seen"):
        back = MODEL.mean[MODEL.faces][:, :, 2].max(axis=1) < -60
        frontal = replace(QUIET, yaws_deg=(0.0,), pitches_deg=(0.0,))
        simulate_scan(MODEL.mean, MODEL.faces[back], options=frontal)

import dataclasses

import numpy as np
import pytest
from icp_twin import estimator_twin
from scan_case import egg, face, moved
from scipy.spatial.transform import Rotation

from facekit.errors import InputError, ItemError
from facekit.evaluate.estimator import (
    PRESETS,
    EstimatorConfig,
    average_shape,
    crop_face,
    face_axes,
    nose_tip,
    score_estimator,
)
from facekit.evaluate.faces3d import FaceSurface
from facekit.evaluate.icp import IcpOptions
from facekit.geometry.mesh import vertex_normals

WHOLE = EstimatorConfig(init="five", crop_radius_mm=0.0, icp_trim=0.0)


def with_(config, **values):
    return dataclasses.replace(config, **values)


def mean_normal_part(item, size):
    """How far a copy of ``item`` larger by ``size`` is off along its normals, by hand."""
    n = vertex_normals(item.vertices, item.faces).astype(float)
    return size * np.abs((item.vertices * n).sum(1))


@pytest.mark.parametrize("stat", ["rmse", "mean"])
def test_a_scaled_copy_is_no_error_only_where_scale_is_free(stat):
    truth, larger = egg(), moved(egg(), scale=1.02)
    free = score_estimator(truth, larger, with_(WHOLE, stat=stat))
    assert free.value < 2e-3
    assert free.transform.scale == pytest.approx(1 / 1.02, rel=1e-4)
    held = score_estimator(truth, larger, with_(WHOLE, stat=stat, scale="none"))
    off = mean_normal_part(truth, 0.02)
    expected = np.sqrt((off**2).mean()) if stat == "rmse" else off.mean()
    assert held.value == pytest.approx(expected, rel=0.02)
    assert held.transform.scale == 1
    fixed = score_estimator(
        truth, larger, with_(WHOLE, stat=stat, scale="global"), fixed_scale=1 / 1.02
    )
    assert fixed.value < 2e-3


@pytest.mark.parametrize("preset", ["deep3d", "ganfit", "mgcnet"])
def test_the_presets_agree_with_a_slow_twin(preset):
    """From meshes and landmarks to the number, as each paper's protocol says."""
    scan, prediction = face(15, 20, seed=1, noise=0.4), face(9, 12, seed=2, noise=1.0)
    scale = 1.0 if preset == "mgcnet" else 0.1
    turn = Rotation.from_rotvec([0.4, 0.2, -1.0]).as_matrix()
    prediction = moved(prediction, scale=scale, rotation=turn, shift=(9, 8, 7))
    config = with_(PRESETS[preset], icp_iterations=8)
    found = score_estimator(scan, prediction, config)
    marks = scan.landmarks["five"], prediction.landmarks["five"]
    # Eyes and mouth of the scan's seven points say where up is, and where the eyes are.
    seven = scan.landmarks["now7"]
    across = seven[[2, 3]].mean(0) - seven[[0, 1]].mean(0)
    across /= np.linalg.norm(across)
    up = seven[:4].mean(0) - seven[[5, 6]].mean(0)
    up -= (up @ across) * across
    forehead = (seven[:4].mean(0), up / np.linalg.norm(up), 30.0)
    value, crop, distances = estimator_twin(
        (scan.vertices, scan.faces),
        (prediction.vertices, prediction.faces),
        marks,
        marks[0][2],
        IcpOptions(with_scale=preset != "mgcnet", iterations=8),
        forehead=forehead if preset == "deep3d" else None,
        radius=95.0,
        plane=True,
        stat="mean" if preset == "ganfit" else "rmse",
    )
    assert found.crop.tolist() == crop
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    assert found.value == pytest.approx(value, abs=1e-7)


def test_a_known_offset_is_the_error():
    truth = egg()
    n = vertex_normals(truth.vertices, truth.faces).astype(float)
    swollen = FaceSurface(truth.vertices + 1.5 * n, truth.faces, truth.landmarks)
    for distance in ("point-to-plane", "point-to-surface"):
        result = score_estimator(truth, swollen, with_(WHOLE, scale="none", distance=distance))
        assert result.value == pytest.approx(1.5, rel=0.01)
    both = score_estimator(truth, swollen, with_(WHOLE, scale="none", direction="symmetric"))
    assert both.value == pytest.approx(1.5, rel=0.02)


def test_pose_does_not_matter():
    truth, prediction = face(seed=1, noise=0.3), face(30, 40, seed=2, noise=0.8)
    turn = Rotation.from_rotvec([1.0, -0.5, 2]).as_matrix()
    config = EstimatorConfig()
    plain = score_estimator(truth, prediction, config)
    other = score_estimator(
        truth, moved(prediction, scale=0.01, rotation=turn, shift=(4, 5, 6)), config
    )
    assert other.value == pytest.approx(plain.value, abs=1e-3)
    assert 0.2 < plain.value < 1.5


def test_crop_is_the_ball_about_the_nose_tip_and_the_forehead_goes():
    scan = face()
    tip = nose_tip(scan)
    np.testing.assert_allclose(tip, scan.landmarks["five"][2])
    ball = crop_face(scan, EstimatorConfig(crop_radius_mm=60.0))
    inside = np.linalg.norm(scan.vertices - tip, axis=1) <= 60
    assert ball.tolist() == np.flatnonzero(inside).tolist()
    cut = crop_face(scan, EstimatorConfig(crop_radius_mm=60.0, forehead_cut=True, forehead_mm=5))
    up, out = face_axes(scan)
    assert up @ [0, 1, 0] > 0.99
    assert out @ [0, 0, 1] > 0.99
    eyes = scan.landmarks["now7"][:4].mean(0)
    expected = inside & ((scan.vertices - eyes) @ up <= 5)
    assert cut.tolist() == np.flatnonzero(expected).tolist()
    with pytest.raises(ItemError, match="no vertex is left"):
        crop_face(scan, EstimatorConfig(crop_radius_mm=1e-6))


def test_the_nose_tip_is_found_from_seven_points():
    scan = face(80, 108)
    seven = dataclasses.replace(scan, landmarks={"now7": scan.landmarks["now7"]})
    assert np.linalg.norm(nose_tip(seven) - scan.landmarks["five"][2]) < 4


def test_only_the_intersection_counts_where_asked():
    truth = face()
    keep = truth.vertices[truth.faces][:, :, 1].max(axis=1) < 40
    part = dataclasses.replace(truth, faces=truth.faces[keep])
    config = with_(WHOLE, init="seven", distance="point-to-surface")
    everything = score_estimator(truth, part, config)
    overlap = score_estimator(truth, part, with_(config, intersection=True))
    assert everything.value > 3
    assert overlap.value < 1e-3
    assert len(overlap.crop) < len(everything.crop)
    assert truth.vertices[overlap.crop, 1].max() < 40


def test_corresponding_vertices_by_hand():
    corners = np.array([[x, y, z] for x in (-50, 50) for y in (-60, 60) for z in (-40, 40.0)])
    faces = np.array([[0, 1, 3], [4, 7, 5], [0, 2, 6]], np.int32)
    truth = FaceSurface(corners, faces)
    # Alternate corners go out and in: no similarity can help, so each is 3 mm off.
    sign = np.array([1, -1, -1, 1, -1, 1, 1, -1.0])[:, None]
    off = 3 * sign * np.array([0, 0, 1.0])
    config = PRESETS["corresponded"]
    result = score_estimator(truth, FaceSurface(corners + off, faces), with_(config, scale="none"))
    assert result.value == pytest.approx(3.0)
    assert result.icp is None
    larger = FaceSurface(1.1 * corners + 7, faces)
    assert score_estimator(truth, larger, config).value < 1e-9
    held = score_estimator(truth, larger, with_(config, scale="none"))
    assert held.value == pytest.approx(0.1 * np.linalg.norm(corners[0]))
    mask = np.array([0, 1, 2, 3, 6])
    assert score_estimator(truth, larger, config, mask=mask).crop.tolist() == [0, 1, 2, 3, 6]
    other = FaceSurface(corners, faces[:2])
    with pytest.raises(ItemError, match="expected the scan's topology"):
        score_estimator(truth, other, with_(config, correspondence="index"))


def test_a_mirrored_or_shuffled_landmark_set_is_said():
    truth, prediction = face(), face(30, 40)
    swapped = {"now7": prediction.landmarks["now7"][[3, 2, 1, 0, 4, 6, 5]]}
    config = EstimatorConfig(icp=False)
    result = score_estimator(truth, dataclasses.replace(prediction, landmarks=swapped), config)
    assert "left and right" in result.warnings[0]
    shuffled = {"now7": prediction.landmarks["now7"][[4, 1, 6, 3, 0, 5, 2]]}
    try:
        text = score_estimator(
            truth, dataclasses.replace(prediction, landmarks=shuffled), config
        ).warnings[0]
    except ItemError as error:
        text = str(error)
    assert "order" in text or "landmarks" in text
    assert score_estimator(truth, prediction, config).warnings == ()


def test_average_shape():
    first = face(20, 26)
    second = dataclasses.replace(first, vertices=first.vertices + [0, 0, 2.0])
    mean = average_shape([first, second], "five")
    np.testing.assert_allclose(mean.vertices, first.vertices + [0, 0, 1.0])
    with pytest.raises(ItemError, match="another topology"):
        average_shape([first, face(21, 26)], "five")
    turn = Rotation.from_rotvec([0, 0.5, 0]).as_matrix()
    with pytest.raises(ItemError, match="turned by 29 degrees"):
        average_shape([first, moved(first, rotation=turn)], "five")


def test_what_cannot_be():
    with pytest.raises(InputError, match="stat: expected one of"):
        EstimatorConfig(stat="max")
    with pytest.raises(InputError, match="crop_radius_mm"):
        EstimatorConfig(crop_radius_mm=-1.0)
    bare = dataclasses.replace(face(), landmarks={})
    with pytest.raises(ItemError, match=r"landmarks .* are needed, found none"):
        score_estimator(face(), bare, EstimatorConfig())
    far = moved(face(), shift=(0, 0, 0))
    wrong = dataclasses.replace(far, vertices=far.vertices + [0, 0, 900.0])
    with pytest.raises(ItemError, match="icp: only"):
        score_estimator(face(), wrong, EstimatorConfig())


def test_presets_are_what_the_page_says():
    assert PRESETS["deep3d"].stat == "rmse" and PRESETS["deep3d"].forehead_cut
    assert PRESETS["genova"].scale == "global" and PRESETS["genova"].intersection
    assert PRESETS["ganfit"].stat == "mean" and PRESETS["ganfit"].scale == "per-mesh"
    assert PRESETS["mgcnet"].scale == "none" and PRESETS["mgcnet"].init == "five"
    assert all(PRESETS[n].crop_radius_mm == 95 for n in ("deep3d", "genova", "ganfit", "mgcnet"))

"""The shipped model is what its pages say it is."""

import hashlib
import json

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.mesh import (
    connected_components,
    face_areas,
    face_normals,
    mesh_edges,
    vertex_normals,
)
from facekit.morphable import builtin
from facekit.morphable.builtin import asset, list_assets, load_builtin

FLIP = np.array([-1, 1, 1])


@pytest.fixture(scope="module")
def model():
    return load_builtin()


def test_the_size_is_within_its_budget(model):
    assert asset("builtin_model").path.stat().st_size <= 7_000_000
    assert 11_000 <= model.num_vertices <= 13_000
    assert model.num_identity == 80 and model.num_expression == 53


def test_the_topology_is_exactly_symmetric(model):
    assert (model.mirror[model.mirror] == np.arange(model.num_vertices)).all()
    np.testing.assert_allclose(model.mean[model.mirror] * FLIP, model.mean, atol=2e-4)
    faces = {tuple(sorted(f)) for f in model.faces.tolist()}
    assert {tuple(sorted(f)) for f in model.mirror[model.faces].tolist()} == faces
    middle = model.mirror == np.arange(model.num_vertices)
    assert middle.sum() > 100
    assert np.abs(model.mean[middle, 0]).max() < 1e-4


def test_every_identity_mode_is_symmetric_or_antisymmetric(model):
    for mode in model.identity_modes:
        image = mode[model.mirror] * FLIP
        gap = min(np.abs(mode - image).max(), np.abs(mode + image).max())
        assert gap < 1e-6


def test_paired_expressions_mirror_each_other(model):
    names = list(model.expression_names)
    for left, name in enumerate(names):
        if name.endswith("_L"):
            right = names.index(name[:-1] + "R")
            image = model.expression_modes[right][model.mirror] * FLIP
            np.testing.assert_allclose(model.expression_modes[left], image, atol=2e-3)


def test_the_surface_is_a_clean_manifold(model):
    edges = mesh_edges(model.faces)
    assert set(np.unique(edges.num_faces)) == {1, 2}
    # The head with its open neck, and two eyeballs open at the back.
    assert connected_components(model.faces, model.num_vertices).max() + 1 == 3
    assert np.unique(model.faces).size == model.num_vertices
    assert face_areas(model.mean, model.faces).min() > 1e-3


def test_faces_look_outwards(model):
    normals = vertex_normals(model.mean, model.faces)
    nose = model.landmark_points("ibug68", model.mean)[30]
    tip = np.linalg.norm(model.mean - nose, axis=1).argmin()
    assert normals[tip, 2] > 0.8
    for side in ("left", "right"):
        ball = model.regions[f"eyeball_{side}"]
        rows = ball[model.faces].all(axis=1)
        centres = model.mean[model.faces[rows]].mean(axis=1) - model.mean[ball].mean(axis=0)
        outward = (face_normals(model.mean, model.faces[rows]) * centres).sum(axis=1)
        assert (outward > 0).mean() > 0.95


def test_the_frame_is_the_stated_one(model):
    tragion = model.landmark_points("tragion", model.mean)
    np.testing.assert_allclose(tragion.mean(axis=0), 0, atol=1e-3)
    assert tragion[0, 0] < -60 and tragion[1, 0] > 60
    marks = model.landmark_points("ibug68", model.mean)
    assert marks[30, 2] > 100
    assert marks[8, 1] < marks[57, 1] < marks[30, 1] < marks[27, 1] < marks[19, 1]
    assert marks[36, 0] < 0 < marks[45, 0]
    # An adult: 80 to 100 mm between the outer eye corners.
    assert 80 < np.linalg.norm(marks[36] - marks[45]) < 100


def test_the_mesh_is_densest_at_eyes_nose_and_mouth(model):
    edges = mesh_edges(model.faces).vertices
    length = np.linalg.norm(model.mean[edges[:, 0]] - model.mean[edges[:, 1]], axis=1)

    def typical(region):
        mask = model.regions[region]
        return np.median(length[mask[edges].all(axis=1)])

    for fine in ("eyes", "nose", "lips"):
        assert typical(fine) < 0.8 * typical("cheeks") < typical("scalp")


def test_the_chart_has_no_seam_on_the_face_and_no_folds(model):
    uv = model.uvs
    assert uv.min() >= 0 and uv.max() <= 1
    a, b, c = (uv[model.face_uvs[:, k]] for k in range(3))
    u, v = b - a, c - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    assert (area > 0).mean() > 0.999
    face = model.regions["face"][model.faces].all(axis=1)
    rows = np.unique(np.stack([model.faces[face].ravel(), model.face_uvs[face].ravel()]), axis=1)
    assert len(np.unique(rows[0])) == rows.shape[1]
    # Mirror partners have mirrored places.
    where = np.full(model.num_vertices, -1)
    where[model.faces[face].ravel()] = model.face_uvs[face].ravel()
    used = np.flatnonzero(where >= 0)
    np.testing.assert_allclose(
        uv[where[model.mirror[used]]], [1, 0] + uv[where[used]] * [-1, 1], atol=1e-4
    )


def test_the_regions_are_where_they_should_be(model):
    for name in (
        *("face", "scan", "nose", "mouth", "lips", "lips_upper", "lips_lower", "eyes", "brows"),
        *("forehead", "cheeks", "chin", "ears", "neck", "scalp", "skin", "mouth_inside"),
        *("eyeball_left", "eyeball_right", "nostrils"),
    ):
        assert model.regions[name].any(), name
    regions, mean = model.regions, model.mean
    assert not (regions["lips_upper"] & regions["lips_lower"]).any()
    assert mean[regions["lips_upper"], 1].mean() > mean[regions["lips_lower"], 1].mean() + 4
    assert mean[regions["eyeball_left"], 0].min() > 0 > mean[regions["eyeball_right"], 0].max()
    assert not (regions["scan"] & (regions["mouth_inside"] | regions["nostrils"])).any()
    assert mean[regions["brows"], 1].min() > mean[regions["eyeball_left"], 1].mean()


def test_blinks_bring_the_lids_together_in_front_of_the_eyeball(model):
    names = list(model.expression_names)
    weights = np.zeros(53)
    weights[[names.index("eyeBlink_L"), names.index("eyeBlink_R")]] = 1
    closed = model.shape(expression=weights)
    for side in ("left", "right"):
        ball = closed[model.regions[f"eyeball_{side}"]]
        centre, radius = _sphere(ball)
        lids = model.regions["eyelids"] & ((closed[:, 0] > 0) == (side == "left"))
        away = closed[lids] - centre
        ahead = away[:, 2] > 0.6 * np.linalg.norm(away, axis=1)
        assert np.linalg.norm(away[ahead], axis=1).min() > radius


def test_eyes_stay_spheres_under_gaze_and_turn_the_right_way(model):
    names = list(model.expression_names)
    ball = model.regions["eyeball_left"]
    pole = np.flatnonzero(ball)[0]
    centre, radius = _sphere(model.mean[ball])
    for name, axis, sign in (
        ("eyeLookUp_L", 1, 1),
        ("eyeLookDown_L", 1, -1),
        ("eyeLookOut_L", 0, 1),
        ("eyeLookIn_L", 0, -1),
    ):
        weights = np.zeros(53)
        weights[names.index(name)] = 1
        moved = model.shape(expression=weights)
        new_centre, new_radius = _sphere(moved[ball])
        assert abs(new_radius - radius) < 0.1
        gaze = (moved[pole] - new_centre) - (model.mean[pole] - centre)
        assert sign * gaze[axis] > 2


def test_the_jaw_opens_the_mouth(model):
    weights = np.zeros(53)
    weights[model.expression_names.index("jawOpen")] = 1
    points = model.landmark_points("ibug68", model.shape(expression=weights))
    rest = model.landmark_points("ibug68", model.mean)
    assert points[62, 1] - points[66, 1] > rest[62, 1] - rest[66, 1] + 15


@pytest.mark.parametrize("name", ["ibug68", "mediapipe478"])
def test_landmark_maps_are_symmetric_with_measured_spread(model, name):
    from facekit.detect.landmark_sets import FLIP68, FLIP478

    partner = {"ibug68": FLIP68, "mediapipe478": FLIP478}[name]
    points = model.landmark_points(name, model.mean)
    np.testing.assert_allclose(points[partner] * FLIP, points, atol=0.01)
    covariance = model.landmarks[name].covariance_mm2
    values = np.linalg.eigvalsh(covariance)
    assert values.min() > 0 and np.sqrt(values.max()) < 12


def test_derived_sets_agree_with_the_68(model):
    points = model.landmark_points("ibug68", model.mean)
    seven = model.landmark_points("now7", model.mean)
    np.testing.assert_array_equal(seven, points[[36, 39, 42, 45, 33, 48, 54]])
    five = model.landmark_points("five", model.mean)
    np.testing.assert_array_equal(five[2:], points[[30, 48, 54]])
    np.testing.assert_allclose(five[0, :2], points[[36, 39], :2].mean(axis=0), atol=3)


def test_jaw_strips_run_from_back_to_front(model):
    jaw = model.landmark_points("ibug68", model.mean)[:17]
    for i in range(17):
        strip = model.landmark_points(f"jaw_strip_{i:02d}", model.mean)
        assert len(strip) == 12
        assert np.linalg.norm(strip - jaw[i], axis=1).min() < 0.5
        toward = np.linalg.norm(strip[:, :2] - [0, points_centre(model)], axis=1)
        assert toward[-1] < toward[3] - 5


def points_centre(model):
    return model.landmark_points("ibug68", model.mean)[33, 1]


def test_shapes_are_plausible_heads(model):
    rng = np.random.default_rng(0)
    width = []
    for _ in range(20):
        head = model.shape(np.clip(rng.standard_normal(80), -2, 2))
        marks = model.landmark_points("ibug68", head)
        width.append(np.linalg.norm(marks[36] - marks[45]))
    assert min(width) > 75 and max(width) < 110


def test_the_licence_notice_travels_with_the_model(model):
    assert "USC Institute for Creative Technologies" in model.licence
    assert "Permission is hereby granted" in model.licence


def _sphere(points):
    points = points.astype(np.float64)
    system = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return solution[:3], np.sqrt(solution[3] + solution[:3] @ solution[:3])


def test_every_shipped_file_has_its_manifest_hash():
    for entry in list_assets():
        assert hashlib.sha256(entry.path.read_bytes()).hexdigest() == entry.sha256
        assert entry.licence and entry.recipe and entry.version


def test_unknown_changed_missing_and_unlisted_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="builtin_model"):
        asset("nothing")
    monkeypatch.setattr(builtin, "_ASSETS", tmp_path)
    with pytest.raises(InputError, match="manifest"):
        list_assets()
    entry = {"name": "a", "file": "a.bin", "version": "1", "licence": "MIT", "recipe": "r"}
    entry["sha256"] = hashlib.sha256(b"right").hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps({"assets": [entry]}))
    with pytest.raises(InputError, match="missing"):
        asset("a")
    (tmp_path / "a.bin").write_bytes(b"wrong")
    with pytest.raises(InputError, match="install facekit again"):
        asset("a")
    (tmp_path / "a.bin").write_bytes(b"right")
    assert asset("a").name == "a"
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        list_assets()

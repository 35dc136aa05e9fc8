"""Give a model the landmark maps of a labeller: 68 points, the dense set and what follows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facekit.basis.jaw_strips import jaw_strips
from facekit.basis.landmarks import (
    Calibration,
    LabelledHead,
    calibrate_landmarks,
    label_heads,
    residuals_mm,
    trimmed_mean,
)
from facekit.basis.symmetry import symmetric_map
from facekit.detect.landmark_sets import FLIP68, FLIP478, dense_to_ibug68
from facekit.detect.registry import Detector
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable.model import MorphableModel
from facekit.render.interpolate import interpolate, unit
from facekit.render.rasterise import rasterise
from facekit.render.shade import ambient_sh, directional_light_sh, sh_shading, to_uint8
from facekit.simulate.sampler import PortraitOptions, PortraitSampler
from facekit.types import Camera, LandmarkMap

NOW7_ROWS = np.array([36, 39, 42, 45, 33, 48, 54])
NUM_JAW = 17
# Rows of the dense set on the irises, which lie on the eyeballs.
_IRIS = np.arange(468, 478)

Renderer = Callable[[int], tuple[np.ndarray, np.ndarray, Camera]]


class CalibratedModel(NamedTuple):
    """A model with calibrated maps, and what was measured on the 68 points and the dense ones."""

    model: MorphableModel
    ibug68: Calibration
    dense: Calibration


def calibrate_model(
    model: MorphableModel,
    label: Callable[[np.ndarray], np.ndarray | None],
    *,
    count: int = 120,
    seed: int = 0,
    rounds: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> CalibratedModel:
    """Calibrate a model's landmark maps to a labeller of dense points.

    The first round renders heads in the model's own colours, which show brows and lips where the
    model has them; later rounds render simulated portraits, whose paint follows the maps of the
    round before.

    Args:
        model: with regions ``face``, ``lips``, ``eyeballs``, ``skin`` and its mirror.
        label: image (H, W, 3) uint8 -> MediaPipe's 478 points in pixels, or None.
        count: pictures a round.
        seed: of heads, poses and looks.
        rounds: 1 or more.
        progress: called with (done, total) pictures.

    Raises:
        InputError: regions are missing, or the labeller found too few faces.
    """
    if model.mirror is None:
        raise InputError(f"model {model.name}: expected left-right partners (mirror)")
    for number in range(rounds):
        renderer = (
            plain_renderer(model, seed=seed)
            if number == 0
            else simulated_renderer(model, seed=seed + number)
        )

        def report(done: int, _total: int, base: int = number * count) -> None:
            if progress:
                progress(base + done, rounds * count)

        heads = label_heads(renderer, label, count, progress=report)
        if len(heads) < max(2, count // 2):
            raise InputError(
                f"calibration: the labeller found a face in {len(heads)} of {count} pictures"
            )
        result = _calibrate(model, heads)
        model = result.model
    return result


def measure_bias(model: MorphableModel, heads: list[LabelledHead]) -> np.ndarray:
    """Return the mean of labels minus mapped points (68, 2), mm in the image plane."""
    labelled = [h._replace(points=dense_to_ibug68(h.points)) for h in heads]
    return trimmed_mean(residuals_mm(model, labelled, model.landmark_map("ibug68")))


def _calibrate(model: MorphableModel, heads: list[LabelledHead]) -> CalibratedModel:
    allowed = outer_faces(model)
    balls = model.regions["eyeballs"][model.faces].all(axis=1)
    sparse = [h._replace(points=dense_to_ibug68(h.points)) for h in heads]
    ibug68 = calibrate_landmarks(model, sparse, partner=FLIP68, allowed=allowed)
    surface = calibrate_landmarks(model, heads, partner=FLIP478, allowed=allowed)
    iris = calibrate_landmarks(
        model,
        [h._replace(points=h.points[_IRIS]) for h in heads],
        partner=FLIP478[_IRIS] - _IRIS[0],
        allowed=balls,
    )
    first = _IRIS[0]
    dense = Calibration(
        LandmarkMap(
            np.concatenate([surface.marks.faces[:first], iris.marks.faces]),
            np.concatenate([surface.marks.barycentric[:first], iris.marks.barycentric]),
            np.concatenate([_spread(surface.marks)[:first], _spread(iris.marks)]),
        ),
        np.concatenate([surface.bias_mm[:first], iris.bias_mm]),
        np.concatenate([surface.scatter_mm[:first], iris.scatter_mm]),
        len(heads),
    )
    marks = ibug68.marks
    now7 = LandmarkMap(
        marks.faces[NOW7_ROWS], marks.barycentric[NOW7_ROWS], _spread(marks)[NOW7_ROWS]
    )
    landmarks = {
        **model.landmarks,
        "ibug68": marks,
        "now7": now7,
        "five": five_points(model, marks),
        "mediapipe478": dense.marks,
    }
    landmarks.update(jaw_maps(model, marks))
    return CalibratedModel(replace(model, landmarks=landmarks), ibug68, dense)


def _spread(marks: LandmarkMap) -> np.ndarray:
    """Return the covariances of a map; without them, those of an exact labeller."""
    if marks.covariance_mm2 is None:
        return np.zeros((len(marks.faces), 2, 2), np.float32)
    return marks.covariance_mm2


def jaw_maps(model: MorphableModel, ibug68: LandmarkMap) -> dict[str, LandmarkMap]:
    """Return ``jaw_strip_00`` to ``jaw_strip_16``: candidates of the moving jaw contour."""
    nose = ibug68.barycentric[33] @ model.mean[model.faces[ibug68.faces[33]]]
    jaw = LandmarkMap(ibug68.faces[:NUM_JAW], ibug68.barycentric[:NUM_JAW])
    strips = jaw_strips(model.mean, model.faces, jaw, centre=nose)
    return {f"jaw_strip_{i:02d}": strip for i, strip in enumerate(strips)}


def outer_faces(model: MorphableModel) -> np.ndarray:
    """Return the (F,) faces that a labeller's points can mean: the face with the ears' front."""
    regions = model.regions
    # The tragions are at z = 0: a labeller's oval starts at the ears' front.
    beside = (regions["scalp"] | regions["ears"]) & (model.mean[:, 2] > -10)
    beside &= model.mean[:, 1] > -30
    outer = (regions["face"] | regions["lips"] | beside) & ~regions["mouth_inside"]
    return outer[model.faces].all(axis=1)


def five_points(model: MorphableModel, ibug68: LandmarkMap) -> LandmarkMap:
    """Return the map of right eye, left eye, nose tip, right and left mouth corner.

    An eye is the point of the eyeball behind the middle of its two corners.
    """
    points = np.einsum("nk,nkd->nd", ibug68.barycentric, model.mean[model.faces[ibug68.faces]])
    faces, weights = [], []
    for region, rows in (("eyeball_right", [36, 39]), ("eyeball_left", [42, 45])):
        rows_of = np.flatnonzero(model.regions[region][model.faces].all(axis=1))
        tree = build_tree(model.mean.astype(np.float64), model.faces[rows_of])
        hit = closest_points(tree, points[rows].mean(axis=0)[None])
        faces.append(rows_of[hit.triangle].astype(np.int32))
        weights.append(hit.barycentric.astype(np.float32))
    eyes = LandmarkMap(np.concatenate(faces), np.concatenate(weights))
    if model.mirror is not None:
        partner = np.array([1, 0])
        eyes = symmetric_map(model.mean, model.faces, model.mirror, eyes, partner)
    rest = [30, 48, 54]
    return LandmarkMap(
        np.concatenate([eyes.faces, ibug68.faces[rest]]),
        np.concatenate([eyes.barycentric, ibug68.barycentric[rest]]),
    )


def plain_renderer(model: MorphableModel, *, seed: int, size: int = 512) -> Renderer:
    """Return index -> (image, vertices, camera): random heads in the model's own colours.

    Yaw within 20 degrees, pitch within 15, roll within 8; identities N(0, 1) clipped to 2; mild
    expressions; one distant light and some ambience; skin tones from dark to light.
    """

    def render(index: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        rng = np.random.default_rng((seed, index))
        vertices = model.shape(*_random_face(model, rng))
        angles = np.radians(rng.uniform([-20, -15, -8], [20, 15, 8]))
        distance = rng.uniform(450, 1500)
        focal = distance * size / 300
        middle = (size - 1) / 2
        intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
        shift = np.array([*rng.uniform(-15, 15, 2), distance + 60])
        rotation = HEAD_TO_CAMERA @ euler_to_matrix(*angles)
        camera = Camera(intrinsics, rotation, shift, size, size)
        fragments = rasterise(project(camera, vertices), model.faces, size, size)
        normals = vertex_normals(vertices, model.faces) @ rotation.T.astype(np.float32)
        towards = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0), -1.0])
        light = ambient_sh(np.full(3, rng.uniform(0.35, 0.6)))
        light = light + directional_light_sh(
            towards / np.linalg.norm(towards), np.full(3, rng.uniform(0.5, 0.9))
        )
        colours = model.albedo_mean * rng.uniform(0.45, 1.15)
        seen = interpolate(fragments, model.faces, np.hstack([colours, normals]))
        shading = np.maximum(sh_shading(unit(seen[..., 3:]), light), 0)
        picture = np.where(
            fragments.covered[..., None], seen[..., :3] * shading, rng.uniform(0.1, 0.7, 3)
        )
        return to_uint8(picture), vertices, camera

    return render


def simulated_renderer(model: MorphableModel, *, seed: int, size: int = 512) -> Renderer:
    """Return index -> (image, vertices, camera): simulated portraits, bare of glasses and hands."""
    options = PortraitOptions(
        size=size,
        face_fraction=(0.35, 0.5),
        yaw_deg=20.0,
        yaw_uniform=True,
        pitch_deg=15.0,
        roll_deg=8.0,
        distance_mm=(450.0, 1500.0),
        glasses=0.0,
        occluders=0.0,
        clean=1.0,
    )
    sampler = PortraitSampler(model, seed=seed, options=options)

    def render(index: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        portrait = sampler.sample(index)
        return portrait.image, portrait.subject.truth_vertices, portrait.camera

    return render


def _random_face(model: MorphableModel, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    identity = np.clip(rng.standard_normal(model.num_identity), -2, 2)
    expression = np.zeros(model.num_expression)
    for row in rng.permutation(model.num_expression)[:4]:
        expression[row] = rng.uniform(0, 0.35)
    if "jawOpen" in model.expression_names and rng.random() < 0.5:
        expression[model.expression_names.index("jawOpen")] = rng.uniform(0, 0.3)
    return identity, expression


def detector_labels(detector: Detector) -> Callable[[np.ndarray], np.ndarray | None]:
    """Return a labeller: the dense points of a picture's largest face, or None.

    Raises (when it is called):
        InputError: the detector gives no dense points.
    """

    def label(image: np.ndarray) -> np.ndarray | None:
        faces = detector.detect(image)
        if not faces:
            return None
        if faces[0].dense478 is None:
            raise InputError(
                "calibration: expected a labeller of 478 points (builtin or mediapipe); this one"
                " has none"
            )
        return faces[0].dense478

    return label

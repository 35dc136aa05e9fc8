"""What ``facekit eval speed`` measures, by key."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from facekit import threads
from facekit.detect.builtin import BuiltinDetector
from facekit.detect.parameters import open_reader
from facekit.detect.session import open_asset
from facekit.errors import ItemError, MissingDependencyError
from facekit.evaluate.heads import model_prediction
from facekit.evaluate.now import NowPrediction, score_scan
from facekit.evaluate.photographs import photograph
from facekit.evaluate.render_speed import render_cases
from facekit.evaluate.speed import SpeedCase, Work
from facekit.evaluate.speed_networks import network_cases
from facekit.evaluate.speed_peers import peer_cases
from facekit.evaluate.speed_students import student_cases
from facekit.evaluate.track_speed import track_cases
from facekit.evaluate.train_speed import train_cases
from facekit.fit.landmark import LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.photo import FaceFitter
from facekit.fit.presets import choose_preset
from facekit.geometry.cameras import intrinsics_from_fov, project
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.mesh import loop_subdivide
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.io.images import resize, write_image
from facekit.morphable.builtin import load_builtin
from facekit.morphable.model import MorphableModel
from facekit.render.rasterise import Workspace, rasterise
from facekit.types import Camera

# As many cropped vertices as one scan of the NoW benchmark has.
SCAN_POINTS = 98_000
_SCAN_RADIUS_MM = 80.0


def default_cases(networks: Sequence[str] = ()) -> list[SpeedCase]:
    """Return every case of the built-in model and networks, in the order of a photo's way.

    Args:
        networks: parameter networks to be timed as well, as ``speed_networks`` takes them.
    """
    return [
        SpeedCase(
            "detect.1t", "boxes and five points in one 512 x 512 photograph", _detect, calls=2
        ),
        SpeedCase(
            "detect.640.1t", "boxes and five points in one 640 x 640 photograph", _detect_640
        ),
        SpeedCase(
            "landmarks.1t",
            "478 points of one face from its box: three passes, then eight crops",
            _landmarks,
            calls=5,
        ),
        SpeedCase(
            "landmarks.pass.1t", "the landmark network alone, one crop", _landmark_pass, calls=20
        ),
        *peer_cases(),
        SpeedCase("lm68.1t", "the landmark fit of one face to 68 points", _landmark_fit, calls=5),
        *(
            SpeedCase(
                f"fit.{preset}",
                "boxes, landmarks and the whole fit of one face in a 512 x 512 photograph, in "
                f"memory, as facekit fit --preset {preset}",
                partial(_fit, preset),
                threads=0,
            )
            for preset in ("fast", "default", "best")
        ),
        SpeedCase(
            "decode.1t",
            "identity and expression coefficients to the vertices of the built-in model",
            _decode,
            calls=20,
        ),
        SpeedCase(
            "fit.photometric",
            "one face of a 512 x 512 photograph, detected before: landmarks, then pixels",
            lambda: _solve("photometric"),
            threads=0,
        ),
        SpeedCase(
            "fit.adam",
            "the same face by the published Adam schedule adam-3dmm, through the builtin renderer",
            lambda: _solve("adam-3dmm"),
            threads=0,
            warm_up=0,
            rounds=3,
            on_request=True,
            peer_of="fit.photometric",
        ),
        SpeedCase(
            "rasterise.224.1t",
            "triangle and barycentrics of each pixel, built-in model, 224 x 224",
            _rasterise,
            calls=50,
        ),
        *render_cases(),
        *network_cases(networks),
        *student_cases(),
        *track_cases(),
        *train_cases(),
        SpeedCase(
            "now.scan",
            f"one NoW scan of {SCAN_POINTS} cropped vertices: crop, refinement, distances",
            _now_scan,
            threads=0,
            warm_up=1,
            rounds=10,
        ),
        SpeedCase(
            "closest.98k",
            f"exact closest points of {SCAN_POINTS} points on the built-in model, tree included",
            _closest,
            threads=0,
            warm_up=1,
            rounds=10,
        ),
        SpeedCase(
            "peer.open3d.closest.98k",
            "the same by Open3D's ray-casting scene, single precision",
            _closest_by_open3d,
            threads=0,
            warm_up=1,
            rounds=10,
            on_request=find_spec("open3d") is None,
            peer_of="closest.98k",
        ),
        SpeedCase("help.import", "facekit --help in a new process", _help, warm_up=1, rounds=10),
        SpeedCase(
            "fit.cold",
            "facekit fit of one photograph in a new process, every kernel compiled",
            _fit_cold,
            threads=0,
            warm_up=0,
            rounds=1,
            on_request=True,
        ),
    ]


def synthetic_scan(
    model: MorphableModel, *, points: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, NowPrediction]:
    """Make a scan and a prediction of known difference from a model.

    Returns:
        ``(vertices, landmarks, prediction)``: exactly ``points`` scan vertices inside NoW's crop
        of a random head with 0.3 mm of noise, its seven landmarks, and the model's mean.
    """
    generator = np.random.default_rng(seed)
    head = model.shape(generator.normal(size=model.num_identity).clip(-2, 2))
    landmarks = model.landmark_points("now7", head)
    centre = landmarks[4] + 0.3 * (landmarks[1:3].mean(axis=0) - landmarks[4])
    # Every crop of a face is larger than this ball about its centre.
    near = np.linalg.norm(head[model.faces].mean(axis=1) - centre, axis=1) < _SCAN_RADIUS_MM
    fine = loop_subdivide(head, model.faces[near], steps=3).apply(head).astype(np.float64)
    candidates = fine[np.linalg.norm(fine - centre, axis=1) < _SCAN_RADIUS_MM]
    rows = np.linspace(0, len(candidates), points, endpoint=False).astype(int)
    scan = candidates[rows]
    scan = scan + generator.normal(scale=0.3, size=scan.shape)
    return scan, landmarks, model_prediction(model, model.mean)


def _detect() -> Work:
    detector, image = BuiltinDetector(), photograph()
    return lambda: detector.boxes(image)


def _detect_640() -> Work:
    detector, image = BuiltinDetector(), photograph(640)
    return lambda: detector.boxes(image)


def _landmark_pass() -> Work:
    network = open_asset("landmarks")
    size = int(network.metadata.get("facekit.size", "128"))
    crop = resize(photograph(), size / 512)[None]
    return lambda: network(image=crop)


def _landmarks() -> Work:
    detector, image = BuiltinDetector(), photograph()
    face = detector.detect(image)[0]
    return lambda: detector.complete(image, face)


def _landmark_fit() -> Work:
    model = load_builtin()
    basis = build_landmark_basis(model)
    config = LandmarkFitConfig()
    camera = _portrait_camera(model, 512)
    points = project(camera, model.landmark_points("ibug68", model.shape()))[:, :2]
    noise = np.random.default_rng(0).normal(scale=1.5, size=points.shape)

    def work() -> None:
        fit_landmarks(basis, model, points + noise, intrinsics=camera.intrinsics, config=config)

    return work


def _fit(preset: str) -> Work:
    detector, image, model = BuiltinDetector(), photograph(), load_builtin()
    chosen = choose_preset(preset)
    fitter = FaceFitter(
        model,
        LandmarkFitConfig(),
        photometric=chosen.photometric,
        network=open_reader("auto" if chosen.network else "none", model),
    )

    def work() -> None:
        fitter.fit(image, detector.detect(image)[0])

    if not detector.detect(image):
        raise ItemError("speed: the detector finds no face in the sample photograph")
    return work


def _solve(name: str) -> Work:
    from facekit.fit.first_order.fitter import open_first_order

    model, image = load_builtin(), photograph()
    found = BuiltinDetector().detect(image)
    if not found or found[0].ibug68 is None:
        raise ItemError("speed: the detector finds no face in the sample photograph")
    face, points = found[0], found[0].ibug68
    config, camera = LandmarkFitConfig(), intrinsics_from_fov(512, 512, 32.0)
    fitter = FaceFitter(model, config)
    if name != "photometric":
        adam = open_first_order(model, fitter.basis, name, "builtin", config)
        return lambda: adam.fit(image, face, camera)

    def work() -> None:
        start = fit_landmarks(fitter.basis, model, points, intrinsics=camera, config=config)
        fitter.pixels.fit(image, face, start, camera)

    return work


def _rasterise() -> Work:
    model = load_builtin()
    points = project(_portrait_camera(model, 224), model.mean)
    workspace = Workspace()
    return lambda: rasterise(points, model.faces, 224, 224, workspace=workspace)


def _now_scan() -> Work:
    scan, landmarks, prediction = synthetic_scan(load_builtin(), points=SCAN_POINTS)
    return lambda: score_scan(scan, landmarks, prediction)


def _decode() -> Work:
    model = load_builtin()
    generator = np.random.default_rng(0)
    identity = generator.standard_normal(model.num_identity)
    expression = generator.uniform(0, 0.5, model.num_expression)
    return lambda: model.shape(identity, expression)


def _closest() -> Work:
    scan, _, prediction = synthetic_scan(load_builtin(), points=SCAN_POINTS)
    return lambda: closest_points(build_tree(prediction.vertices, prediction.faces), scan)


def _closest_by_open3d() -> Work:
    try:
        core = import_module("open3d").core
        scene_of = import_module("open3d").t.geometry.RaycastingScene
    except Exception as error:  # a system library that it needs may be missing, too
        raise MissingDependencyError(
            f"speed: Open3D cannot be imported here ({error}): pip install 'facekit[scan]'"
        ) from error
    scan, _, prediction = synthetic_scan(load_builtin(), points=SCAN_POINTS)
    points = core.Tensor(scan.astype(np.float32))
    vertices = core.Tensor(prediction.vertices.astype(np.float32))
    faces = core.Tensor(prediction.faces.astype(np.uint32))

    def work() -> None:
        scene = scene_of(threads.num_threads())
        scene.add_triangles(vertices, faces)
        scene.compute_closest_points(points, threads.num_threads())

    return work


def _help() -> Work:
    return lambda: _run([sys.executable, "-m", "facekit", "--help"], {})


def _fit_cold() -> Work:
    def work() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_image(folder / "photo.png", photograph())
            arguments = ["fit", str(folder / "photo.png"), "-o", str(folder / "out")]
            _run(
                [sys.executable, "-m", "facekit", *arguments],
                {"NUMBA_CACHE_DIR": str(folder / "cache")},
            )

    return work


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ItemError(f"speed: {' '.join(command[1:4])} ended with {done.returncode}: {last[0]}")


def _dense_points(detector: BuiltinDetector, image: np.ndarray) -> np.ndarray:
    faces = detector.detect(image)
    if not faces or faces[0].dense478 is None:
        raise ItemError("speed: the detector finds no face in the sample photograph")
    return faces[0].dense478


def _portrait_camera(model: MorphableModel, size: int) -> Camera:
    """A frontal camera that sees the whole head with a margin of a tenth."""
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    fov_deg = 25.0
    distance = 1.1 * float((high - low)[:2].max()) / 2 / np.tan(np.radians(fov_deg) / 2)
    middle = (low + high) / 2
    translation = np.array([0, 0, distance + (high - low)[2] / 2]) - HEAD_TO_CAMERA @ middle
    intrinsics = intrinsics_from_fov(size, size, fov_deg)
    return Camera(intrinsics, HEAD_TO_CAMERA, translation, size, size)

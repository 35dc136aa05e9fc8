"""Features, matches and mapping by COLMAP: the one module that imports pycolmap.

Cameras are given to COLMAP with their measured lens (model OPENCV, pixel centres shifted by half
a pixel) and never refined by it: on a face, refining focal lengths costs a factor of ten in the
cameras' places, and the reprojection error does not show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import ItemError, MissingDependencyError
from facekit.geometry.alignment import SimilarityTransform, align_similarity
from facekit.geometry.cameras import pixel_convention
from facekit.io.atomic import write_text
from facekit.io.colmap import read_colmap
from facekit.threads import num_threads
from facekit.types import Camera, Rig


class SparseModel(NamedTuple):
    """Cameras and points of a mapping.

    Attributes:
        rig: the images that have a place, by image file name.
        points: (P, 3) float64 in the rig's unit.
        colours: (P, 3) uint8.
        seen: (P, N) bool, which of the rig's images see a point.
        reprojection_px: by image file name, root mean square over its points.
        path: folder of the COLMAP model (binary).
    """

    rig: Rig
    points: np.ndarray
    colours: np.ndarray
    seen: np.ndarray
    reprojection_px: dict[str, float]
    path: Path


def require_pycolmap() -> Any:
    """Return the pycolmap module with its log silenced.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise MissingDependencyError(
            f"the sparse stage needs pycolmap ({error}): pip install 'facekit[scan]'; with "
            "--cameras, --trust-cameras leaves that stage out"
        ) from error
    pycolmap.logging.minloglevel = 3
    return pycolmap


def find_matches(
    database: Path,
    folder: Path,
    names: Sequence[str],
    *,
    cameras: Mapping[str, Camera] | None,
    focals: Mapping[str, float] | None = None,
    masks: Path | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Find SIFT features in every image and match them, into a COLMAP database.

    Args:
        database: file to make; an older one is replaced.
        folder: holds the images.
        names: their file names.
        cameras: measured cameras by file name (poses are not used), or None when unknown.
        focals: focal lengths in pixels from EXIF, by file name, used without ``cameras``.
        masks: folder with ``<file name>.png`` for each image, or None.
        pairs: file names of the images to match, or None for all pairs.
    """
    pycolmap = require_pycolmap()
    database.unlink(missing_ok=True)
    reader = pycolmap.ImageReaderOptions()
    if masks is not None:
        reader.mask_path = str(masks)
    reader.camera_model = "OPENCV" if cameras is not None else "SIMPLE_RADIAL"
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.use_gpu = False
    extraction.num_threads = num_threads()
    # Skin has weak texture: below COLMAP's threshold there are more features.
    extraction.sift.peak_threshold = 0.004
    extraction.sift.max_num_features = 4096
    shared = cameras is None and len(set((focals or {}).values())) <= 1
    pycolmap.extract_features(
        str(database),
        str(folder),
        image_names=list(names),
        camera_mode=pycolmap.CameraMode.SINGLE if shared else pycolmap.CameraMode.PER_IMAGE,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    _set_cameras(pycolmap, database, cameras, focals or {})
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = num_threads()
    common = {"matching_options": matching, "device": pycolmap.Device.cpu}
    if pairs is None:
        pycolmap.match_exhaustive(str(database), **common)
        return
    listed = database.with_suffix(".pairs.txt")
    write_text(listed, "".join(f"{first} {second}\n" for first, second in pairs))
    chosen = pycolmap.ImportedPairingOptions()
    chosen.match_list_path = str(listed)
    pycolmap.match_image_pairs(str(database), pairing_options=chosen, **common)


def read_matches(
    database: Path,
) -> tuple[dict[str, np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """Return what ``find_matches`` put into a database.

    Returns:
        ``(pixels, matches)``: (N, 2) float64 features of each image by file name, pixel (0, 0)
        the centre of the top-left one; and (M, 2) rows of the features of two images.
    """
    pycolmap = require_pycolmap()
    pixels, matches = {}, {}
    with pycolmap.Database.open(str(database)) as store:
        images = sorted(store.read_all_images(), key=lambda image: image.name)
        for image in images:
            found = np.asarray(store.read_keypoints(image.image_id), np.float64)[:, :2]
            pixels[image.name] = pixel_convention(found, "colmap", "facekit")
        for one, other in combinations(images, 2):
            if store.exists_matches(one.image_id, other.image_id):
                rows = store.read_matches(one.image_id, other.image_id)
                matches[one.name, other.name] = np.asarray(rows, np.int64)
    return pixels, matches


def _set_cameras(
    pycolmap: Any,
    database: Path,
    cameras: Mapping[str, Camera] | None,
    focals: Mapping[str, float],
) -> None:
    with pycolmap.Database.open(str(database)) as store:
        for image in store.read_all_images():
            entry = store.read_camera(image.camera_id)
            if cameras is not None:
                entry.model = pycolmap.CameraModelId.OPENCV
                entry.params = colmap_parameters(cameras[image.name])
                entry.has_prior_focal_length = True
            elif focals.get(image.name):
                entry.focal_length = focals[image.name]
                entry.has_prior_focal_length = True
            store.update_camera(entry)


def colmap_parameters(camera: Camera) -> list[float]:
    """Return fx, fy, cx, cy, k1, k2, p1, p2 of COLMAP's model OPENCV; its k3 must be 0 or tiny."""
    K, d = camera.intrinsics, camera.distortion
    cx, cy = pixel_convention(K[:2, 2], "facekit", "colmap")
    return [float(v) for v in (K[0, 0], K[1, 1], cx, cy, d[0], d[1], d[2], d[3])]


def triangulate(
    database: Path, folder: Path, output: Path, cameras: Mapping[str, Camera], *, refine: bool
) -> SparseModel:
    """Triangulate the matches with cameras whose poses are known.

    Args:
        database: of ``find_matches``; folder: of the images; output: folder for the model.
        cameras: by file name.
        refine: then refine poses (not lenses) and points together; the result is moved back
            onto the given cameras' places as a whole.

    Raises:
        ItemError: no point could be triangulated.
    """
    pycolmap = require_pycolmap()
    start = pycolmap.Reconstruction()
    with pycolmap.Database.open(str(database)) as store:
        for entry in store.read_all_cameras():
            start.add_camera_with_trivial_rig(entry)
        for image in store.read_all_images():
            camera = cameras[image.name]
            fresh = pycolmap.Image(
                name=image.name, camera_id=image.camera_id, image_id=image.image_id
            )
            pose = np.column_stack([camera.rotation, camera.translation])
            start.add_image_with_trivial_frame(fresh, pycolmap.Rigid3d(pose))
    output.mkdir(parents=True, exist_ok=True)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = num_threads()
    options.extract_colors = True
    options.random_seed = 0
    model = pycolmap.triangulate_points(
        start,
        str(database),
        str(folder),
        str(output),
        clear_points=True,
        options=options,
        refine_intrinsics=False,
    )
    if model.num_points3D() == 0:
        raise ItemError(
            "no point could be triangulated: the given cameras do not fit the photographs, or "
            "these show nothing that can be matched"
        )
    if refine:
        before = {i.name: i.projection_center() for i in model.images.values() if i.has_pose}
        _adjust(pycolmap, model)
        names = sorted(before)
        after = {i.name: i.projection_center() for i in model.images.values() if i.has_pose}
        move = align_similarity(
            np.array([after[n] for n in names]), np.array([before[n] for n in names])
        )
        transform_model(pycolmap, model, move)
    return _save(model, output)


def map_images(
    database: Path, folder: Path, output: Path, *, fixed: bool, method: str = "global"
) -> tuple[SparseModel, list[SparseModel]]:
    """Find the poses of images, and points, from matches alone; the scale is arbitrary.

    Args:
        database: of ``find_matches``; folder: of the images; output: folder for the models.
        fixed: lenses stay as they are; otherwise focal length and distortion are estimated too.
        method: ``global`` or ``incremental``.

    Returns:
        The model with most images, and the others.

    Raises:
        ItemError: no model came out.
    """
    pycolmap = require_pycolmap()
    output.mkdir(parents=True, exist_ok=True)
    if method == "global":
        models = _map_global(pycolmap, database, folder, output, fixed)
    else:
        models = _map_incremental(pycolmap, database, folder, output, fixed)
    if not models:
        raise ItemError(
            "the photographs could not be connected: expected views that overlap, of a subject "
            "with texture that does not move"
        )
    models = sorted(models, key=lambda model: -model.num_reg_images())
    if fixed:
        _adjust(pycolmap, models[0])
    results = [_save(model, output / f"best{k}") for k, model in enumerate(models)]
    return results[0], results[1:]


def _map_global(
    pycolmap: Any, database: Path, folder: Path, output: Path, fixed: bool
) -> list[Any]:
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = num_threads()
    options.random_seed = 0
    options.image_path = str(folder)
    mapper = options.mapper
    adjustment = mapper.bundle_adjustment
    adjustment.refine_focal_length = not fixed
    adjustment.refine_extra_params = not fixed
    adjustment.refine_principal_point = False
    adjustment.ceres.use_gpu = False
    mapper.bundle_adjustment = adjustment
    positioning = mapper.global_positioning
    positioning.use_gpu = False
    mapper.global_positioning = positioning
    options.mapper = mapper
    found = pycolmap.global_mapping(str(database), str(folder), str(output), options)
    return list(found.values())


def _map_incremental(
    pycolmap: Any, database: Path, folder: Path, output: Path, fixed: bool
) -> list[Any]:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = num_threads()
    options.random_seed = 0
    options.min_model_size = 3
    options.ba_refine_focal_length = not fixed
    options.ba_refine_extra_params = not fixed
    options.ba_refine_principal_point = False
    if fixed:
        mapper = options.mapper
        mapper.abs_pose_refine_focal_length = False
        mapper.abs_pose_refine_extra_params = False
        options.mapper = mapper
    found = pycolmap.incremental_mapping(str(database), str(folder), str(output), options)
    return list(found.values())


def _adjust(pycolmap: Any, model: Any) -> None:
    """Refine poses and points with the lenses fixed."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = False
    options.refine_extra_params = False
    options.refine_principal_point = False
    options.print_summary = False
    ceres = options.ceres
    ceres.use_gpu = False
    ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    ceres.loss_function_scale = 0.3
    options.ceres = ceres
    pycolmap.bundle_adjustment(model, options)


def transform_model(pycolmap: Any, model: Any, move: SimilarityTransform) -> None:
    """Move a model's cameras and points by a similarity."""
    model.transform(
        pycolmap.Sim3d(move.scale, pycolmap.Rotation3d(move.rotation), move.translation)
    )


def write_model(path: Path, output: Path, move: SimilarityTransform) -> Path:
    """Write a saved model as COLMAP text after a similarity; return the folder."""
    pycolmap = require_pycolmap()
    model = pycolmap.Reconstruction(str(path))
    transform_model(pycolmap, model, move)
    output.mkdir(parents=True, exist_ok=True)
    model.write_text(str(output))
    return output


def load_model(path: Path) -> SparseModel:
    """Read a model that ``triangulate`` or ``map_images`` saved."""
    return _describe(require_pycolmap().Reconstruction(str(path)), path)


def _save(model: Any, path: Path) -> SparseModel:
    path.mkdir(parents=True, exist_ok=True)
    model.write_binary(str(path))
    return _describe(model, path)


def _describe(model: Any, path: Path) -> SparseModel:
    text = path / "text"
    text.mkdir(parents=True, exist_ok=True)
    model.write_text(str(text))
    by_key = read_colmap(text)
    images = sorted((i for i in model.images.values() if i.has_pose), key=lambda i: i.name)
    keys = dict(zip([i.name for i in images], images, strict=True))
    cameras = {name: by_key.cameras[str(Path(name).with_suffix("").as_posix())] for name in keys}
    column = {image.image_id: k for k, image in enumerate(images)}
    identifiers = sorted(model.points3D)
    points = np.array([model.points3D[p].xyz for p in identifiers]).reshape(-1, 3)
    colours = np.array([model.points3D[p].color for p in identifiers], np.uint8).reshape(-1, 3)
    seen = np.zeros((len(identifiers), len(images)), bool)
    squares: list[list[float]] = [[] for _ in images]
    for row, identifier in enumerate(identifiers):
        for element in model.points3D[identifier].track.elements:
            k = column[element.image_id]
            seen[row, k] = True
            image = images[k]
            place = image.project_point(points[row])
            if place is not None:
                gap = np.asarray(place) - image.points2D[element.point2D_idx].xy
                squares[k].append(float(gap @ gap))
    rms = {
        image.name: float(np.sqrt(np.mean(values))) if values else float("nan")
        for image, values in zip(images, squares, strict=True)
    }
    return SparseModel(Rig(cameras, "arbitrary"), points, colours, seen, rms, path)

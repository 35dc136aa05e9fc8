"""The configurable estimator of face shape: MICC Florence, FaceWarehouse and their like.

These benchmarks have no public code, and papers that name the same data set crop, scale, align and
average in their own ways (one network scores 1.50 and 1.77 mm), so their numbers compare only
under one configuration. The presets restate what the papers and their authors say; what they
leave open (the width of a forehead cut, the way of an ICP) is facekit's choice, and every report
carries the whole configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from facekit.errors import InputError, ItemError
from facekit.evaluate.faces3d import FaceSurface, check_order, landmark_warnings
from facekit.evaluate.icp import IcpOptions, IcpResult, align_surface
from facekit.geometry.alignment import SimilarityTransform, align_similarity
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.surface import Surface
from facekit.metrics.distances import root_mean_square

_CHOICES = {
    "init": ("four", "five", "seven"),
    "scale": ("per-mesh", "global", "none"),
    "direction": ("scan-to-prediction", "symmetric"),
    "distance": ("point-to-plane", "point-to-surface"),
    "stat": ("rmse", "mean"),
    "per_video": ("each", "average-shape", "average-error"),
    "shape": ("neutral", "face"),
    "correspondence": ("closest", "index", "auto"),
}
# Faces of one frame are turned against each other only by noise.
_MAX_TURN_DEG = 10.0
_MOVING_MM = 0.01
_SETS = {"four": "four", "five": "five", "seven": "now7"}


@dataclass(frozen=True)
class EstimatorConfig:
    """What decides a number; field names are the option names of ``--set``.

    Attributes:
        init: landmarks that start the alignment: ``four`` (inner eye corners, nose bottom, middle
            of the lips), ``five`` (eyes, nose tip, mouth corners), ``seven`` (NoW's).
        crop_radius_mm: scan vertices farther than this from the nose tip are left out; 0 keeps
            all.
        forehead_cut: also leave out what lies more than ``forehead_mm`` above the eyes.
        forehead_mm: see there, along the face's own up direction.
        scale: ``per-mesh`` fits one for each prediction, ``global`` fits one for all (the median
            of what each mesh would take), ``none`` holds the prediction's own.
        icp: refine the landmarks' alignment by point-to-plane ICP.
        icp_iterations, icp_max_distance_mm, icp_max_angle_deg, icp_trim, icp_tolerance_mm: see
            ``facekit.evaluate.icp.IcpOptions``.
        direction: ``scan-to-prediction`` (each cropped scan vertex) or ``symmetric`` (and each
            prediction vertex whose closest scan point is in the crop).
        distance: ``point-to-plane`` (along the prediction's normal, interpolated at the closest
            point) or ``point-to-surface``.
        intersection: leave out points whose closest point lies on the other surface's border.
        stat: of a mesh's distances: ``rmse`` or ``mean``.
        per_video: predictions of one video count ``each``, or as one: the error of their
            ``average-shape`` (meshes of one topology and frame), or their
            ``average-error``.
        shape: which mesh of a fit is taken, ``neutral`` or ``face`` (with its expression).
        correspondence: ``closest`` points after the ICP; ``index``: vertices of one number
            correspond, and the least-squares similarity over the scored ones replaces landmarks
            and ICP; ``auto``: ``index`` where the topologies agree.
    """

    init: str = "seven"
    crop_radius_mm: float = 95.0
    forehead_cut: bool = False
    forehead_mm: float = 30.0
    scale: str = "per-mesh"
    icp: bool = True
    icp_iterations: int = 100
    icp_max_distance_mm: float = 10.0
    icp_max_angle_deg: float = 60.0
    icp_trim: float = 0.05
    icp_tolerance_mm: float = 1e-5
    direction: str = "scan-to-prediction"
    distance: str = "point-to-plane"
    intersection: bool = False
    stat: str = "rmse"
    per_video: str = "each"
    shape: str = "neutral"
    correspondence: str = "closest"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if self.crop_radius_mm < 0:
            raise InputError(f"crop_radius_mm: expected 0 or more, got {self.crop_radius_mm}")

    @property
    def landmarks(self) -> str:
        """The landmark set that ``init`` names."""
        return _SETS[self.init]

    def icp_options(self, *, with_scale: bool) -> IcpOptions:
        """Return the options of the alignment."""
        return IcpOptions(
            with_scale=with_scale,
            iterations=self.icp_iterations if self.icp else 0,
            max_distance_mm=self.icp_max_distance_mm,
            max_angle_deg=self.icp_max_angle_deg,
            trim=self.icp_trim,
            tolerance_mm=self.icp_tolerance_mm,
        )


PRESETS: dict[str, EstimatorConfig] = {
    "deep3d": EstimatorConfig(init="five", forehead_cut=True, stat="rmse"),
    "genova": EstimatorConfig(
        init="five", scale="global", intersection=True, stat="mean", per_video="average-shape"
    ),
    "ganfit": EstimatorConfig(init="five", stat="mean", per_video="average-shape"),
    "mgcnet": EstimatorConfig(init="five", scale="none", stat="rmse"),
    "corresponded": EstimatorConfig(
        init="five",
        crop_radius_mm=0.0,
        distance="point-to-surface",
        stat="mean",
        shape="face",
        correspondence="auto",
    ),
}


class EstimatorScore(NamedTuple):
    """One prediction against one scan.

    Attributes:
        value: the statistic, mm.
        crop: (n,) scan vertices that were scored.
        distances: (n,) mm, of those vertices.
        transform: from the prediction's frame to the scan's.
        icp: how the alignment went; None for corresponding vertices.
        warnings: what is doubtful.
    """

    value: float
    crop: np.ndarray
    distances: np.ndarray
    transform: SimilarityTransform
    icp: IcpResult | None
    warnings: tuple[str, ...]


def nose_tip(scan: FaceSurface) -> np.ndarray:
    """Return the scan's nose tip (3,): a landmark where one is known, else found.

    Of ``now7`` alone: the vertex within 40 mm of the nose bottom that stands out farthest from
    the face, along the normal of the eyes-to-mouth plane.

    Raises:
        ItemError: no landmark set that tells where it is, or no vertex near the nose.
    """
    if "ibug68" in scan.landmarks or "five" in scan.landmarks:
        return scan.marks("five")[2]
    bottom = scan.marks("now7")[4] if "now7" in scan.landmarks else scan.marks("four")[2]
    _, out = face_axes(scan)
    near = scan.vertices[np.linalg.norm(scan.vertices - bottom, axis=1) <= 40.0]
    if not len(near):
        raise ItemError(f"{scan.source}: no vertex within 40 mm of its nose landmark")
    return near[np.argmax(near @ out)]


def face_axes(scan: FaceSurface) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors up and out of the face (3,), from its eye and mouth landmarks."""
    if "now7" in scan.landmarks or "ibug68" in scan.landmarks:
        marks = scan.marks("now7")
        right, left = marks[[0, 1]].mean(axis=0), marks[[2, 3]].mean(axis=0)
        mouth = marks[[5, 6]].mean(axis=0)
    elif "five" in scan.landmarks:
        marks = scan.marks("five")
        right, left, mouth = marks[0], marks[1], marks[[3, 4]].mean(axis=0)
    else:
        marks = scan.marks("four")
        right, left, mouth = marks[0], marks[1], marks[3]
    across = (left - right) / np.linalg.norm(left - right)
    up = (right + left) / 2 - mouth
    up = up - (up @ across) * across
    up = up / np.linalg.norm(up)
    return up, np.cross(across, up)


def crop_face(scan: FaceSurface, config: EstimatorConfig) -> np.ndarray:
    """Return the indices (n,) of the scan's vertices that are scored.

    Raises:
        ItemError: none is left, or the landmarks for the crop are missing.
    """
    used = np.zeros(len(scan.vertices), dtype=bool)
    used[scan.faces.ravel()] = True
    if config.crop_radius_mm:
        centre = nose_tip(scan)
        used &= np.linalg.norm(scan.vertices - centre, axis=1) <= config.crop_radius_mm
    if config.forehead_cut:
        up, _ = face_axes(scan)
        eyes = _eye_middle(scan)
        used &= (scan.vertices - eyes) @ up <= config.forehead_mm
    found = np.flatnonzero(used)
    if not len(found):
        raise ItemError(
            f"{scan.source}: no vertex is left after the crop; are its landmarks and unit right?"
        )
    return found


def score_estimator(
    scan: FaceSurface,
    prediction: FaceSurface,
    config: EstimatorConfig,
    *,
    fixed_scale: float | None = None,
    mask: np.ndarray | None = None,
) -> EstimatorScore:
    """Score one prediction.

    Args:
        scan: with landmarks for the crop and ``config.init``.
        prediction: with landmarks of ``config.init``.
        config: the estimator.
        fixed_scale: the one scale of ``scale="global"``; None fits it to this mesh.
        mask: (m,) indices of the scan's vertices to which the crop is limited, or None.

    Raises:
        ItemError: missing landmarks, vertices that should correspond but do not, or the
            alignment failed.
    """
    crop = crop_face(scan, config)
    if mask is not None:
        crop = np.intersect1d(crop, mask)
        if not len(crop):
            raise ItemError(f"{scan.source}: the crop leaves no vertex of the mask")
    agree = np.array_equal(scan.faces, prediction.faces)
    agree = agree and len(scan.vertices) == len(prediction.vertices)
    if config.correspondence == "index" and not agree:
        raise ItemError(
            f"{prediction.source}: expected the scan's topology ({len(scan.vertices)} vertices), "
            f"got {len(prediction.vertices)}; correspondence=closest scores other topologies"
        )
    if config.correspondence == "index" or (config.correspondence == "auto" and agree):
        return _corresponded(scan, prediction, crop, config, fixed_scale)
    name = config.landmarks
    try:
        source, target = prediction.marks(name), scan.marks(name)
    except ItemError as error:
        raise ItemError(f"{error}; or start from others, e.g. --set init=seven") from error
    check_order(source, target, name)
    warnings = landmark_warnings(source, target, name)
    free = config.scale != "none" and fixed_scale is None
    size = 1.0 if free or fixed_scale is None else fixed_scale
    start = align_similarity(size * source, target, with_scale=free)
    start = SimilarityTransform(size * start.scale, start.rotation, start.translation)
    surface = Surface(prediction.vertices, prediction.faces)
    normals = vertex_normals(scan.vertices, scan.faces).astype(np.float64)
    points = scan.vertices[crop]
    icp = align_surface(
        points, normals[crop], surface, start, options=config.icp_options(with_scale=free)
    )
    distances, kept = _distances(points, surface, icp.transform, config)
    crop, parts = crop[kept], [distances]
    if config.direction == "symmetric":
        parts.append(_backward(scan, crop, prediction, icp.transform, config))
    pooled = np.concatenate(parts)
    if not len(pooled):
        raise ItemError("no point of the scan lies over the prediction")
    value = root_mean_square(pooled) if config.stat == "rmse" else float(pooled.mean())
    # Pairs that come and go at the limits keep an alignment trembling; that changes no result.
    if config.icp and not icp.converged and icp.change > _MOVING_MM:
        warnings += (
            f"the alignment was still moving by {icp.change:.2g} mm after {icp.iterations} steps",
        )
    return EstimatorScore(value, crop, distances, icp.transform, icp, warnings)


def _corresponded(
    scan: FaceSurface,
    prediction: FaceSurface,
    crop: np.ndarray,
    config: EstimatorConfig,
    fixed_scale: float | None,
) -> EstimatorScore:
    free = config.scale != "none" and fixed_scale is None
    size = 1.0 if free or fixed_scale is None else fixed_scale
    source, target = prediction.vertices[crop], scan.vertices[crop]
    fit = align_similarity(size * source, target, with_scale=free)
    fit = SimilarityTransform(size * fit.scale, fit.rotation, fit.translation)
    distances = np.linalg.norm(fit.apply(source) - target, axis=1)
    value = root_mean_square(distances) if config.stat == "rmse" else float(distances.mean())
    return EstimatorScore(value, crop, distances, fit, None, ())


def average_shape(predictions: list[FaceSurface], landmarks: str) -> FaceSurface:
    """Return the mean of predictions of one topology that share a frame.

    For neutral shapes of one linear model this is the shape of the mean code.

    Args:
        predictions: at least one.
        landmarks: the set that tells whether they are turned against each other.

    Raises:
        ItemError: the topologies differ, or the faces are turned by more than 10 degrees.
    """
    first = predictions[0]
    warnings: tuple[str, ...] = ()
    for face in predictions:
        if not np.array_equal(face.faces, first.faces) or set(face.landmarks) != set(
            first.landmarks
        ):
            raise ItemError(
                f"{face.source}: another topology or other landmarks than {first.source}, so they "
                "have no average shape; use per_video=average-error"
            )
        fit = align_similarity(face.marks(landmarks), first.marks(landmarks))
        turn = np.degrees(np.arccos(np.clip((np.trace(fit.rotation) - 1) / 2, -1, 1)))
        if turn > _MAX_TURN_DEG:
            raise ItemError(
                f"{face.source}: turned by {turn:.0f} degrees against {first.source}; an average "
                "shape needs meshes without pose; use per_video=average-error"
            )
        warnings += face.warnings
    return replace(
        first,
        vertices=np.mean([face.vertices for face in predictions], axis=0),
        landmarks={
            name: np.mean([face.landmarks[name] for face in predictions], axis=0)
            for name in first.landmarks
        },
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _eye_middle(scan: FaceSurface) -> np.ndarray:
    if "now7" in scan.landmarks or "ibug68" in scan.landmarks:
        return scan.marks("now7")[:4].mean(axis=0)
    name = "five" if "five" in scan.landmarks else "four"
    return scan.marks(name)[:2].mean(axis=0)


def _distances(
    points: np.ndarray, surface: Surface, transform: SimilarityTransform, config: EstimatorConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (n,) of the points kept, and which they are (N,) bool."""
    pairs = surface.pairs(points, transform)
    distance = pairs.distance
    if config.distance == "point-to-plane":
        along = np.abs((pairs.normal * (points - pairs.closest)).sum(axis=1))
        flat = ~pairs.normal.any(axis=1)
        distance = np.where(flat, distance, along)
    kept = ~pairs.border if config.intersection else np.ones(len(points), dtype=bool)
    return distance[kept], kept


def _backward(
    scan: FaceSurface,
    crop: np.ndarray,
    prediction: FaceSurface,
    transform: SimilarityTransform,
    config: EstimatorConfig,
) -> np.ndarray:
    """Return the distances of prediction vertices to the scan, where they end in the crop."""
    surface = Surface(scan.vertices, scan.faces)
    moved = transform.apply(prediction.vertices[np.unique(prediction.faces)])
    identity = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    inside = np.zeros(len(scan.vertices), dtype=bool)
    inside[crop] = True
    triangle = surface.pairs(moved, identity).triangle
    moved = moved[inside[scan.faces[triangle]].all(axis=1)]
    return _distances(moved, surface, identity, config)[0] if len(moved) else np.zeros(0)

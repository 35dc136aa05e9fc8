"""The files of a finished scan, all in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.capture import sparse
from facekit.capture.face_region import head_transform
from facekit.capture.fusion import PointCloud
from facekit.capture.photographs import Photograph
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.io.atomic import write_json
from facekit.io.colmap import write_colmap
from facekit.io.ply import write_ply
from facekit.io.rig import write_rig
from facekit.types import Camera, Mesh, Rig

SCHEMA = "facekit.scan/1"
HEAD = "head"
WORLD = "cameras"
# Facts of the sparse stage that the report has elsewhere.
_NOT_TOLD = ("failures", "seconds", "cpu_seconds")


def write_results(
    folder: Path,
    photographs: Sequence[Photograph],
    sparse_facts: dict[str, Any],
    face: dict[str, Any],
    cloud: PointCloud,
    mesh: Mesh,
) -> tuple[dict[str, Any], list[str]]:
    """Move everything into the result's frame and write it.

    Args:
        folder: the output.
        photographs: with cameras in the working frame.
        sparse_facts, face: what ``run_sparse`` and ``find_face`` noted.
        cloud, mesh: in the working frame.

    Returns:
        ``(report, files)``; the caller writes the report, ``report.json``.
    """
    move = head_transform(face)
    frame = HEAD if face["found"] else WORLD
    rig = Rig({p.name: move_camera(p.camera, move) for p in photographs if p.camera}, frame)
    write_rig(folder / "cameras.json", rig)
    if "model" in sparse_facts:
        sparse.write_model(folder / "work" / sparse_facts["model"], folder / "sparse", move)
    else:
        write_colmap(folder / "sparse", rig)
    points = Mesh(
        move.apply(cloud.points.astype(np.float64)),
        np.zeros((0, 3), np.int32),
        colours=cloud.colours,
    )
    write_ply(folder / "dense.ply", points, normals=cloud.normals @ move.rotation.T)
    placed = Mesh(move.apply(mesh.vertices), mesh.faces, colours=mesh.colours)
    write_ply(folder / "mesh.ply", placed)
    files = ["cameras.json", "sparse/cameras.txt", "sparse/images.txt", "sparse/points3D.txt"]
    files += ["dense.ply", "mesh.ply"]
    unit = "mm"
    scale = sparse_facts["scale"]
    if scale != "metric":
        unit = "mm by the mean head's size" if face["found"] else "arbitrary"
    landmarks = folder / "landmarks.json"
    landmarks.unlink(missing_ok=True)
    if face["found"]:
        write_json(landmarks, landmark_document(face, placed, move, unit=unit))
        files.append("landmarks.json")
    report = {
        "schema": SCHEMA,
        "scale": scale,
        "unit": unit,
        "frame": frame,
        "face": {key: face[key] for key in ("found", "note", "mean_head_rms_mm") if key in face},
        "sparse": {
            k: v for k, v in sparse_facts.items() if k not in ("failures", "seconds", "cpu_seconds")
        },
        "dense_points": len(cloud.points),
        "vertices": len(placed.vertices),
        "faces": len(placed.faces),
    }
    return report, [*files, "report.json"]


def landmark_document(
    face: dict[str, Any], mesh: Mesh, move: SimilarityTransform, *, unit: str
) -> dict[str, Any]:
    """Return ``landmarks.json``: the triangulated points and the surface's nearest ones.

    Args:
        face: of ``find_face``; mesh: in the result's frame; move: to that frame; unit: of it.
    """
    known = [k for k, point in enumerate(face["points"]) if point is not None]
    triangulated = move.apply(np.array([face["points"][k] for k in known]))
    nearest = closest_points(build_tree(mesh.vertices, mesh.faces), triangulated)
    corners = mesh.vertices[mesh.faces[nearest.triangle]]
    surface = np.einsum("nc,ncd->nd", nearest.barycentric, corners)
    gap = np.sqrt(nearest.squared_distance)

    def spread(values: Sequence[Any]) -> list[Any]:
        rows: list[Any] = [None] * 68
        for k, value in zip(known, values, strict=True):
            rows[k] = np.round(value, 4).tolist()
        return rows

    deviation = [move.scale * face["deviation"][k] for k in known]
    return {
        "frame": HEAD,
        "unit": unit,
        "points": {"ibug68": spread(list(surface))},
        "triangulated": {"ibug68": spread(list(triangulated))},
        "surface_distance": {"ibug68": spread(list(gap))},
        "deviation": {"ibug68": spread(deviation)},
        "views": {"ibug68": face["views"]},
    }


def move_camera(camera: Camera, move: SimilarityTransform) -> Camera:
    """Return a camera whose world was moved by a similarity: it sees the same picture."""
    rotation = camera.rotation @ move.rotation.T
    return Camera(
        camera.intrinsics,
        rotation,
        move.scale * camera.translation - rotation @ move.translation,
        camera.width,
        camera.height,
        camera.distortion,
    )

"""``facekit sfm``: photographs of a subject to cameras, points, a surface and its landmarks.

Stages, each kept in ``OUT/work`` and recorded, so that a run that was cut short goes on where it
was: sparse (cameras), face (head frame), one depth map a view, fusion, surface.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.capture.colour import vertex_colours
from facekit.capture.depth import DepthOptions, estimate_depth
from facekit.capture.face_region import find_face
from facekit.capture.fusion import FusionOptions, PointCloud, fuse
from facekit.capture.neighbours import (
    Scene,
    choose_neighbours,
    depth_range,
    find_scene,
    scene_of_points,
)
from facekit.capture.photographs import Photograph, Subject, read_subject, write_working_copies
from facekit.capture.poisson import poisson_surface, require_open3d
from facekit.capture.scan_files import write_results
from facekit.capture.sparse_stage import SparseOptions, run_sparse
from facekit.capture.store import (
    read_cloud,
    read_depth_map,
    read_surface,
    write_cloud,
    write_depth_map,
    write_surface,
)
from facekit.capture.surface import distance_surface, largest_parts
from facekit.capture.views import View, halved, make_view
from facekit.errors import FacekitError, InputError, ItemError, UsageError
from facekit.io.atomic import write_json
from facekit.io.npz import read_npz
from facekit.io.rig import read_cameras_json, read_rig
from facekit.runs import RunFolder, file_sha256
from facekit.types import Mesh

Progress = Callable[[int, int], None]
# Views that are asked whether they agree, a little more than are matched.
_CHECKED = 10
# This many points of the sparse stage say where the subject is.
_TELLING_POINTS = 50


@dataclass(frozen=True)
class ScanOptions:
    """What a scan is made of and how.

    Attributes:
        cameras: file or folder of measured cameras (any format of ``read_rig``), or None.
        poses: ``given`` (the cameras' file is right), ``refine`` (nearly) or ``estimate`` (only
            its lenses are); without ``cameras`` everything is estimated.
        trust_cameras: leave out features and matches, so that nothing checks the cameras.
        mapping: ``global`` or ``incremental``, when poses are estimated.
        masks: folder of masks with the photographs' names, or None.
        surface: ``tsdf`` (own) or ``poisson`` (open3d).
        voxel: edge of the surface's cells, mm (or the arbitrary unit); 0 takes 1.4 pixels' width.
        neighbours: how many views each is matched with.
        max_side: larger photographs are scaled down to this longest side.
        detail: ``full``, or ``half``: depth at half the photographs' size, in a quarter of the
            time. Landmarks and cameras come from the whole photographs all the same.
        landmarks: name of the detector.
        face: look for a face, and put the scan into its head frame.
    """

    cameras: Path | None = None
    poses: str = "given"
    trust_cameras: bool = False
    mapping: str = "global"
    masks: Path | None = None
    surface: str = "tsdf"
    voxel: float = 0.0
    neighbours: int = 5
    max_side: int = 2048
    detail: str = "full"
    landmarks: str = "builtin"
    face: bool = True

    def __post_init__(self) -> None:
        for name, known in (
            ("poses", ("given", "refine", "estimate")),
            ("mapping", ("global", "incremental")),
            ("surface", ("tsdf", "poisson")),
            ("detail", ("full", "half")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.cameras is None and (self.trust_cameras or self.poses != "given"):
            raise UsageError("--poses and --trust-cameras say how to use --cameras; give that too")
        if self.trust_cameras and self.poses != "given":
            raise UsageError("--trust-cameras leaves the matches out that --poses needs")
        if self.neighbours < 2 or self.voxel < 0 or self.max_side < 64:
            raise UsageError("expected at least 2 neighbours, voxel >= 0 and max side >= 64")


class ScanResult(NamedTuple):
    """What was made: the report (as in ``report.json``), the failures and the files."""

    report: dict[str, Any]
    failures: list[dict[str, str]]
    files: list[str]


def make_scan(
    folder: Path,
    output: Path,
    options: ScanOptions,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ScanResult:
    """Reconstruct a subject from a folder of photographs.

    Writes ``sparse/`` (COLMAP text), ``cameras.json``, ``dense.ply``, ``mesh.ply``,
    ``landmarks.json`` (when a face is found) and ``report.json`` into ``output``, all in one
    frame; see docs/sfm.md.

    Args:
        folder: one photograph per camera, named like it; or photographs of any views.
        output: folder to write.
        options: how.
        overwrite: replace a run of other options.
        progress: called with finished stages and their number.

    Raises:
        InputError: too few photographs, no cameras' file, an unwritable output.
        ItemError: the photographs make no surface.
        MissingDependencyError: pycolmap or open3d is needed and missing.
        OutputExistsError: the output holds something else.
    """
    if options.surface == "poisson":
        require_open3d()
    rig = None if options.cameras is None else read_rig(options.cameras)
    subject = read_subject(
        folder, rig=rig, masks=options.masks, max_side=options.max_side, output=output
    )
    run = RunFolder(
        output,
        command="sfm",
        options=_described(options),
        assets={"cameras": _file_hash(options.cameras)},
        overwrite=overwrite,
    )
    try:
        return _Scan(run, subject, options, progress).make()
    finally:
        run.close()


class _Scan:
    def __init__(
        self, run: RunFolder, subject: Subject, options: ScanOptions, progress: Progress | None
    ) -> None:
        self.run, self.options = run, options
        self.photographs = subject.photographs
        self.failures = list(subject.failures)
        self.work = run.folder / "work"
        self.progress = progress
        self.total = len(subject.photographs) + 5
        self.finished = 0
        digest = hashlib.sha256("".join(p.sha256 for p in subject.photographs).encode())
        self.digest = digest.hexdigest()

    def make(self) -> ScanResult:
        try:
            self._sparse()
            self._face()
            self._depth()
            cloud = self._fusion()
            mesh = self._surface(cloud)
            report, files = write_results(
                self.run.folder, self.photographs, self.sparse, self.face, cloud, mesh
            )
            report |= {name: self._times(name) for name in ("seconds", "cpu_seconds")}
            write_json(self.run.folder / "report.json", report)
        finally:
            write_json(self.run.folder / "failures.json", self.failures)
        record = {"sha256": self.digest, "outputs": files, "input": "results"}
        self.run.record("results", record)
        self._step()
        return ScanResult(report, self.failures, files)

    def _step(self) -> None:
        self.finished += 1
        if self.progress is not None:
            self.progress(self.finished, self.total)

    def _stage(self, key: str, outputs: list[str], make: Callable[[], dict[str, Any]]) -> dict:
        """Do a stage unless it is there; return what it noted."""
        if not self.run.is_done(key, self.digest):
            start, used = time.monotonic(), time.process_time()
            facts = make()
            facts["seconds"] = round(time.monotonic() - start, 2)
            facts["cpu_seconds"] = round(time.process_time() - used, 2)
            record = {"sha256": self.digest, "outputs": outputs, "input": key, "facts": facts}
            self.run.record(key, record)
        self._step()
        return self.run.records[key]["facts"]

    def _sparse(self) -> None:
        def make() -> dict[str, Any]:
            images, masks = self.work / "images", None
            if not self.options.trust_cameras:
                images, masks = write_working_copies(self.work, self.photographs)
            return run_sparse(
                self.work,
                images,
                masks,
                self.photographs,
                SparseOptions(self.options.poses, self.options.mapping, self.options.trust_cameras),
            )

        names = ["work/cameras.json", "work/points.npz"]
        self.sparse = self._stage("sparse", names, make)
        self.failures += self.sparse["failures"]
        rig = read_cameras_json(self.work / "cameras.json")
        self.photographs = [
            p._replace(camera=rig.cameras[p.name])
            for p in self.photographs
            if p.name in rig.cameras
        ]
        points = read_npz(self.work / "points.npz", what="points")["points"]
        self.views = [_view(p) for p in self.photographs]
        if self.options.detail == "half":
            self.views = [halved(view) for view in self.views]
        self.scene = self._find_scene(points)

    def _find_scene(self, points: np.ndarray) -> Scene:
        """Return what the views show: a stage's cameras point at it, others' points tell."""
        if self.sparse["scale"] != "metric":
            return scene_of_points(points)
        try:
            return find_scene(self.views)
        except InputError:
            # Cameras side by side: their axes do not meet.
            if len(points) < _TELLING_POINTS:
                raise
            return scene_of_points(points)

    def _face(self) -> None:
        def make() -> dict[str, Any]:
            if not self.options.face:
                return {"found": False, "note": "not looked for"}
            metric = self.sparse["scale"] == "metric"
            return find_face(self.photographs, self.options.landmarks, metric=metric)

        self.face = self._stage("face", [], make)

    def _depth(self) -> None:
        cameras = [view.camera for view in self.views]
        chosen = choose_neighbours(cameras, self.scene, count=self.options.neighbours)
        self.maps = []
        for view, others in zip(self.views, chosen, strict=True):
            path = self.work / "depth" / f"{view.name}.npz"

            def make(view: View = view, others: list[int] = others, path: Path = path) -> dict:
                if not others:
                    return {"error": "no other view shows it from 3 to 50 degrees aside"}
                near, far = depth_range(view.camera, self.scene)
                if far <= 0:
                    return {"error": "looks away from what the other views show"}
                near_views = [self.views[j] for j in others]
                depth = estimate_depth(view, near_views, near, far, self._depth_options())
                write_depth_map(path, depth)
                return {"matched": float((depth.planes[..., 0] > 0).mean())}

            facts = self._stage(f"depth/{view.name}", [], make)
            if "error" in facts:
                self.failures.append({"input": view.name, "error": facts["error"]})
            self.maps.append(path)

    def _depth_options(self) -> DepthOptions:
        if self.options.detail == "full":
            return DepthOptions()
        # Pixels are twice as wide, so narrower windows cover as much skin (and hold fewer edges).
        return DepthOptions(levels=1, radii=(2, 2), steps=(2, 3))

    def _fusion(self) -> PointCloud:
        path = self.work / "cloud.npz"

        def make() -> dict[str, Any]:
            rows = [k for k, p in enumerate(self.maps) if p.exists()]
            views = [self.views[k] for k in rows]
            maps = [read_depth_map(self.maps[k]) for k in rows]
            near = choose_neighbours([v.camera for v in views], self.scene, count=_CHECKED)
            # With three views only one other may see a spot.
            agree = 2 if len(views) > 4 else 1
            cloud = fuse(views, maps, near, FusionOptions(least_views=agree))
            if len(cloud.points) < 100:
                raise ItemError(
                    f"the views agree on {len(cloud.points)} points only: expected photographs "
                    "of one still subject with texture, in focus, and cameras that fit them"
                )
            write_cloud(path, cloud)
            return {"points": len(cloud.points), "views_per_point": float(cloud.views.mean())}

        self.fusion = self._stage("fusion", ["work/cloud.npz"], make)
        return read_cloud(path)

    def _surface(self, cloud: PointCloud) -> Mesh:
        path = self.work / "surface.npz"

        def make() -> dict[str, Any]:
            voxel = self.options.voxel / self._unit() or 1.4 * self._pixel(cloud)
            build = distance_surface if self.options.surface == "tsdf" else poisson_surface
            mesh = largest_parts(build(cloud, voxel=voxel))
            colours, _ = vertex_colours(mesh, self.views)
            write_surface(path, replace(mesh, colours=colours))
            return {"voxel": voxel, "vertices": len(mesh.vertices)}

        self._stage("surface", ["work/surface.npz"], make)
        return read_surface(path)

    def _times(self, name: str) -> dict[str, float]:
        """Return how long the stages took when they were made, by the clock or the processor's."""
        total: dict[str, float] = {}
        for key, record in self.run.records.items():
            stage = key.split("/")[0]
            seconds = record.get("facts", {}).get(name, 0.0)
            if seconds:
                total[stage] = round(total.get(stage, 0.0) + seconds, 2)
        return total

    def _unit(self) -> float:
        """Return how many units of the result one of the working frame is."""
        return float(self.face.get("transform", {}).get("scale", 1.0))

    def _pixel(self, cloud: PointCloud) -> float:
        """Return the width of a pixel on the surface, in the working frame."""
        middle = np.median(cloud.points, axis=0)
        widths = [
            float(np.linalg.norm(v.camera.rotation @ middle + v.camera.translation))
            / v.camera.intrinsics[0, 0]
            for v in self.views
        ]
        return float(np.median(widths))


def _view(photograph: Photograph) -> View:
    if photograph.camera is None:
        raise FacekitError(f"{photograph.name}: has no camera after the sparse stage")
    return make_view(photograph.name, photograph.image, photograph.camera, mask=photograph.mask)


def _described(options: ScanOptions) -> dict[str, Any]:
    values = dict(vars(options))
    for name in ("cameras", "masks"):
        values[name] = None if values[name] is None else str(values[name])
    return values


def _file_hash(path: Path | None) -> str:
    if path is None:
        return ""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256("".join(file_sha256(p) for p in files[:20]).encode()).hexdigest()

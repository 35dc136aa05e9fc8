"""Folders of photographs to folders of faces, with resume and parallel processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit import threads
from facekit.detect.parameters import open_reader
from facekit.detect.registry import Detector, open_detector
from facekit.errors import FacekitError, ItemError, UsageError
from facekit.export import deviation, report
from facekit.export.face import FILES, TEXTURE, FaceWriter, Texturer
from facekit.export.overlay import face_panels
from facekit.fit.mirror import mirrored_face
from facekit.fit.options import FitOptions
from facekit.fit.photo import FaceFit, FaceFitter, Setting
from facekit.geometry.cameras import scale_intrinsics
from facekit.io.atomic import atomic_folder
from facekit.io.discover import InputImage, find_images
from facekit.io.images import Photo, read_photo
from facekit.morphable import load_model
from facekit.morphable.model import MorphableModel
from facekit.runs import RunFolder, file_sha256
from facekit.types import Camera, DetectedFace

# Larger photographs are worked on at this longest side; results are in the file's own pixels.
WORKING_SIDE = 2048
# Side of a texture when none is asked for.
_TEXTURE_SIZE = 1024

COLUMNS = (
    "input", "folder", "face", "quality", "score", "landmark_error_percent", "yaw_deg",
    "pitch_deg", "roll_deg", "distance_mm", "distance_low_mm", "distance_high_mm", "focal_px",
    "focal_35mm", "focal_source", "focal_note", "scale_source", "scale_std_percent", "box_x",
    "box_y", "box_width", "box_height",
)  # fmt: skip


class BatchResult(NamedTuple):
    """What a batch made: faces in all, those made now, failures, and the page to open."""

    faces: list[dict[str, Any]]
    made: int
    failures: list[dict[str, str]]
    page: Path


class Texturing(NamedTuple):
    """Another way to make textures, from a layer above; it must be picklable.

    Attributes:
        open: called once a process with the model and ``texture_size``.
        names: of the files it makes, the mesh's first.
    """

    open: Callable[[MorphableModel, int], Texturer]
    names: tuple[str, ...]


class PhotoFitter:
    """Detects, fits and writes every face of a photograph; one per process."""

    def __init__(self, options: FitOptions, texturing: Texturing | None = None) -> None:
        self.options = options
        if (texturing is None) != (options.texture == "fast"):
            raise UsageError(f"texture: {options.texture!r} needs its own texturer")
        self.model = load_model(options.model)
        self.detector: Detector = open_detector(
            options.landmarks,
            allow_download=options.allow_download,
            least_face=options.min_face or None,
        )
        self.fitter = FaceFitter(
            self.model,
            options.landmark_fit,
            photometric=options.photometric,
            first_order=options.first_order,
            renderer=options.renderer,
            network=open_reader(options.network, self.model),
        )
        if options.first_order:
            self.fitter.adam.open()
        self.masks = options.mask_source
        texturer = None if texturing is None else texturing.open(self.model, options.texture_size)
        self.writer = FaceWriter(
            self.model,
            unit=options.unit,
            texture_size=options.texture_size or _TEXTURE_SIZE,
            texturer=texturer,
        )
        textures = (TEXTURE,) if texturing is None else texturing.names
        self.files = (*(name for name in FILES if name != TEXTURE), *textures)
        if options.uncertainty:
            self.files += (deviation.PICTURE, deviation.MESH)

    def assets(self) -> dict[str, str]:
        """Return name to hash of what results depend on."""
        network = self.fitter.network
        return {
            "model": self.model.sha256,
            "landmarks": self.detector.fingerprint,
            "network": "none" if network is None else network.fingerprint,
            **({} if self.masks is None else self.masks.assets()),
        }

    def mask_sha256(self, item: InputImage) -> str:
        """Return what to add to an image's hash for its mask's file; empty without one."""
        return "" if self.masks is None else self.masks.file_sha256(item)

    def look(self, item: InputImage) -> tuple[Photo, list[DetectedFace]]:
        """Read a photograph and find its faces, largest first; both put right where mirrored.

        Raises:
            ItemError: the file is no readable image, or shows no face.
        """
        photo = read_photo(item.path, max_side=None if self.options.min_face else WORKING_SIDE)
        faces = self.detector.detect(photo.image, path=item.path)
        if not faces:
            raise ItemError("no face was found")
        if self.options.mirrored:
            width = photo.image.shape[1]
            faces = [mirrored_face(face, width) for face in faces]
            photo = photo._replace(image=np.ascontiguousarray(photo.image[:, ::-1]))
        return photo, faces

    def run(self, item: InputImage, folder: Path) -> dict[str, Any]:
        """Fit one photograph into ``folder`` and return its manifest record.

        Faces that cannot be fitted are named in the record's ``error`` beside those that could.

        Raises:
            ItemError: the file is no readable image, or no face has a result.
        """
        photo, faces = self.look(item)
        if self.options.largest:
            faces = faces[:1]
        rows: list[dict[str, Any]] = []
        errors: list[str] = []
        outputs: list[str] = []
        setting = self.setting(photo)
        masks = (
            None
            if self.masks is None
            else self.masks.of_photo(item, photo.image, mirrored=self.options.mirrored)
        )
        note = "" if setting.focal_px else photo.focal_note
        for index, face in enumerate(faces):
            key = item.key if index == 0 else f"{item.key}.face{index + 1}"
            try:
                mask = None if masks is None else masks(face)
                result = self.fitter.fit(photo.image, face, setting=setting, mask=mask)
            except ItemError as error:
                errors.append(f"face {index + 1}: {error}")
                continue
            self.write(folder / key, photo, result, item)
            outputs += [f"{key}/{name}" for name in self.files]
            facts = self.fitter.facts(result)
            rows.append({"folder": key, "face": index + 1, **facts, "focal_note": note})
        if not rows:
            raise ItemError("; ".join(errors))
        record: dict[str, Any] = {"outputs": outputs, "faces": rows}
        if errors:
            record["error"] = "; ".join(errors)
        return record

    def setting(self, photo: Photo) -> Setting:
        """Return what is known of a photograph's camera."""
        given = self.options.given_focal(photo.width, photo.height)
        return Setting(
            focal_px=given * photo.scale if given else None,
            exif_px=photo.focal_px * photo.scale if photo.focal_px else None,
            distance_mm=self.options.distance_mm or None,
        )

    def full_params(self, photo: Photo, result: FaceFit) -> dict[str, Any]:
        """Return the arrays of ``params.npz``, in pixels of the file."""
        full = Camera(
            scale_intrinsics(result.camera.intrinsics, 1 / photo.scale),
            result.camera.rotation,
            result.camera.translation,
            photo.width,
            photo.height,
        )
        return self.fitter.params(
            result._replace(camera=full, face=result.face.rescaled(1 / photo.scale))
        )

    def write(self, folder: Path, photo: Photo, result: FaceFit, item: InputImage) -> None:
        """Write a face's folder."""
        params = self.full_params(photo, result)
        with atomic_folder(folder) as temporary:
            self.writer.write(
                temporary,
                image=photo.image,
                camera=result.camera,
                vertices=result.vertices,
                neutral=result.neutral,
                expression=result.fit.expression,
                face=result.face,
                params=params,
                overlay=face_panels(photo.image, result.vertices, self.model, result.camera),
                scale_source=result.scale_source,
                facts={
                    "mirrored": self.options.mirrored,
                    "focal_source": result.focal.source,
                    "distance_mm": result.distance.mm,
                    "distance_low_mm": result.distance.low,
                    "distance_high_mm": result.distance.high,
                },
                source=item.path.name,
                image_size=(photo.width, photo.height),
                scale=photo.scale,
            )
            if self.options.uncertainty:
                deviation.write_deviation(
                    temporary,
                    result.neutral,
                    result.vertex_std_mm,
                    self.model,
                    unit=self.options.unit,
                )
            if self.options.posterior_samples:
                self._write_samples(temporary / "posterior.npz", result, item)

    def _write_samples(self, path: Path, result: FaceFit, item: InputImage) -> None:
        # Seeded by the content's name too, so that a photograph's samples do not depend on
        # which others are in the batch.
        entropy = [self.options.seed, *item.key.encode()]
        generator = np.random.default_rng(entropy)
        K = self.model.num_identity
        factor = np.linalg.cholesky(result.fit.covariance[:K, :K])
        draws = generator.standard_normal((self.options.posterior_samples, K)) @ factor.T
        np.savez_compressed(path, identity=(result.fit.identity + draws).astype(np.float32))


def fit_photos(
    paths: Sequence[Path],
    output: Path,
    options: FitOptions,
    *,
    jobs: int = 1,
    overwrite: bool = False,
    texturing: Texturing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Fit every face of every photograph and write ``output``'s tree, summary and page.

    Photographs already there (same content, options and assets) are skipped.

    Args:
        paths: files and folders.
        output: folder to write.
        options: what to do.
        jobs: processes; 0 takes every core.
        overwrite: replace an earlier run of other options.
        texturing: makes the textures when ``options.texture`` is not ``fast``.
        progress: called with the number done and the total.

    Raises:
        InputError, OutputExistsError, MissingDependencyError: nothing could be started.
    """
    items = find_images(paths, output=output)
    fitter = PhotoFitter(options, texturing)
    described = {k: v for k, v in asdict(options).items() if k != "allow_download"}
    run = RunFolder(
        output, command="fit", options=described, assets=fitter.assets(), overwrite=overwrite
    )
    run.keep_only(item.key for item in items)
    hashes = {item.key: file_sha256(item.path) + fitter.mask_sha256(item) for item in items}
    todo = [item for item in items if not run.is_done(item.key, hashes[item.key])]
    done = len(items) - len(todo)
    made = 0
    try:
        start = (options, texturing)
        count = jobs or threads.num_threads()
        for item, record in _results(todo, output, start, fitter, count):
            run.record(item.key, {"input": str(item.path), "sha256": hashes[item.key], **record})
            made += len(record.get("faces", []))
            done += 1
            if progress is not None:
                progress(done, len(items))
    finally:
        result = summarise(run, output, made, fitter.files)
        run.close()
    return result


def _results(
    todo: list[InputImage],
    output: Path,
    start: tuple[FitOptions, Texturing | None],
    fitter: PhotoFitter,
    jobs: int,
) -> Iterator[tuple[InputImage, dict[str, Any]]]:
    jobs = min(jobs, len(todo))
    if jobs <= 1:
        for item in todo:
            yield item, _attempt(fitter, item, output)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, start) as pool:
        futures = {pool.submit(_work, item, output): item for item in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(fitter: PhotoFitter, item: InputImage, output: Path) -> dict[str, Any]:
    try:
        return fitter.run(item, output)
    except FacekitError as error:
        if isinstance(error, ItemError):
            return {"error": str(error), "outputs": [], "faces": []}
        raise


_worker: PhotoFitter | None = None


def _start_worker(options: FitOptions, texturing: Texturing | None) -> None:
    global _worker
    threads.set_num_threads(1)
    _worker = PhotoFitter(options, texturing)


def _work(item: InputImage, output: Path) -> dict[str, Any]:
    if _worker is None:
        raise RuntimeError("a worker was used before it was started")
    return _attempt(_worker, item, output)


def summarise(run: RunFolder, output: Path, made: int, files: Sequence[str]) -> BatchResult:
    """Write a run's summary, failures and page.

    Args:
        run: the finished run.
        output: its folder.
        made: faces made now.
        files: of a face's folder.
    """
    faces: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for key in sorted(run.records):
        record = run.records[key]
        name = Path(record["input"]).name
        for face in record.get("faces", []):
            faces.append({"input": name, **face})
        if record.get("error"):
            failures.append({"input": record["input"], "error": record["error"]})
    report.write_summary(output / "summary.csv", faces, COLUMNS)
    report.write_failures(output / "failures.json", failures)
    shown = ("input", "folder", "quality", "yaw_deg", "pitch_deg", "roll_deg", "distance_mm")
    page = report.write_index(
        output / "index.html",
        [{name: face[name] for name in shown} for face in faces],
        failures,
        title="facekit fit",
        files=[name for name in files if name not in ("face.mtl", "overlay.png")],
    )
    return BatchResult(faces, made, failures, page)

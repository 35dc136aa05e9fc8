"""``facekit fit``: photographs to 3D faces."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


class Texture(StrEnum):
    """How textures are made."""

    FAST = "fast"
    FULL = "full"


class Preset(StrEnum):
    """How much is fitted, and by which solver; see ``fit.presets``."""

    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"
    ADAM_3DMM = "adam-3dmm"
    ADAM_DEEP3D = "adam-deep3d"


class Renderer(StrEnum):
    """What the published first-order fits draw through."""

    BUILTIN = "builtin"
    PLAIN = "plain"
    TRITON = "triton"
    PYTORCH3D = "pytorch3d"
    NVDIFFRAST = "nvdiffrast"


def fit(
    paths: opt.InputPaths,
    output: opt.OutputFolder = Path("out"),
    model: opt.Model = "builtin",
    landmarks: opt.Landmarks = opt.LandmarkSource.AUTO,
    largest: Annotated[
        bool, typer.Option("--largest", help="Only the largest face of each photograph.")
    ] = False,
    same_person: Annotated[
        bool,
        typer.Option(
            "--same-person",
            help="The photographs of a folder show one person: fitted together, one identity.",
        ),
    ] = False,
    min_face: opt.MinFace = 0.0,
    focal: Annotated[
        str,
        typer.Option(
            help="Focal length: 1200 (pixels of the file) or 28mm (35 mm equivalent). Without it "
            "EXIF says it, or the fit estimates it.",
            metavar="PX|MM",
        ),
    ] = "",
    fov: Annotated[
        float,
        typer.Option(help="Angle of view over the longer side, instead.", metavar="DEG", min=0),
    ] = 0.0,
    distance: Annotated[
        float,
        typer.Option(
            help="Known distance from the camera to the bridge between the eyes; with a known "
            "focal length it gives the true size.",
            metavar="MM",
            min=0,
        ),
    ] = 0.0,
    mirrored: Annotated[
        bool,
        typer.Option(
            "--mirrored", help="The photographs are mirror images (selfies): put left right."
        ),
    ] = False,
    unit: Annotated[opt.Unit, typer.Option(help="Unit of the OBJ files.")] = opt.Unit.MM,
    texture: Annotated[
        Texture,
        typer.Option(
            help="fast: texture.jpg, the photograph projected; full: texture.png and albedo.png, "
            "hidden parts completed and blended, as seen and under even light."
        ),
    ] = Texture.FAST,
    texture_size: Annotated[
        int,
        typer.Option(
            help="Side of the texture in pixels; 0: 1024, or with --texture full from the face's "
            "size in the photograph, up to 4096.",
            min=0,
            max=8192,
        ),
    ] = 0,
    posterior_samples: Annotated[
        int, typer.Option(help="Also write this many identities drawn from the posterior.", min=0)
    ] = 0,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also draw how sure each part is: deviation.png, and deviation.ply so coloured.",
        ),
    ] = False,
    photometric: Annotated[
        bool,
        typer.Option("--photometric", help="Also fit the pixels' shading (experimental)."),
    ] = False,
    preset: Annotated[
        Preset,
        typer.Option(
            help="fast: landmarks alone; default: what fit does without this; best: the pixels "
            "too; adam-3dmm, adam-deep3d: the published first-order fits, to compare with."
        ),
    ] = Preset.DEFAULT,
    renderer: Annotated[
        Renderer,
        typer.Option(help="What the adam presets draw through."),
    ] = Renderer.BUILTIN,
    network: Annotated[
        str,
        typer.Option(
            help="What sees the face before landmarks and pixels are fitted: auto (the shipped "
            "network, where it is the model's), none, or an ONNX file of facekit train params.",
            metavar="NAME",
        ),
    ] = "auto",
    masks: opt.MaskFolder = None,
    segmentation: opt.Segmentation = None,
    face_labels: opt.FaceLabels = opt.CELEB_FACE,
    segmentation_range: opt.SegmentationInput = opt.SegmentationRange.IMAGENET,
    seed: opt.Seed = 0,
    jobs: opt.Jobs = 1,
    overwrite: opt.Overwrite = False,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Reconstruct every face of every photograph as a 3D mesh in millimetres.

    Writes per face: face.obj (+ .mtl, texture), neutral.obj, face.glb, overlay.png, params.npz and
    landmarks.json; and summary.csv, failures.json, manifest.json and index.html. Running again
    does only what is missing.

    With --same-person also person/ beside each folder's photographs: neutral.obj, face.glb and
    params.npz of all of them together.

    Example: facekit fit photos -o out
    """
    from facekit.fit.batch import FitOptions, fit_photos
    from facekit.fit.presets import choose_preset
    from facekit.fit.set_batch import fit_people
    from facekit.texture.batch import full_texturing

    start = time.monotonic()
    pixels, film = _focal(focal)
    chosen = choose_preset(preset.value, photometric=photometric, renderer=renderer.value)
    options = FitOptions(
        model=model,
        landmarks=landmarks.value,
        allow_download=allow_download,
        largest=largest,
        min_face=min_face,
        focal_px=pixels,
        focal_35mm=film,
        fov_deg=fov,
        distance_mm=distance,
        mirrored=mirrored,
        unit=unit.value,
        texture=texture.value,
        texture_size=texture_size,
        posterior_samples=posterior_samples,
        uncertainty=uncertainty,
        seed=seed,
        photometric=chosen.photometric,
        first_order=chosen.first_order,
        renderer=renderer.value,
        masks=str(masks or ""),
        segmentation=str(segmentation or ""),
        face_labels=opt.class_numbers(face_labels),
        segmentation_range=segmentation_range.value,
        network=network if chosen.network else "none",
    )
    texturing = full_texturing() if texture is Texture.FULL else None
    with out.progress("fit") as progress:
        if same_person:
            result = fit_people(
                paths,
                output,
                options,
                overwrite=overwrite,
                texturing=texturing,
                progress=progress,
            )
        else:
            result = fit_photos(
                paths,
                output,
                options,
                jobs=jobs,
                overwrite=overwrite,
                texturing=texturing,
                progress=progress,
            )
    for note in dict.fromkeys(f"{f['input']}: {f['focal_note']}" for f in _noted(result.faces)):
        out.info(note)
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    if as_json:
        out.json(
            {
                "schema": "facekit.fit/1",
                "output": str(output),
                "faces": result.faces,
                "failures": result.failures,
            }
        )
    else:
        for face in result.faces:
            out.data(output / face["folder"])
    count = len(result.faces)
    there = count - result.made
    already = f" ({there} were there already)" if there else ""
    out.info(
        f"{count} {'face' if count == 1 else 'faces'}{already} in "
        f"{time.monotonic() - start:.1f} s -> {result.page}"
    )
    return 5 if result.failures else 0


def _focal(text: str) -> tuple[float, float]:
    """Return pixels and 35 mm equivalent of a ``--focal``, one of them 0."""
    from facekit.errors import UsageError

    value = text.strip().lower()
    film = value.endswith("mm")
    number = value.removesuffix("mm").removesuffix("px").strip()
    try:
        focal = float(number or 0)
    except ValueError:
        focal = -1.0
    if not 0 <= focal < 1e7:
        raise UsageError(
            f"--focal: expected pixels (1200) or a 35 mm equivalent (28mm), got {text!r}"
        )
    return (0.0, focal) if film else (focal, 0.0)


def _noted(faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [face for face in faces if face.get("focal_note")]

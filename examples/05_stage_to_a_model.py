"""From a capture stage to a morphable model: simulate, calibrate, reconstruct, register, build.

Boards and heads are photographed by a simulated rig; the rig is calibrated from the boards alone;
each head is reconstructed with those cameras and registered; the model is built and compared. What
is finished is kept, so that a run that was cut short goes on where it was, and pictures are
deleted as soon as their scan is there.

Run: python examples/05_stage_to_a_model.py OUTPUT_FOLDER [--subjects 6] [--cameras 8]
A real build: --heads ict_facekit.npz --subjects 150 --cameras 12 --expressions all
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facekit.basis.assemble import BuildOptions, alignment_weights, build_model
from facekit.basis.register_batch import BatchOptions, register_scans
from facekit.basis.scan_files import find_scans
from facekit.basis.template_model import open_template
from facekit.capture.calibrate_run import calibrate_folder
from facekit.capture.rig_compare import compare_rigs
from facekit.capture.scan import ScanOptions, make_scan
from facekit.errors import FacekitError
from facekit.geometry.alignment import align_similarity
from facekit.io.atomic import write_json
from facekit.io.npz import read_npz
from facekit.io.rig import read_rig
from facekit.morphable import load_model
from facekit.morphable.native import write_native
from facekit.simulate.stage import StageOptions, write_stage
from facekit.simulate.stage_boards import BoardOptions
from facekit.simulate.stage_heads import open_heads
from facekit.simulate.stage_rig import RigOptions

NEUTRAL = "neutral"
CHUNK = 5


def main() -> None:
    args = arguments()
    folder = args.output / "stage_to_a_model"
    cameras = calibrated_rig(folder, args)
    template = open_template(args.template)
    prior = None if args.prior == "none" else load_model(args.prior)
    batch = BatchOptions(pictures=False)
    for chunk in [*chunks(args), None]:
        spent = time.process_time()
        made = scan_chunk(folder, args, cameras, chunk) if chunk else 0
        if made or chunk is None:
            items = find_scans([folder / "scans"])
            result = register_scans(items, folder / "registered", template, prior, batch=batch)
            bad = [failure["input"] for failure in result.failures]
            spent = (time.process_time() - spent) / max(result.made, 1)
            print(
                f"{len(items)} scans; {result.made} new ones, {spent:.1f} s of processor time each"
            )
            print(f"set aside: {bad}", flush=True)
    donor = None if args.expressions else load_model("builtin")
    options = BuildOptions("stage", num_modes=args.modes)
    built = build_model(folder / "registered", template, options=options, donor=donor)
    write_native(built.model, folder / "model.npz")
    errors = correspondence(folder, template)
    print(f"{built.num_subjects} heads, {built.model.num_identity} modes -> {folder / 'model.npz'}")
    if errors:
        print(f"correspondence {np.mean(errors):.2f} mm, worst head {np.max(errors):.2f} mm")
        if np.mean(errors) > 1.0 or built.num_subjects < 0.9 * args.subjects:
            raise SystemExit("registration went wrong: expected 1.0 mm and nine heads of ten")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=Path("example"))
    parser.add_argument("--heads", type=Path, help="ICT-FaceKit's .npz, or a file of heads")
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--boards", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detail", default="half", choices=("half", "full"))
    parser.add_argument("--template", default="builtin")
    parser.add_argument("--prior", default="builtin")
    parser.add_argument("--modes", type=int)
    parser.add_argument("--expressions", default="", help="names with commas, or all")
    parser.add_argument("--expression-subjects", type=int, default=1)
    return parser.parse_args()


def stage_options(args: argparse.Namespace, **changes) -> StageOptions:
    rig = RigOptions(cameras=args.cameras, size=args.size)
    return StageOptions(heads=args.heads, seed=args.seed, rig=rig, depth=False, **changes)


def calibrated_rig(folder: Path, args: argparse.Namespace) -> Path:
    """Photograph the boards, calibrate, and return the cameras' file."""
    cameras = folder / "calibration" / "cameras.json"
    if not cameras.exists():
        boards = BoardOptions(frames=args.boards)
        write_stage(folder / "rig", stage_options(args, subjects=0, boards=boards))
        report = calibrate_folder(folder / "rig" / "boards", folder / "calibration")
        off = compare_rigs(read_rig(cameras), read_rig(folder / "rig" / "truth" / "cameras.json"))
        away = float(off.position_mm.mean())
        print(f"calibrated: {report['rms_px']:.3f} px, cameras {away:.3f} mm off", flush=True)
        shutil.rmtree(folder / "rig" / "boards")
        if report["rms_px"] > 0.08 or away > 0.15:
            raise SystemExit("calibration went wrong: expected 0.08 px and 0.15 mm")
    return cameras


def chunks(args: argparse.Namespace) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Yield (first subject, how many, expressions): all neutral faces before any expression."""
    for first in range(0, args.subjects, CHUNK):
        yield first, min(CHUNK, args.subjects - first), (NEUTRAL,)
    names = tuple(name for name in args.expressions.split(",") if name)
    if names == ("all",):
        names = open_heads(heads=args.heads).expressions[1:]
    for subject in range(args.expression_subjects if names else 0):
        for start in range(0, len(names), CHUNK):
            yield subject, 1, names[start : start + CHUNK]


def scan_chunk(
    folder: Path, args: argparse.Namespace, cameras: Path, chunk: tuple[int, int, tuple[str, ...]]
) -> int:
    """Photograph and reconstruct what is missing of a chunk; return how many scans were made."""
    first, count, expressions = chunk
    wanted = {
        f"s{number:03d}" + ("" if name == NEUTRAL else f".{name}"): folder
        / "scans"
        / f"s{number:03d}"
        / name
        for number in range(first, first + count)
        for name in expressions
    }
    missing = {name: place for name, place in wanted.items() if not place.exists()}
    if not missing:
        return 0
    stage = folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    options = stage_options(
        args,
        first=first,
        subjects=count,
        expressions=expressions,
        boards=BoardOptions(frames=0),
    )
    write_stage(stage, options)
    how = ScanOptions(cameras=cameras, trust_cameras=True, detail=args.detail)
    for name, place in missing.items():
        work = folder / "scan"
        shutil.rmtree(work, ignore_errors=True)
        done = folder / "done"
        shutil.rmtree(done, ignore_errors=True)
        done.mkdir()
        try:
            make_scan(stage / "subjects" / name, work, how)
            for file in ("mesh.ply", "landmarks.json", "report.json"):
                if (work / file).exists():
                    shutil.move(work / file, done / file)
        except FacekitError as error:
            write_json(done / "failed.json", {"error": str(error)})
        if place.name == NEUTRAL:
            keep_truth(stage / "truth" / name / "truth.npz", folder / "truth" / f"{name}.npz")
        place.parent.mkdir(parents=True, exist_ok=True)
        done.rename(place)
    shutil.rmtree(stage)
    return len(missing)


def keep_truth(source: Path, target: Path) -> None:
    """Keep where the head's own vertices were, without the refined mesh."""
    truth = read_npz(source, what="a stage's truth")
    target.parent.mkdir(parents=True, exist_ok=True)
    count = int(truth["base_count"])
    np.savez(target, vertices=truth["vertices"][:count], identity=truth["identity"])


def correspondence(folder: Path, template) -> list[float]:
    """Return each head's mean distance of corresponding vertices, where the truth has them.

    Only heads of a model in the template's own topology: there vertex and vertex correspond.
    """
    weights = alignment_weights(template)
    face = template.regions["scan"] & (template.part == 0)
    errors = []
    for path in sorted((folder / "truth").glob("*.npz")):
        head = folder / "registered" / path.name
        truth = read_npz(path, what="a truth")["vertices"].astype(np.float64)
        if not head.exists() or len(truth) != len(template.vertices):
            continue
        found = read_npz(head, what="a registered head")["vertices"].astype(np.float64)
        move = align_similarity(found, truth, weights=weights, with_scale=False)
        errors.append(float(np.linalg.norm(move.apply(found) - truth, axis=1)[face].mean()))
    return errors


if __name__ == "__main__":
    main()

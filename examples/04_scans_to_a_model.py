"""From scans to a morphable model: simulate scans of random heads, register them, build, compare.

The scans have noise, bumps, holes and no back; the model is built from what registration makes of
them and compared, on heads that it never saw, with one built from the exact heads.

Run: python examples/04_scans_to_a_model.py OUTPUT_FOLDER [SUBJECTS]
"""

import json
import sys
from pathlib import Path

import numpy as np

from facekit.basis.assemble import BuildOptions, build_model
from facekit.basis.register_batch import register_scans
from facekit.basis.registered import write_head, write_index
from facekit.basis.scan_files import find_scans
from facekit.basis.template_model import template_of_model
from facekit.evaluate.bases import compare_bases
from facekit.io.ply import write_ply
from facekit.morphable import load_model
from facekit.simulate.scan import ScanOptions, simulate_scan

LANDMARK_NOISE_MM = 1.0


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example") / "scans_to_a_model"
    subjects = int(sys.argv[2]) if len(sys.argv) > 2 else 6
    model = load_model("builtin")
    template = template_of_model(model)
    exact, held_out = [], []
    for number in range(subjects + 5):
        rng = np.random.default_rng([7, number])
        identity = np.clip(rng.standard_normal(model.num_identity), -2, 2)
        head = model.shape(identity)
        held = number >= subjects
        rows, place = (held_out, "held_out") if held else (exact, "exact")
        name = f"s{number:03d}"
        common = {"subject": name, "template_sha256": template.sha256}
        rows.append(write_head(folder / place, head, **common))
        if not held:
            write_scan(folder / "scans" / name, model, head, rng)
    write_index(folder / "exact", exact)
    write_index(folder / "held_out", held_out)
    result = register_scans(find_scans([folder / "scans"]), folder / "registered", template, model)
    models = {
        name: build_model(folder / name, template, options=BuildOptions(name)).model
        for name in ("exact", "registered")
    }
    scores = compare_bases(models, folder / "held_out")["models"]
    for name, facts in scores.items():
        print(f"{name}: {facts['modes']} modes, {facts['metrics']['corresponded_mm']:.2f} mm")
    accepted = sum(row.accepted for row in result.rows)
    exact_mm, registered_mm = (
        scores[n]["metrics"]["corresponded_mm"] for n in ("exact", "registered")
    )
    print(f"{accepted} of {subjects} scans accepted -> {folder}")
    if accepted < subjects or registered_mm > 1.2 * exact_mm:
        raise SystemExit("registration cost more than a fifth of the model's accuracy")


def write_scan(folder: Path, model, head: np.ndarray, rng: np.random.Generator) -> None:
    """Write a scan's folder as ``facekit sfm`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(rng.integers(1 << 30))
    scan = simulate_scan(head, model.faces, options=ScanOptions(refine=1), seed=seed)
    write_ply(folder / "mesh.ply", scan.mesh)
    marks = model.landmark_points("ibug68", head) + rng.normal(0, LANDMARK_NOISE_MM, (68, 3))
    document = {"frame": "head", "unit": "mm", "points": {"ibug68": marks.tolist()}}
    (folder / "landmarks.json").write_text(json.dumps(document))


if __name__ == "__main__":
    main()

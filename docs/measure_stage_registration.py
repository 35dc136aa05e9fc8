r"""Measure correspondence of heads of another topology that came through a stage.

Each registered head is laid on its true surface, which says where on that topology every template
vertex has ended. A vertex belongs where it ended on the mean of the other heads, so that a bias
that all share does not show, and the others' own errors count along (less, the more they are):

    facekit simulate stage -o stage --heads foreign_heads.npz --subjects 20 --first 100 ...
    facekit sfm ... && facekit basis register scans -o registered
    python docs/measure_stage_registration.py registered --foreign foreign_heads.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from facekit.basis.assemble import alignment_weights
from facekit.basis.template_model import template_of_model
from facekit.geometry.alignment import align_similarity
from facekit.geometry.closest_point import ClosestPoints, build_tree, closest_points
from facekit.geometry.mesh import loop_subdivide
from facekit.io.npz import read_npz
from facekit.morphable import load_model

# Of closest points and one rigid motion: registered heads lie a few hundredths of a mm off.
ROUNDS = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("registered", type=Path, help="folder of 'basis register': s<row>.npz")
    parser.add_argument("--others", type=Path, help="folder whose heads the mean is of")
    parser.add_argument("--foreign", type=Path, required=True, help=".npz of the true heads")
    chosen = parser.parse_args()
    model = load_model("builtin")
    weights = alignment_weights(template_of_model(model))
    data = read_npz(chosen.foreign, what="a file of heads")
    heads = data["neutral"] * float(data["quantum_mm"])
    fine = loop_subdivide(heads[0], np.concatenate([data["skin_faces"], data["eye_faces"]]))
    mean = fine.apply(heads.mean(axis=0))

    def ended(folder: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return each row's registered head on its truth, and its places on the mean head."""
        found = {}
        for path in sorted(folder.glob("s*.npz")):
            row = int(path.stem[1:])
            truth = fine.apply(heads[row])
            tree = build_tree(truth, fine.faces)
            points = read_npz(path, what="a registered head")["vertices"].astype(np.float64)
            for _ in range(ROUNDS):
                on = places(closest_points(tree, points), truth)
                points = align_similarity(points, on, weights=weights, with_scale=False).apply(
                    points
                )
            found[row] = points, places(closest_points(tree, points), mean)
        return found

    def places(hits: ClosestPoints, vertices: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkd->nd", hits.barycentric, vertices[fine.faces[hits.triangle]])

    judged = ended(chosen.registered)
    others = judged if chosen.others is None else ended(chosen.others)
    tree = build_tree(mean, fine.faces)
    errors = []
    for row, (points, _) in judged.items():
        base = np.mean([place for other, (_, place) in others.items() if other != row], axis=0)
        truth = places(closest_points(tree, base), fine.apply(heads[row]))
        move = align_similarity(points, truth, weights=weights, with_scale=False)
        away = np.linalg.norm(move.apply(points) - truth, axis=1)
        errors.append(float(away[model.regions["scan"]].mean()))
    sys.stdout.write(f"{len(errors)} heads: {np.mean(errors):.2f} mm, worst {max(errors):.2f}\n")


if __name__ == "__main__":
    main()

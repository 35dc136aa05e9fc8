r"""Learn how probable a face is from what the search and the landmark network say of it.

Collages of validation persons and images without faces are searched; every candidate that shows a
face, or none, is an example of a logistic regression. Prints the weights that
``facekit.detect.face_score`` holds, and what they and the search alone would find:

    python docs/measure_face_scores.py --data portraits --data labels --data renders
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from facekit.detect.builtin import BuiltinDetector
from facekit.detect.face_score import face_scores
from facekit.evaluate.boxes import LEAST_OVERLAP
from facekit.evaluate.scenes import Scene, collages, faceless_sets
from facekit.metrics.boxes import UNJUDGED, match_boxes
from facekit.train.recipes import load_data

# Candidates of the search below this probability are none.
LEAST = 0.02
# Of the weights' squares: classes that can be told apart must not drive them to infinity.
RIDGE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=3000, help="collages, and faceless images")
    parser.add_argument("--seed", type=int, default=500)
    chosen = parser.parse_args()
    people = load_data(chosen.data, splits=("validation",))
    detector = BuiltinDetector(threads=1)
    examples = [np.zeros((0, 4))]
    for scene in collages(people, count=chosen.count, seed=chosen.seed):
        examples.append(labelled(detector, scene))
    empty = faceless_sets(["drawn"], count=chosen.count, seed=chosen.seed, portraits=people)
    for scene in empty["drawn"]:
        examples.append(labelled(detector, scene))
    table = np.concatenate(examples)
    features, face = table[:, :-1], table[:, -1] > 0
    weights = regress(features, face)
    sys.stdout.write(f"{len(face)} candidates, {face.sum()} faces\n")
    sys.stdout.write(f"WEIGHTS = ({', '.join(f'{w:.2f}' for w in weights)})\n")
    for name, scores in (
        ("the search alone", expit(features[:, 0])),
        ("facekit's weights", face_scores(features)),
        ("these weights", expit(features @ weights)),
    ):
        found = scores >= 0.5
        sys.stdout.write(
            f"{name}: {100 * found[face].mean():.2f} % of the faces among the candidates, "
            f"{(found & ~face).sum()} others; mean score {scores.mean():.4f}\n"
        )


def labelled(detector: BuiltinDetector, scene: Scene) -> np.ndarray:
    """Return (N, 4): features of an image's judged candidates, and 1 where one shows a face."""
    seen = detector.examine(scene.pixels(), least=LEAST)
    # Each candidate on its own: of two on one face, both show it.
    one = np.ones(1)
    shown = np.array(
        [
            match_boxes(box[None], one, scene.boxes, ignore=scene.ignore, least=LEAST_OVERLAP)[0]
            for box in seen.boxes
        ],
        int,
    )
    judged = shown != UNJUDGED
    return np.column_stack([seen.features[judged], shown[judged] >= 0])


def regress(features: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the weights of the likeliest logistic model."""

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ weights
        value = np.logaddexp(0, z) - face * z
        slope = features.T @ (expit(z) - face) / len(face)
        return float(value.mean() + RIDGE * weights @ weights), slope + 2 * RIDGE * weights

    return minimize(cost, np.zeros(features.shape[1]), jac=True, method="BFGS").x


if __name__ == "__main__":
    main()

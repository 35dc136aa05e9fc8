"""Measure where facekit's detector finds iBUG's points 17 to 67 on MakeHuman's base mesh.

Prints the table ``_LANDMARKS`` of facekit/evaluate/makehuman_heads.py, which it replaces; other
places make other truth, so raise the open benchmark's version with them. BASE is MakeHuman's
``base.obj`` with its ``targets`` folder beside it:

    python docs/make_makehuman_landmarks.py BASE > table.txt

No places are put in. Brows and mouth are measured on renders of the bare head, its lips red
where MakeHuman's own lip sliders act: portraits are painted at the places they are given, so
they could only give those back (round after round a little further off). Nose and eyes, which no
paint moves, are measured on portraits as ``facekit eval all`` draws them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facekit.basis.calibrate import Renderer, plain_renderer
from facekit.basis.landmarks import Calibration, calibrate_landmarks, label_heads
from facekit.detect.builtin import BuiltinDetector
from facekit.detect.landmark_sets import FLIP68
from facekit.evaluate.makehuman_heads import (
    VERTICES,
    MakehumanHead,
    Place,
    read_makehuman_head,
    write_heads,
)
from facekit.geometry.mesh import face_normals, loop_subdivide
from facekit.morphable.foreign import foreign_model
from facekit.morphable.makehuman import read_target
from facekit.morphable.model import MorphableModel
from facekit.simulate.look import random_look
from facekit.simulate.portrait import View, render_portrait
from facekit.simulate.subject import open_foreign_heads

FIRST = 17
NOSE_AND_EYES = slice(27 - FIRST, 48 - FIRST)
OPEN = "expression/units/caucasian/mouth-open.target"
LIPS = ("mouth/mouth-upperlip-volume-incr.target", "mouth/mouth-lowerlip-volume-incr.target")
# The portraits' mouths: open ones tell which lip a point lies on.
OPENINGS = (0.0, 0.15, 0.3, 0.45)
SIZE, FACE_PX = 600, 400
# Height of the base head's face, brows to chin, mm.
FACE_MM = 130.0
# Points lie where the closed mouth's surface faces forwards (cosine): not inside lips and lids.
FORWARDS = 0.2
# Corners of a face's four children by the face's own, as ``loop_subdivide`` orders them.
A, B, C = np.eye(3)
AB, BC, CA = (A + B) / 2, (B + C) / 2, (C + A) / 2
CHILDREN = np.array([[A, AB, CA], [AB, B, BC], [CA, BC, C], [AB, BC, CA]])


def make_model(
    head: MakehumanHead, rest: np.ndarray, target: Callable[[str], np.ndarray]
) -> tuple[MorphableModel, np.ndarray]:
    """Return the refined base head with one expression, and which faces may hold points (F,)."""
    fine = loop_subdivide(rest, np.concatenate([head.skin, head.eyes]))
    places = fine.apply(rest)
    model = foreign_model(
        "makehuman", places, fine.faces, np.zeros((0, *places.shape)),
        expression=fine.apply(target(OPEN))[None], expression_names=["jawOpen"],
        expression_kind="blendshape", millimetres=100.0, licence="CC0 1.0", provenance="base.obj",
    )  # fmt: skip
    known = {tuple(face) for face in head.outer.tolist()}
    outer = np.array([tuple(face) in known for face in head.skin.tolist()])
    outer = np.repeat(np.concatenate([outer, np.zeros(len(head.eyes), bool)]), 4)
    colours = model.albedo_mean
    colours[:] = 0.05
    colours[np.unique(fine.faces[outer])] = 0.6, 0.4, 0.3
    for name in LIPS:
        acts = np.linalg.norm(fine.apply(target(name)), axis=1)
        colours[(acts > acts.max() / 2) & (colours[:, 0] > 0.5)] = 0.5, 0.2, 0.18
    balls = np.unique(fine.faces[4 * len(head.skin) :])
    for side in (-1, 1):
        ball = balls[side * model.mean[balls, 0] > 0]
        behind = model.mean[ball, 2].max() - model.mean[ball, 2]
        colours[ball] = np.where(behind[:, None] < 2.5, 0.04, 0.7)
    return model, outer & (face_normals(model.mean, model.faces)[:, 2] > FORWARDS)


def portraits(path: Path, seed: int) -> Renderer:
    """Return index -> (image, vertices, camera): portraits of a file's heads, any look."""
    heads = open_foreign_heads(path)

    def render(index: int):
        rng = np.random.default_rng([seed, index])
        turn = np.radians(rng.uniform([-30, -12, -6], [30, 12, 6])).tolist()
        distance = float(rng.uniform(500, 1400))
        view = View(*turn, distance, FACE_PX * distance / FACE_MM, SIZE, SIZE)
        look = random_look(rng, size=SIZE, glasses=0.0, occluders=0.0, clean=1.0)
        portrait = render_portrait(heads.subject(index % len(heads)), look, view)
        return portrait.image, portrait.subject.vertices, portrait.camera

    return render


def to_places(head: MakehumanHead, found: Calibration) -> list[Place]:
    """Return points of refined faces as places on the base mesh's own, to two digits."""
    coarse = np.concatenate([head.skin, head.eyes])[found.marks.faces // 4]
    weights = np.einsum("nk,nkc->nc", found.marks.barycentric, CHILDREN[found.marks.faces % 4])
    pairs = np.round(weights[:, 1:], 2)
    # Rounded apart, two weights could leave the first corner less than nothing.
    pairs[:, 0] = np.minimum(pairs[:, 0], np.round(1 - pairs[:, 1], 2))
    rows = zip(head.keep[coarse].tolist(), pairs.tolist(), strict=True)
    return [(*corners, *pair) for corners, pair in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path, help="MakeHuman's base.obj")
    parser.add_argument("--targets", type=Path, help="default: targets beside the base")
    parser.add_argument("--count", type=int, default=48, help="bare heads, and portraits")
    options = parser.parse_args()
    head = read_makehuman_head(options.base, targets=options.targets)
    folder = options.targets or options.base.parent / "targets"
    rest = head.vertices[head.keep]
    rest = rest - (rest.min(axis=0) + rest.max(axis=0)) / 2

    def target(name: str) -> np.ndarray:
        return read_target(folder / name, VERTICES)[head.keep]

    def label(image: np.ndarray) -> np.ndarray | None:
        faces = detector.detect(image)
        return faces[0].ibug68[FIRST:] if faces and faces[0].ibug68 is not None else None

    def measure(render: Renderer) -> list[Place]:
        seen = label_heads(render, label, options.count)
        found = calibrate_landmarks(model, seen, partner=FLIP68[FIRST:] - FIRST, allowed=allowed)
        sys.stderr.write(
            f"{found.num_heads} of {options.count} faces found, bias {found.bias_mm.mean():.2f} mm,"
            f" scatter {found.scatter_mm.mean():.2f} mm\n"
        )
        return to_places(head, found)

    model, allowed = make_model(head, rest, target)
    shown = rest + np.array(OPENINGS)[:, None, None] * target(OPEN)
    detector = BuiltinDetector()
    places = measure(plain_renderer(model, seed=0))
    with tempfile.TemporaryDirectory() as folder_of_heads:
        file = Path(folder_of_heads) / "heads.npz"
        write_heads(file, head, np.broadcast_to(rest, shown.shape), shown, places=places)
        places[NOSE_AND_EYES] = measure(portraits(file, seed=1))[NOSE_AND_EYES]
    for *corners, second, third in places:
        sys.stdout.write(f"({', '.join(map(str, corners))}, {second:.2f}, {third:.2f}),\n")


if __name__ == "__main__":
    main()

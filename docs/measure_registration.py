r"""Measure how well ``facekit basis register`` finds corresponding points, on scans without images.

Heads of known shape are scanned by ``simulate.scan``: of ICT-FaceKit, whose heads a template made
by ``facekit basis template`` carries, and of a file of heads of another topology. There the truth
is known against that file's mean head: a template vertex on a point of the mean, registered the
same way, belongs on the same point of every head. Prints the table of docs/basis.md:

    python docs/measure_registration.py --ict ict_facekit.npz --template template.npz \
        --foreign foreign_heads.npz
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.carry import Carrier
from facekit.basis.ict_source import IctSource
from facekit.basis.register import Registrar, ScanSurface
from facekit.basis.template import Template
from facekit.basis.template_file import read_template
from facekit.basis.template_model import template_of_model
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.geometry.mesh import loop_subdivide
from facekit.geometry.surface import Surface
from facekit.io.npz import read_npz
from facekit.morphable import load_model
from facekit.morphable.model import MorphableModel
from facekit.simulate.scan import ScanOptions, simulate_scan

REGIONS = ("forehead", "cheeks", "eyes", "nose", "mouth", "chin")
# Of a landmark's coordinate, mm.
NOISE_MM = 1.0


class Case(NamedTuple):
    """A scan and the template's true vertices (V, 3), None for the mean of another topology."""

    scan: ScanSurface
    truth: np.ndarray | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ict", type=Path, help="ICT-FaceKit's .npz")
    parser.add_argument("--template", type=Path, help="of 'facekit basis template'")
    parser.add_argument("--foreign", type=Path, help=".npz of heads of another topology")
    parser.add_argument("--count", type=int, default=6, help="heads of each kind")
    parser.add_argument("--seed", type=int, default=60_000, help="of ICT-FaceKit's heads")
    parser.add_argument("--first", type=int, default=100, help="row of the first foreign head")
    parser.add_argument("--priors", nargs="+", default=["builtin", "none"])
    chosen = parser.parse_args()
    model = load_model("builtin")
    tools = {
        prior: Registrar(template_of_model(model), None if prior == "none" else load_model(prior))
        for prior in chosen.priors
    }
    if chosen.ict:
        cases = list(ict_cases(chosen, model))
        for name, tool in tools.items():
            report("ICT-FaceKit", name, [measure(tool, case, model) for case in cases])
    if chosen.foreign:
        for name, tool in tools.items():
            cases = foreign_cases(chosen, tool)
            report("another topology", name, [measure(tool, case, model) for case in cases])


def ict_cases(chosen: argparse.Namespace, model: MorphableModel) -> Iterator[Case]:
    """Scan random heads of ICT-FaceKit: face, neck, sockets and eyeballs."""
    source = IctSource(chosen.ict)
    head = read_template(chosen.template)
    carrier = Carrier(source, Template(head.faces, head.mirror, head.skin, head.part, head.rim))
    regions = ("face", "head_neck", "mouth_socket", "eye_socket_left", "eye_socket_right")
    shown = np.zeros(len(source.neutral), bool)
    for name in (*regions, "eyeball_left", "eyeball_right"):
        shown[source.region(name)] = True
    faces = source.faces[shown[source.faces].all(axis=1)]
    for number in range(chosen.seed, chosen.seed + chosen.count):
        rng = np.random.default_rng(number)
        weights = np.clip(rng.standard_normal(source.num_identity), -2, 2)
        person = source.identity(weights[None])[0].astype(np.float64)
        truth = carrier.carry(person)
        mesh = simulate_scan(person, faces, seed=number).mesh
        marks = model.landmark_points("ibug68", truth) + rng.normal(0, NOISE_MM, (68, 3))
        yield Case(ScanSurface(Surface(mesh.vertices, mesh.faces), marks), truth)


def foreign_cases(chosen: argparse.Namespace, tool: Registrar) -> Iterator[Case]:
    """Scan heads of another topology; their mean, with exact landmarks, tells what corresponds."""
    data = read_npz(chosen.foreign, what="a file of heads")
    heads = data["neutral"] * float(data["quantum_mm"])
    fine = loop_subdivide(heads[0], np.concatenate([data["skin_faces"], data["eye_faces"]]))
    corners, weights = data["landmark_vertices"], data["landmark_weights"]

    def scanned(head: np.ndarray, number: int, noise: float) -> ScanSurface:
        rng = np.random.default_rng([number, 68])
        options = ScanOptions(refine=1)
        mesh = simulate_scan(fine.apply(head), fine.faces, options=options, seed=number).mesh
        marks = np.full((68, 3), np.nan)
        marks[data["landmark_ids"]] = np.einsum("nk,nkd->nd", weights, head[corners])
        marks += noise * rng.standard_normal(marks.shape)
        return ScanSurface(Surface(mesh.vertices, mesh.faces), marks)

    mean = heads.mean(axis=0)
    base = tool.neutral(scanned(mean, 0, 0.0)).vertices
    place = closest_points(build_tree(fine.apply(mean), fine.faces), base)
    for number in range(chosen.first, chosen.first + chosen.count):
        truth = fine.apply(heads[number])[fine.faces[place.triangle]]
        truth = np.einsum("nk,nkd->nd", place.barycentric, truth)
        yield Case(scanned(heads[number], number, NOISE_MM), truth)


def measure(tool: Registrar, case: Case, model: MorphableModel) -> list[float]:
    """Return mm: surface, mean and median correspondence, regions; then seconds of processor."""
    before = time.process_time()
    found = tool.neutral(case.scan)
    seconds = time.process_time() - before
    face = model.regions["scan"]
    errors = np.linalg.norm(found.vertices - case.truth, axis=1)
    means = [float(errors[face & model.regions[name]].mean()) for name in REGIONS]
    whole = errors[face]
    return [found.surface_mm, float(whole.mean()), float(np.median(whole)), *means, seconds]


def report(heads: str, prior: str, rows: list[list[float]]) -> None:
    """Print one row of the table."""
    table = np.array(rows)
    surface, mean, median, *regions, _ = table.mean(axis=0)
    seconds = np.median(table[:, -1])
    worst = table[:, 1].max()
    places = ", ".join(f"{n} {v:.2f}" for n, v in zip(REGIONS, regions, strict=True))
    line = f"| {len(rows)} of {heads} | {prior} | {surface:.3f} | {mean:.2f} / {median:.2f} |"
    sys.stdout.write(f"{line} {worst:.2f} | {seconds:.1f} s | {places} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

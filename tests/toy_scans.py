"""Scans of the toy head for the tests of registration."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
from toy import toy_model
from toy_heads import mirror_of

from facekit.basis.register import ScanSurface
from facekit.geometry.surface import Surface
from facekit.io.ply import write_ply
from facekit.simulate.scan import ScanOptions, simulate_scan

CLEAN = ScanOptions(noise_mm=0.0, bumps_mm=0.0, holes=0, refine=1)


@cache
def scan_model():
    """The toy model with what a template needs: a permutation, a face region and tragions."""
    model = toy_model()
    face = model.mean[:, 2] > 0
    marks = {**model.landmarks}
    ears = [int(model.mean[:, 0].argmax()), int(model.mean[:, 0].argmin())]
    faces = [int((model.faces == v).any(axis=1).argmax()) for v in ears]
    corners = zip(faces, ears, strict=True)
    weights = np.array([(model.faces[f] == v).astype(np.float32) for f, v in corners])
    marks["tragion"] = type(marks["now7"])(np.array(faces, np.int32), weights)
    return replace(
        model,
        mirror=mirror_of(model.mean),
        regions={"face": face, "scan": face},
        landmarks=marks,
    )


def toy_head(seed=0, expression=None):
    model = scan_model()
    identity = np.clip(np.random.default_rng(seed).standard_normal(model.num_identity), -1.5, 1.5)
    return model.shape(identity, expression).astype(np.float64)


def toy_scan(vertices, options=CLEAN, seed=0):
    """The scan of a head and its landmarks."""
    model = scan_model()
    mesh = simulate_scan(vertices, model.faces, options=options, seed=seed).mesh
    return mesh, model.landmark_points("ibug68", vertices)


def surface_of(mesh, marks):
    return ScanSurface(Surface(mesh.vertices, mesh.faces), marks)


def write_scan(folder, mesh, marks):
    """Write a scan's folder as ``facekit sfm`` does."""
    folder.mkdir(parents=True)
    write_ply(folder / "mesh.ply", mesh)
    rows = [None if np.isnan(row).any() else row.tolist() for row in marks]
    document = {"frame": "head", "unit": "mm", "points": {"ibug68": rows}}
    (folder / "landmarks.json").write_text(json.dumps(document))

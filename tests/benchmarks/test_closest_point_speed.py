"""Time of exact closest points, against the twin that looks at vertices alone."""

import numpy as np
import pytest
from now_twin import surface
from scipy.spatial import cKDTree

from facekit import threads
from facekit.evaluate.now_alignment import refine
from facekit.geometry.closest_point import build_tree, closest_points

POINTS = 20_000


@pytest.fixture(scope="module")
def case():
    vertices, faces = surface(90, 120)
    scan = surface(150, 140)[0][:POINTS]
    return vertices, faces, scan + np.random.default_rng(0).normal(scale=0.4, size=scan.shape)


def test_closest_points(benchmark, case):
    vertices, faces, scan = case
    tree = build_tree(vertices, faces)
    with threads.limit_threads(1):
        result = benchmark(closest_points, tree, scan)
    nearest = cKDTree(vertices).query(scan)[0]
    assert (np.sqrt(result.squared_distance) <= nearest + 1e-9).all()


def test_vertices_alone(benchmark, case):
    vertices, _, scan = case
    tree = cKDTree(vertices)
    benchmark(tree.query, scan)


def test_build_tree(benchmark, case):
    vertices, faces, _ = case
    assert len(benchmark(build_tree, vertices, faces).order) == len(faces)


def test_now_refinement(benchmark, case):
    vertices, faces, scan = case
    with threads.limit_threads(1):
        result = benchmark(refine, scan, vertices + [0.5, 0, 0], faces)
    assert result.costs[-1] < result.costs[0]

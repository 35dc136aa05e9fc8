"""The rasteriser against its plain twin; run with nox -s bench."""

import numpy as np
import pytest
from raster_twin import rasterise_reference

from facekit import threads
from facekit.geometry.cameras import project
from facekit.morphable.builtin import load_builtin
from facekit.render.images import turned_camera
from facekit.render.rasterise import Workspace, rasterise


@pytest.fixture(scope="module")
def head():
    model = load_builtin()
    points = {
        size: project(turned_camera(model.mean, width=size, height=size), model.mean)
        for size in (56, 224, 512)
    }
    threads.set_num_threads(1)
    yield points, model.faces
    threads.set_num_threads(None)


@pytest.mark.benchmark(group="rasterise the built-in model, one thread")
@pytest.mark.parametrize("size", [56, 224, 512])
def test_rasterise(benchmark, head, size):
    points, faces = head
    space = Workspace()
    fragments = benchmark(rasterise, points[size], faces, size, size, workspace=space)
    assert 0.1 < fragments.covered.mean() < 0.9


@pytest.mark.benchmark(group="rasterise the built-in model, one thread")
def test_the_plain_twin(benchmark, head):
    points, faces = head
    # A tenth of the faces: the twin looks at every pixel for every face.
    triangle, _ = benchmark.pedantic(
        rasterise_reference, (points[56], faces[::10], 56, 56), rounds=2
    )
    own = rasterise(points[56], np.ascontiguousarray(faces[::10]), 56, 56)
    np.testing.assert_array_equal(own.triangle, triangle)

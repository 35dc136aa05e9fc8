"""The CUDA kernels, run by Triton's interpreter on the CPU, against the compiled kernels."""

import os

import numpy as np
import pytest
import torch
from differentiable_scene import Scene, gradients, leaf

# Read when the kernels are defined: before their import.
os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip(
    "triton",
    reason="Triton is not installed (PyTorch's CPU builds come without): pip install triton",
)

from facekit.render.differentiable import held as compiled_held
from facekit.render.differentiable import interpolate as compiled_interpolate
from facekit.render.differentiable import normals as compiled_normals
from facekit.render.differentiable import triton_ops
from facekit.render.differentiable.renderer import open_renderer
from facekit.render.differentiable.topology import Topology

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


def random_soup(seed, count=40, size=18):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-5, size + 5, (1, count, 3))
    points[:, ::3, :2] = np.rint(points[:, ::3, :2])
    points[..., 2] = rng.uniform(200, 900, count)
    points[:, ::11, 2] = -5
    faces = rng.integers(0, count, (2 * count, 3)).astype(np.int32)
    return torch.from_numpy(points), Topology(faces, count)


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_faces_are_those_of_the_rasteriser(seed, cull):
    points, topology = random_soup(seed)
    ours = triton_ops.hold(points, topology, 18, 17, cull=cull)
    expected = compiled_held.hold(points, topology, 18, 17, cull=cull)
    np.testing.assert_array_equal(ours.triangles_image(), expected.triangles_image())
    assert len(ours.pixels) > 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_equal_the_compiled_kernels(dtype):
    scene = Scene(rows=7, columns=9, size=14, dtype=dtype)
    held, topology = scene.held(), scene.topology
    cases = [
        (
            (triton_ops.vertex_normals, compiled_normals.vertex_normals),
            (scene.vertices,),
            (topology,),
        ),
        (
            (triton_ops.interpolate, compiled_interpolate.interpolate),
            (scene.points(), scene.albedo),
            (held, topology),
        ),
    ]
    for functions, tensors, rest in cases:
        results = []
        for function in functions:
            leaves = [leaf(t) for t in tensors]
            value = function(*leaves, *rest)
            results.append([value, *gradients(value, leaves)])
        for got, want in zip(*results, strict=True):
            size = max(float(want.detach().abs().max()), 1.0)
            torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE[dtype] * size)


def test_the_renderer_equals_the_compiled_one():
    scene = Scene(rows=7, columns=9, size=14, dtype=torch.float32)
    given = (scene.vertices, scene.intrinsics, scene.albedo, scene.topology, 14, 12)
    ours, expected = (open_renderer(name).render(*given) for name in ("triton", "numba"))
    torch.testing.assert_close(ours.triangle, expected.triangle)
    torch.testing.assert_close(ours.attributes, expected.attributes, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.coverage, expected.coverage, atol=1e-4, rtol=0)


def test_sums_by_vertex_are_in_the_rows_order_and_leave_out_nobody():
    rows = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    vertex = torch.randint(0, 150, (300,), generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(170, 2)
    for row, v in zip(rows, vertex.tolist(), strict=True):
        expected[v] += row
    assert torch.equal(triton_ops.add_by_vertex(rows, vertex, 170), expected)


def test_nothing_to_draw():
    topology = Topology(np.zeros((0, 3), np.int32), 3)
    points = torch.ones(1, 3, 3)
    held = triton_ops.hold(points, topology, 4, 5)
    assert held.shape == (1, 5, 4)
    assert triton_ops.interpolate(points, points, held, topology).shape == (0, 3)
    assert (triton_ops.vertex_normals(points, topology) == 0).all()

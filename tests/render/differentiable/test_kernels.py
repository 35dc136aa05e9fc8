"""The compiled functions against their plain twins, finite differences and thread counts."""

import numpy as np
import pytest
import torch
from differentiable_scene import Scene, bits, gradients, leaf

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.mesh import vertex_normals as reference_normals
from facekit.render.differentiable import plain
from facekit.render.differentiable.held import hold, hold_triangles
from facekit.render.differentiable.interpolate import interpolate
from facekit.render.differentiable.mesh_photometric import mesh_photometric
from facekit.render.differentiable.normals import vertex_normals
from facekit.render.differentiable.photometric import photometric
from facekit.render.differentiable.project import project
from facekit.render.differentiable.residual import masked_residual
from facekit.render.differentiable.shade import shade
from facekit.render.differentiable.topology import Topology
from facekit.render.interpolate import interpolate as reference_interpolate
from facekit.render.rasterise import Fragments, rasterise
from facekit.render.shade import sh_shading

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def cases(scene):
    """Name, fused and plain function of leaves, the leaves."""
    held, top, points = scene.held(), scene.topology, scene.points()
    normals = plain.vertex_normals(scene.vertices, top)
    seen = plain.interpolate(points, torch.cat([normals, scene.albedo], -1), held, top)
    colours = plain.shade(seen[:, :3], seen[:, 3:], scene.light, held)
    image, mask = scene.image, scene.mask
    return {
        "project": (project, plain.project, (scene.vertices, scene.intrinsics)),
        "normals": (
            lambda v: vertex_normals(v, top),
            lambda v: plain.vertex_normals(v, top),
            (scene.vertices,),
        ),
        "interpolate": (
            lambda p, a: interpolate(p, a, held, top),
            lambda p, a: plain.interpolate(p, a, held, top),
            (points, torch.cat([normals, scene.albedo[..., :2]], -1)),
        ),
        "shade": (
            lambda n, a, light: shade(n, a, light, held),
            lambda n, a, light: plain.shade(n, a, light, held),
            (seen[:, :3], seen[:, 3:], scene.light),
        ),
        "residual": (
            lambda c: masked_residual(c, image, mask, held),
            lambda c: plain.masked_residual(c, image, mask, held),
            (colours,),
        ),
        "photometric": (
            lambda p, n, a, light: photometric(p, n, a, light, image, mask, held, top),
            lambda p, n, a, light: plain.photometric(p, n, a, light, image, mask, held, top),
            (points, normals, scene.albedo, scene.light),
        ),
        "mesh": (
            lambda v, k, a, light: mesh_photometric(v, k, a, light, image, mask, top),
            lambda v, k, a, light: plain.mesh_photometric(v, k, a, light, image, mask, top),
            (scene.vertices, scene.intrinsics, scene.albedo, scene.light),
        ),
    }


NAMES = ["project", "normals", "interpolate", "shade", "residual", "photometric", "mesh"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_equal_the_plain_twins(name, dtype):
    fused, slow, tensors = cases(Scene(dtype=dtype))[name]
    ours, twins = [leaf(t) for t in tensors], [leaf(t) for t in tensors]
    value, expected = fused(*ours), slow(*twins)
    assert value.dtype == dtype
    pairs = [(value, expected)]
    pairs += zip(gradients(value, ours), gradients(expected, twins), strict=True)
    for got, want in pairs:
        scale = float(want.detach().abs().max())
        torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE[dtype] * max(scale, 1))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(name):
    fused, _, tensors = cases(Scene(rows=5, columns=6, size=9))[name]
    # Millimetres and pixels: a step of a millionth of a unit suits all.
    assert torch.autograd.gradcheck(
        fused, tuple(leaf(t) for t in tensors), eps=1e-6, atol=2e-6, rtol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_no_bit(name, dtype, monkeypatch):
    monkeypatch.setattr("facekit.render.differentiable.held._RUN", 40)
    monkeypatch.setattr("facekit.render.differentiable.mesh_photometric._BAND", 40)
    for module in ("normals", "project", "runs", "mesh_photometric"):
        for limit in ("_MIN_ITEMS", "_MIN_VERTICES", "_MIN_ROWS"):
            path = f"facekit.render.differentiable.{module}.{limit}"
            monkeypatch.setattr(path, 7, raising=False)
    fused, _, tensors = cases(Scene(batch=3, dtype=dtype))[name]
    results = []
    for count in (1, 2, 5):
        with threads.limit_threads(count):
            leaves = [leaf(t) for t in tensors]
            value = fused(*leaves)
            results.append([bits(value), *map(bits, gradients(value, leaves))])
    assert results[0] == results[1] == results[2]


def test_normals_equal_the_library_and_point_outwards():
    scene = Scene(dtype=torch.float32)
    normals = vertex_normals(scene.vertices, scene.topology)
    expected = reference_normals(scene.vertices.numpy(), scene.topology.faces)
    np.testing.assert_allclose(normals.numpy(), expected, atol=1e-5)
    centre = scene.vertices.mean(1, keepdim=True)
    assert ((scene.vertices - centre) * normals).sum(-1).min() > 0


def test_interpolation_equals_the_rasteriser_and_reproduces_linear_functions():
    scene = Scene(batch=1)
    points, held = scene.points(), scene.held()
    fragments = rasterise(points[0].numpy(), scene.topology.faces, scene.size, scene.size)
    np.testing.assert_array_equal(held.triangles_image()[0], fragments.triangle)
    own = held.to_image(interpolate(points, scene.vertices, held, scene.topology))[0].numpy()
    values = scene.vertices[0].numpy()
    expected = reference_interpolate(
        Fragments(fragments.triangle, fragments.barycentric), scene.topology.faces, values
    )
    np.testing.assert_allclose(own, expected, atol=2e-3)
    # A camera-frame place seen at a pixel projects to that pixel.
    back = plain.project(torch.from_numpy(own[fragments.covered])[None], scene.intrinsics)[0]
    y, x = np.nonzero(fragments.covered)
    np.testing.assert_allclose(back[:, :2].numpy(), np.stack([x, y], 1), atol=1e-9)


def test_shading_equals_the_library():
    scene = Scene(batch=1, dtype=torch.float32)
    held = scene.held()
    normals = torch.randn(len(held.pixels), 3, generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(normals)
    unit = torch.nn.functional.normalize(normals, dim=-1).numpy()
    expected = sh_shading(unit, scene.light[0].numpy())
    np.testing.assert_allclose(shade(normals, ones, scene.light, held), expected, atol=1e-5)


def test_the_residual_of_a_picture_of_itself_is_the_root_of_epsilon():
    scene = Scene()
    held = scene.held()
    colours = torch.rand(len(held.pixels), 3, dtype=torch.float64)
    image = held.to_image(colours)
    ones = torch.ones_like(scene.mask)
    value = masked_residual(colours, image, ones, held, epsilon=1e-4)
    np.testing.assert_allclose(value, 1e-2, rtol=1e-12)
    shifted = masked_residual(colours + 3, image, ones, held, epsilon=1e-12)
    np.testing.assert_allclose(shifted, np.sqrt(27), rtol=1e-12)


def test_pictures_and_their_background_have_gradients():
    scene = Scene()
    held = scene.held()
    values = leaf(torch.rand(len(held.pixels), 2, dtype=torch.float64))
    behind = leaf(torch.rand(2, scene.size, scene.size, 2, dtype=torch.float64))
    picture = held.to_image(values, behind)
    to_values, to_behind = torch.autograd.grad(picture.sum(), (values, behind))
    assert (to_values == 1).all()
    covered = torch.from_numpy(held.triangles_image() >= 0)
    assert (to_behind[covered] == 0).all()
    assert (to_behind[~covered] == 1).all()


def test_an_image_that_sees_nothing():
    scene = Scene()
    scene.vertices[1, :, 0] += 5000
    held, points = scene.held(), leaf(scene.points())
    assert held.offsets[1] == held.offsets[2] > 0
    normals = vertex_normals(scene.vertices, scene.topology)
    value = photometric(
        points, normals, scene.albedo, scene.light, scene.image, scene.mask, held, scene.topology
    )
    assert value[1] == 0
    (gradient,) = torch.autograd.grad(value.sum(), points)
    assert (gradient[1] == 0).all()
    assert gradient[0].abs().max() > 0


def test_a_mesh_without_faces_or_area():
    none = Topology(np.zeros((0, 3), np.int32), 4)
    flat = Topology(np.array([[0, 1, 2]], np.int32), 4)
    vertices = leaf(torch.zeros(1, 4, 3, dtype=torch.float64) + 5)
    for topology in (none, flat):
        normals = vertex_normals(vertices, topology)
        assert (normals == 0).all()
        (gradient,) = torch.autograd.grad(normals.sum(), vertices)
        assert (gradient == 0).all()
    held = hold(vertices, none, 8, 8)
    assert len(held.pixels) == 0
    assert interpolate(vertices, vertices, held, none).shape == (0, 3)
    forced = hold_triangles(np.zeros((1, 2, 2), np.int32))
    seen = interpolate(vertices, vertices, forced, flat)
    assert (seen == 5).all()
    (gradient,) = torch.autograd.grad(seen.sum(), vertices)
    np.testing.assert_array_equal(gradient[0].sum(1), [12, 0, 0, 0])


def test_a_masked_picture_is_worth_nothing():
    scene = Scene()
    held = scene.held()
    colours = leaf(torch.rand(len(held.pixels), 3, dtype=torch.float64))
    value = masked_residual(colours, scene.image, torch.zeros_like(scene.mask), held)
    assert (value == 0).all()
    assert (torch.autograd.grad(value.sum(), colours)[0] == 0).all()


def test_rejections():
    scene = Scene()
    held, points, top = scene.held(), scene.points(), scene.topology
    with pytest.raises(InputError, match=r"vertices: expected shape \(\*, \d+, 3\)"):
        vertex_normals(scene.vertices[:, 1:], top)
    with pytest.raises(InputError, match="expected a torch tensor, got ndarray"):
        vertex_normals(scene.vertices.numpy(), top)
    with pytest.raises(InputError, match=r"float32 or float64, got torch\.int64"):
        project(scene.vertices.long(), scene.intrinsics)
    with pytest.raises(InputError, match="one dtype, got points"):
        interpolate(points, scene.albedo.float(), held, top)
    with pytest.raises(InputError, match=r"names face \d+ but there are 5"):
        interpolate(points, scene.albedo, held, Topology(top.faces[:5], top.num_vertices))
    with pytest.raises(InputError, match="light: expected shape"):
        shade(torch.zeros(len(held.pixels), 3), torch.zeros(len(held.pixels), 3), points, held)
    with pytest.raises(InputError, match="epsilon: expected a positive number"):
        masked_residual(
            torch.zeros(len(held.pixels), 3, dtype=torch.float64), scene.image, scene.mask, held,
            epsilon=0.0,
        )  # fmt: skip
    with pytest.raises(InputError, match="mask: expected shape"):
        masked_residual(torch.zeros(len(held.pixels), 3).double(), scene.image, scene.image, held)
    with pytest.raises(InputError, match="2\\^31 pixels"):
        hold(points, top, 1 << 16, 1 << 15)


def test_pictures_that_see_no_mesh_or_part_of_it_are_compared_as_the_twin_does():
    scene = Scene(batch=3)
    scene.intrinsics[0, :2, 2] += 500  # beside the picture
    scene.intrinsics[1, 1, 2] -= scene.size / 2  # its upper half cut off
    behind = scene.vertices.clone()
    behind[2, 3] = torch.tensor([0.0, 0.0, -5.0])  # faces at one vertex reach behind the camera
    inputs = (behind, scene.intrinsics, scene.albedo, scene.light)
    results = []
    for function in (mesh_photometric, plain.mesh_photometric):
        leaves = [leaf(t) for t in inputs]
        value = function(*leaves, scene.image, scene.mask, scene.topology)
        results.append([value, *gradients(value, leaves)])
    assert float(results[0][0][0].detach()) == 0
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_a_whole_mesh_is_checked_as_its_parts_are():
    scene = Scene(batch=2)
    good = (scene.vertices, scene.intrinsics, scene.albedo, scene.light, scene.image, scene.mask)
    for position, wrong in (
        (0, scene.vertices[:, :-1]),
        (1, scene.intrinsics[:1]),
        (2, scene.albedo.float()),
        (3, scene.light[:, :4]),
        (4, scene.image[..., :2]),
        (5, scene.mask[:, 1:]),
    ):
        given = [*good[:position], wrong, *good[position + 1 :]]
        with pytest.raises(InputError):
            mesh_photometric(*given, scene.topology)
    with pytest.raises(InputError, match="epsilon"):
        mesh_photometric(*good, scene.topology, epsilon=0.0)

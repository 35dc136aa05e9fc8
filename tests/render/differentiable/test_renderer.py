import sys

import pytest
import torch
from differentiable_scene import Scene, gradients, leaf

from facekit.errors import InputError, MissingDependencyError, UsageError
from facekit.render.differentiable import renderer as module
from facekit.render.differentiable.plain import project
from facekit.render.differentiable.renderer import NAMES, front_faces, open_renderer
from facekit.render.differentiable.with_nvdiffrast import clip_space


def scene_of(size=28):
    return Scene(rows=15, columns=22, size=size, dtype=torch.float32)


def draw(renderer, scene, device="cpu", **options):
    """The rendering and its gradients to vertices, intrinsics and attributes."""
    given = (scene.vertices, scene.intrinsics, scene.albedo)
    leaves = [leaf(tensor.to(device)) for tensor in given]
    shape = (scene.topology, scene.size, scene.size - 4)
    result = renderer.render(*leaves, *shape, **options)
    both = torch.cat([result.attributes, result.coverage[..., None]], -1)
    return result, [g.cpu() for g in gradients(both, leaves)]


def test_the_compiled_renderer_equals_the_plain_one():
    scene = scene_of()
    behind = torch.tensor([0.1, 0.7, 0.3])
    ours, to_ours = draw(open_renderer("numba"), scene, background=behind)
    plain, to_plain = draw(open_renderer("torch"), scene, background=behind)
    assert ours.attributes.shape == (2, 24, 28, 3)
    assert ours.triangle.dtype == torch.int64
    torch.testing.assert_close(ours.triangle, plain.triangle)
    torch.testing.assert_close(ours.attributes, plain.attributes, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.coverage, plain.coverage, atol=1e-5, rtol=0)
    for got, want in zip(to_ours, to_plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4 * float(want.abs().max()), rtol=1e-4)


def test_what_is_drawn_where():
    scene = scene_of()
    result, _ = draw(open_renderer(), scene, background=torch.tensor([0.1, 0.7, 0.3]))
    empty = (result.triangle < 0) & (result.coverage == 0)
    full = (result.triangle >= 0) & (result.coverage == 1)
    assert empty.sum() > 100
    assert full.sum() > 100
    shown = result.attributes[empty].detach()
    torch.testing.assert_close(shown, torch.tensor([[0.1, 0.7, 0.3]]).expand_as(shown))
    blended = ~empty & ~full
    assert 20 < blended.sum() < 200
    hard, _ = draw(open_renderer(), scene, antialias=False)
    assert set(hard.coverage.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(hard.triangle, result.triangle)
    torch.testing.assert_close(hard.attributes[full], result.attributes[full])


def test_coverage_has_no_gradient_without_antialiasing():
    scene = scene_of()
    vertices = leaf(scene.vertices)
    drawn = open_renderer().render(
        vertices, scene.intrinsics, scene.albedo, scene.topology, 20, 20, antialias=False
    )
    assert not drawn.coverage.requires_grad or (
        torch.autograd.grad(drawn.coverage.sum(), vertices)[0].abs().max() == 0
    )


def test_front_faces_are_those_the_rasteriser_may_show():
    scene = scene_of()
    points = project(scene.vertices, scene.intrinsics)
    chosen = front_faces(points, scene.topology)
    drawn, _ = draw(open_renderer(), scene)
    for b in range(2):
        seen = drawn.triangle[b][drawn.triangle[b] >= 0].unique()
        assert set(seen.tolist()) <= set(chosen[b].tolist())
        assert 0.3 < len(chosen[b]) / len(scene.topology.faces) < 0.6


def test_clip_space_puts_the_corners_of_the_picture_at_one():
    points = torch.tensor([[[-0.5, -0.5, 600.0], [19.5, 9.5, 900.0], [9.5, 4.5, 700.0]]])
    clip = clip_space(points, 20, 10)
    flat = clip[0, :, :3] / clip[0, :, 3:]
    torch.testing.assert_close(flat[:, :2], torch.tensor([[-1.0, -1], [1, 1], [0, 0]]))
    assert -1 < flat[0, 2] < flat[2, 2] < flat[1, 2] < 1


def test_names_and_what_is_missing(monkeypatch):
    assert open_renderer("auto").name in ("numba", "triton")
    with pytest.raises(UsageError, match="expected one of auto, numba"):
        open_renderer("opengl")
    monkeypatch.setattr(module, "_has", lambda package: False)
    for name in ("triton", "pytorch3d", "nvdiffrast"):
        assert name in NAMES
        with pytest.raises(MissingDependencyError, match="pip install") as caught:
            open_renderer(name)
        assert caught.value.exit_code == 4


def test_nvdiffrast_needs_a_device(monkeypatch):
    monkeypatch.setattr(module, "_has", lambda package: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependencyError, match="CUDA device"):
        open_renderer("nvdiffrast")


def test_rejections():
    scene, renderer = scene_of(), open_renderer("numba")
    given = (scene.vertices, scene.intrinsics, scene.albedo)
    with pytest.raises(InputError, match="attributes: expected shape"):
        renderer.render(*given[:2], scene.albedo[:, 1:], scene.topology, 8, 8)
    with pytest.raises(InputError, match="intrinsics: expected shape"):
        renderer.render(given[0], given[1][:1], given[2], scene.topology, 8, 8)
    with pytest.raises(InputError, match=r"background: expected a shape that broadcasts to \(2, 8"):
        renderer.render(*given, scene.topology, 8, 8, background=torch.zeros(5))


def test_torch_stays_out_of_the_default_path():
    code = "import facekit.render.images, facekit.fit.photo, sys; print('torch' in sys.modules)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.peers
@pytest.mark.parametrize("name", ["pytorch3d", "nvdiffrast"])
def test_peers_agree(name):
    """Same faces but at ties, same colours inside, same gradient of the inside."""
    pytest.importorskip(name)
    if name == "nvdiffrast" and not torch.cuda.is_available():
        pytest.skip("nvdiffrast needs a CUDA device")
    scene = scene_of()
    device = "cuda" if name == "nvdiffrast" else "cpu"
    ours, to_ours = draw(open_renderer("numba"), scene, antialias=False)
    theirs, to_theirs = draw(open_renderer(name), scene, device, antialias=False)
    same = ours.triangle == theirs.triangle.cpu()
    assert same.float().mean() > 0.995
    difference = (ours.attributes - theirs.attributes.cpu()).abs()
    assert float(difference[same].max()) < 1e-3
    for got, want in zip(to_theirs, to_ours, strict=True):
        size = want.norm()
        assert float((got - want).norm() / size) < 0.05
    soft, _ = draw(open_renderer("numba"), scene)
    other, _ = draw(open_renderer(name), scene, device)
    assert float((soft.coverage - other.coverage.cpu()).abs().mean()) < 0.01

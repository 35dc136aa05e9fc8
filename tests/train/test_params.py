import numpy as np
import pytest
import torch
from drawn_faces import SMALL, Drawn, drawn_params

from facekit.detect.landmark_sets import FLIP68
from facekit.detect.parameters import ParameterReader, mirrored_vector, mirrors, open_reader
from facekit.detect.session import open_file
from facekit.errors import InputError
from facekit.geometry.crop import square_crop
from facekit.geometry.crop_pose import CropPose, decode_pose
from facekit.geometry.mesh import vertex_normals
from facekit.learn.loop import RunInfo, train
from facekit.morphable import load_model
from facekit.networks.params import ParameterNetwork
from facekit.render.shade import sh_shading
from facekit.train.params import (
    ParamsTask,
    coefficients_in_crop,
)
from facekit.train.params_export import error_statistics, export_params, load_network
from facekit.train.params_losses import FaceGeometry, shape_metric


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


def crop_of(params, roll=0.2):
    middle = params["landmarks_2d"].mean(0)
    return square_crop(middle, 1.6 * np.ptp(params["landmarks_2d"][:, 1]), size=64, roll=roll)


def test_landmarks_lie_where_the_coefficients_put_them(model):
    geometry = FaceGeometry(model)
    for number in range(4):
        params = drawn_params(model, number)
        crop = crop_of(params)
        values, distance = coefficients_in_crop(geometry.layout, params, crop, size=64)
        found = geometry.places(
            torch.from_numpy(values)[None], torch.tensor([distance], dtype=torch.float32)
        )[0, :68].numpy()
        expected = (crop.apply(params["landmarks_2d"]) + 0.5) / 64 - 0.5
        # A crop's rays are taken as parallel to its middle's: exact but for the angle squared.
        np.testing.assert_allclose(found, expected, atol=0.012)


def test_the_mirrored_vector_is_the_mirrored_pictures(model):
    geometry = FaceGeometry(model)
    params = drawn_params(model, 5)
    values, distance = coefficients_in_crop(geometry.layout, params, crop_of(params), size=64)
    turned = mirrored_vector(geometry.layout, values, mirrors(model))
    both = torch.from_numpy(np.stack([values, turned]))
    places = geometry.places(both, torch.full((2,), distance)).numpy()[:, :68]
    expected = (places[0] * [-1, 1])[FLIP68]
    # The landmark map itself is symmetric to a fraction of a millimetre.
    np.testing.assert_allclose(places[1], expected, atol=0.006)
    again = mirrored_vector(geometry.layout, turned, mirrors(model))
    np.testing.assert_allclose(again, values, atol=1e-4)


def test_the_pose_comes_back_from_the_vector(model):
    geometry = FaceGeometry(model)
    params = drawn_params(model, 6)
    crop = crop_of(params, roll=-0.4)
    values, _ = coefficients_in_crop(geometry.layout, params, crop, size=64)
    parts = geometry.layout.unpack(values)
    pose = CropPose(parts["rotation"], parts["translation"])
    rotation, translation = decode_pose(pose, params["intrinsics"], crop, size=64)
    np.testing.assert_allclose(rotation, params["rotation"], atol=1e-6)
    np.testing.assert_allclose(translation, params["translation_mm"], atol=1e-2)


def test_the_light_turns_with_the_crop(model):
    params = drawn_params(model, 7)
    crop = crop_of(params, roll=0.6)
    layout = FaceGeometry(model).layout
    values, _ = coefficients_in_crop(layout, params, crop, size=64)
    normal = np.array([[0.6, 0.0, -0.8]])
    turned = normal.copy()
    turned[:, :2] = normal[:, :2] @ crop.rotation.T
    np.testing.assert_allclose(
        sh_shading(turned, layout.unpack(values)["light"]),
        sh_shading(normal, params["light"]),
        atol=1e-5,
    )


def test_the_metric_is_the_squared_distance_after_alignment(model):
    metric = shape_metric(model, model.identity_modes)
    assert np.linalg.eigvalsh(metric).min() > -1e-9
    rows = model.regions["scan"]
    # A mode that only grows the head costs nothing.
    grown = model.mean[None].astype(np.float64) - model.mean[rows].mean(0)
    assert shape_metric(model, grown)[0, 0] == pytest.approx(0, abs=1e-9)
    first = np.flatnonzero(rows)[0]
    bump = np.zeros((1, model.num_vertices, 3))
    bump[0, first] = 30.0 * vertex_normals(model.mean, model.faces)[first]
    expected = 1.1 * 900.0 / rows.sum()
    assert shape_metric(model, bump)[0, 0] == pytest.approx(expected, rel=0.02)


def test_batches_are_functions_of_seed_and_step(model):
    task = ParamsTask(SMALL, model, Drawn(model, 6), Drawn(model, 2, first=50))
    one, two = task.batch(3), task.batch(3)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.images, task.batch(4).images)


def test_perfect_coefficients_have_no_loss(model):
    task = ParamsTask(SMALL, model, Drawn(model, 6), Drawn(model, 2, first=50))
    batch = next(task.validation_batches())

    class Perfect(torch.nn.Module):
        def forward(self, images):
            from facekit.networks.params import ParameterOutput

            return ParameterOutput(
                batch.coefficients,
                torch.zeros_like(batch.coefficients),
                torch.full_like(batch.presence, 20.0),
            )

    figures = task.evaluate(Perfect())
    for name in ("identity", "expression", "points", "pose", "shape_mm", "light"):
        assert figures[name] == pytest.approx(0, abs=1e-6)


def test_deviations_of_an_identity_are_learned_where_it_is_known(model):
    task = ParamsTask(SMALL, model, Drawn(model, 6), Drawn(model, 2, first=50))
    batch = next(task.validation_batches())
    batch = batch._replace(certainty=torch.tensor([1.0, 0.6]))
    log_sigma = torch.zeros_like(batch.coefficients, requires_grad=True)
    values = batch.coefficients + 0.3
    task._losses(values, log_sigma, batch.presence, batch)["spread"].backward()
    identity = task.layout.part("identity")
    assert (log_sigma.grad[0] != 0).all()
    assert (log_sigma.grad[1, identity] == 0).all()
    assert (log_sigma.grad[1, identity.stop :] != 0).all()


def test_errors_are_measured_on_known_identities(model):
    """A fit that the network guesses says nothing of how near it comes to people."""
    task = ParamsTask(SMALL, model, Drawn(model, 6), Drawn(model, 8, first=50))
    network = task.build_model().eval()
    whole, _ = error_statistics(network, task, model)
    batches = list(task.validation_batches())
    sure = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    for batch in batches:
        batch.certainty[:] = sure
        # What is not known is fitted perfectly.
        said = network(batch.images.float()).coefficients.detach()
        batch.coefficients[4:] = said[4:]
    task.validation_batches = lambda: iter(batches)
    told, _ = error_statistics(network, task, model)
    identity = task.layout.part("identity")
    assert np.abs(told - whole)[identity].max() < 1.0
    for batch in batches:
        batch.certainty[:] = 1.0
    guessed, _ = error_statistics(network, task, model)
    assert guessed[identity].mean() < told[identity].mean() - 0.2


def test_trained_exported_and_read(model, tmp_path):
    faces = Drawn(model, 8)
    task = ParamsTask(SMALL, model, faces, Drawn(model, 4, first=50))
    network = task.build_model()
    info = RunInfo(
        "params",
        {name: getattr(SMALL, name) for name in ("size", "patch", "widths", "depths", "hidden")},
        layout=task.layout.document(),
        crop="five-v1",
        model_sha256=model.sha256,
    )
    train(task, network, SMALL.loop, tmp_path / "run", info)
    path = tmp_path / "params.onnx"
    differences = export_params(tmp_path / "run" / "best.pth", path, task, model)
    assert max(differences.values()) < 5e-3
    reader = open_reader(path, model)
    assert open_reader("none", model) is None
    face = faces.face(0)
    five = face.params["landmarks_2d"][[36, 45, 30, 48, 54]]
    reading = reader.read(face.image, five)
    assert reading.parts["identity"].shape == (model.num_identity,)
    assert np.linalg.eigvalsh(reading.covariance).min() > 0
    flipped = reader.read(np.ascontiguousarray(face.image[:, ::-1]), _mirrored_five(five))
    turn = mirrors(model)["identity"]
    # The mean of a crop and its mirror image knows no left and right.
    np.testing.assert_allclose(
        turn @ reading.parts["identity"], flipped.parts["identity"], atol=2e-3
    )
    network, _ = load_network(tmp_path / "run" / "best.pth")
    assert network.size == 64
    other = load_other(model)
    with pytest.raises(InputError, match="train one for this model"):
        ParameterReader(open_file(path), other, where=str(path))


def test_another_scale_changes_nothing_that_is_said():
    torch.manual_seed(0)
    network = ParameterNetwork(5, size=64, patch=4, widths=(4, 4), depths=(1, 1), hidden=6).eval()
    torch.nn.init.normal_(network.coefficients.weight)
    network.set_scale(torch.randn(5), torch.rand(5) + 0.5)
    images = torch.rand(2, 3, 64, 64) * 255
    before = network(images)
    network.rescaled(torch.randn(5), torch.rand(5) + 0.5)
    for one, two in zip(before, network(images), strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def _mirrored_five(five):
    turned = five * [-1, 1] + [255, 0]
    return turned[[1, 0, 2, 4, 3]]


def load_other(model):
    import dataclasses

    return dataclasses.replace(model, mean=model.mean + np.float32(1))

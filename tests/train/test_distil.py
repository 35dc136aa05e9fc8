import dataclasses

import pytest
import torch
from drawn_faces import SMALL, Drawn

from facekit.errors import UsageError
from facekit.learn.loop import RunInfo, train
from facekit.morphable import load_model
from facekit.networks.params import ParameterExport, ParameterNetwork, ParameterOutput
from facekit.train.distil import (
    STUDENTS,
    DistilConfig,
    DistilTask,
    alike,
    student_config,
)


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


@pytest.fixture(scope="module")
def task(model):
    torch.manual_seed(0)
    small = {field.name: getattr(SMALL, field.name) for field in dataclasses.fields(SMALL)}
    layout_length = model.num_identity + model.num_expression + model.num_albedo + 6 + 3 + 27
    teacher = ParameterNetwork(
        layout_length, size=96, patch=4, widths=(4, 8, 8, 8), depths=(1, 1, 1, 1), hidden=12
    )
    return DistilTask(
        DistilConfig(**small), model, Drawn(model, 6), Drawn(model, 2, first=50), teacher
    )


def test_training_crops_are_the_larger_networks_and_validation_the_students(task):
    assert task.batch(0).images.shape[-1] == 96
    assert next(task.validation_batches()).images.shape[-1] == 64


def test_who_repeats_the_teacher_has_no_loss_against_it(task):
    batch = task.batch(0)

    class Parrot(torch.nn.Module):
        def seen(self, images):
            return task.teacher.seen(batch.images.float())

        def read(self, units):
            return task.teacher.read(units)

    parrot = Parrot()
    losses = task.loss(parrot, batch)
    for name in ("identity", "expression", "points", "pose"):
        assert losses[f"teacher_{name}"].item() == pytest.approx(0, abs=1e-6)
    assert losses["likeness"].item() == pytest.approx(0, abs=1e-9)


def test_a_teacher_far_from_the_label_counts_less(task):
    batch = task.batch(1)
    sigma = torch.zeros_like(batch.coefficients)
    presence = batch.presence
    near = ParameterOutput(batch.coefficients, sigma, presence)
    far = ParameterOutput(batch.coefficients + 3, sigma, presence)
    assert torch.allclose(task.trust(near, batch), torch.ones(len(presence)))
    known = batch._replace(certainty=torch.ones_like(batch.certainty))
    assert torch.allclose(task.trust(far, known), torch.full((len(presence),), 0.1))
    unsure = batch._replace(certainty=torch.zeros_like(batch.certainty))
    assert torch.allclose(task.trust(far, unsure), torch.ones(len(presence)))


def test_likeness_does_not_depend_on_the_units_axes():
    torch.manual_seed(1)
    units = torch.randn(6, 4)
    turn, _ = torch.linalg.qr(torch.randn(4, 4))
    assert float(alike(units, 2.5 * units @ turn)) == pytest.approx(0, abs=1e-10)
    assert float(alike(units, torch.randn(6, 9))) > 0.01


def test_a_student_learns(task, tmp_path):
    network = task.build_model()
    record = train(task, network, SMALL.loop, tmp_path / "run", RunInfo("params", {}))
    assert record["score"] > 0 and record["step"] == 3


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_exports_to_the_same_function(name):
    config = student_config(name)
    torch.manual_seed(0)
    network = ParameterNetwork(
        20,
        size=config.size,
        patch=config.patch,
        widths=config.widths,
        depths=config.depths,
        hidden=config.hidden,
        mobilenet=config.mobilenet,
    )
    torch.nn.init.normal_(network.coefficients.weight)
    network.set_scale(torch.randn(20), torch.rand(20) + 0.1)
    size = config.size
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.momentum = 1.0
    network(torch.rand(8, 3, size, size) * 255)
    network.eval()
    image = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(image.permute(0, 3, 1, 2).float())
        found = ParameterExport(network)(image)
    torch.testing.assert_close(found[0], expected.coefficients, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], expected.log_sigma, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[2], torch.sigmoid(expected.presence), atol=1e-4, rtol=1e-3)


def test_an_unknown_student_is_named():
    with pytest.raises(UsageError, match="patch4-s"):
        student_config("giant")

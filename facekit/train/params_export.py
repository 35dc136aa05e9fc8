"""The parameter network's file: its ONNX, with the correlation of its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from facekit.detect.parameters import SCHEMA, encode_matrix, mirrored_vector, mirrors
from facekit.errors import InputError
from facekit.geometry.crop import CROP_ID
from facekit.learn.checkpoint import load_checkpoint
from facekit.morphable.layout import basis_sha256, layout_of_document
from facekit.morphable.model import MorphableModel
from facekit.networks.params import ParameterExport, ParameterNetwork
from facekit.train.onnx import export_crop_network
from facekit.train.params import ParamsTask

# Share of the correlation that is taken for chance: a few hundred faces show a hundred and more
# coefficients.
_CHANCE = 0.05


def load_network(checkpoint: Path) -> tuple[ParameterNetwork, dict]:
    """Return a checkpoint's network with its averaged weights, and the checkpoint."""
    contents = load_checkpoint(checkpoint, kind="params")
    layout = layout_of_document(contents["layout"], str(checkpoint))
    # Checkpoints of patches alone say nothing of the other kind.
    config = {"mobilenet": 0.0, **contents["config"]}
    names = ("size", "patch", "widths", "depths", "hidden", "mobilenet")
    network = ParameterNetwork(layout.length, **{name: config[name] for name in names})
    network.load_state_dict(contents["ema"]["values"])
    return network.eval(), contents


def error_statistics(
    network: ParameterNetwork, task: ParamsTask, model: MorphableModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return how a network's log deviations must shift (C,), and its errors' correlation (C, C).

    Measured on validation crops, on the mean of each crop's and its mirror's coefficients; on
    those of known identity, where there are any.
    """
    mirror = mirrors(model)
    errors, known = [], []
    for batch in task.validation_batches():
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            straight, turned = network(images), network(images.flip(3))
        values = straight.coefficients.double().numpy()
        back = turned.coefficients.double().numpy()
        back = np.stack([mirrored_vector(task.layout, row, mirror) for row in back])
        error = 0.5 * (values + back) - batch.coefficients.numpy()
        sigma = torch.exp(0.5 * (straight.log_sigma + turned.log_sigma)).double().numpy()
        errors.append(error / sigma)
        known.append(batch.certainty.numpy() >= 1)
    relative, told = np.concatenate(errors), np.concatenate(known)
    if told.any():
        relative = relative[told]
    second = relative.T @ relative / len(relative)
    deviation = np.sqrt(np.maximum(np.diag(second), 1e-12))
    correlation = second / np.outer(deviation, deviation)
    correlation = (1 - _CHANCE) * correlation + _CHANCE * np.eye(len(correlation))
    return np.log(deviation), correlation


def export_params(
    checkpoint: Path,
    path: Path,
    task: ParamsTask,
    model: MorphableModel,
    *,
    network: ParameterNetwork | None = None,
) -> dict[str, float]:
    """Write a checkpoint's averaged weights as ONNX; see ``export_crop_network``.

    Input ``image`` uint8 (N, S, S, 3) RGB, a ``five-v1`` crop; outputs ``coefficients`` (N, C),
    ``log_sigma`` (N, C) and ``presence`` (N, 1) in [0, 1]. The metadata hold the layout, the
    model, the errors' correlation, which with the deviations makes their covariance, and the
    deviations of the identities that it was trained on.

    Args:
        checkpoint: of the network.
        path: the file.
        task: whose validation faces the deviations are measured on.
        model: of the coefficients.
        network: what the checkpoint's became, written in its place; it is changed.

    Raises:
        InputError: the checkpoint is of another model.
    """
    trained, contents = load_network(checkpoint)
    network = trained if network is None else network
    if contents["model_sha256"] != model.sha256:
        raise InputError(f"{checkpoint}: was trained for another model than {model.name}")
    shift, correlation = error_statistics(network, task, model)
    with torch.no_grad():
        network.spread.bias.add_(torch.from_numpy(shift).float())
    return export_crop_network(
        ParameterExport(network),
        network.size,
        path,
        outputs=ParameterExport.OUTPUTS,
        metadata={
            "facekit.schema": SCHEMA,
            "facekit.layout": contents["layout"],
            "facekit.crop": CROP_ID,
            "facekit.model": model.name,
            "facekit.model_sha256": model.sha256,
            "facekit.basis_sha256": basis_sha256(model),
            "facekit.correlation": encode_matrix(correlation),
            "facekit.identity_spread": json.dumps([round(float(s), 3) for s in task.spread()]),
        },
        tolerance=5e-3,
    )

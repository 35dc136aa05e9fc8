"""A parameter network read at run time: a face's coefficients from a crop, with their spread."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.detect.session import Network, open_asset, open_file
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform, compose
from facekit.geometry.crop import CROP_ID, five_crop, warp
from facekit.morphable.builtin import list_assets
from facekit.morphable.layout import (
    CoefficientLayout,
    basis_sha256,
    layout_of_document,
    mirrored_modes,
)
from facekit.morphable.model import MorphableModel
from facekit.render.shade import mirror_light

ASSET = "parameters"
SCHEMA = "facekit.parameter-network/1"
# Rows of the first two rotation columns that change sign in a mirror.
MIRRORED_ROTATION = np.array([1, -1, -1, -1, 1, 1])

# Looks at a face: scale, turn in degrees, and shift in parts of the crop's side; the first is the
# crop itself. As a whole they know no left and right.
VIEWS = (
    (1.0, 0.0, 0.0, 0.0),
    (1.05, 4.0, 0.02, 0.02),
    (1.05, -4.0, -0.02, 0.02),
    (0.95, 4.0, 0.02, -0.02),
    (0.95, -4.0, -0.02, -0.02),
)


class CropReading(NamedTuple):
    """What a network says of one face.

    Attributes:
        parts: the layout's parts, as ``CoefficientLayout.unpack``; ``rotation`` and
            ``translation`` are those of ``geometry.crop_pose``. Together they are the face in the
            picture.
        identity: (K,) the person, of all looks: better than one look's, whose errors go with those
            of its pose.
        covariance: (C, C) of all coefficients.
        presence: in [0, 1], that the crop shows a face.
        crop: image to crop pixels.
    """

    parts: dict[str, np.ndarray]
    identity: np.ndarray
    covariance: np.ndarray
    presence: float
    crop: SimilarityTransform


class ParameterReader:
    """A parameter network of one morphable model.

    Attributes:
        layout: of the coefficients; size: side of the crop.
        correlation: (C, C) of the coefficients' errors.
        identity_spread: (K,) deviation of the identities it was trained on, or None where the file
            does not say.
        fingerprint: hash of the file.

    Args:
        network: the opened file.
        model: what its coefficients belong to.
        where: the file, for messages.

    Raises:
        InputError: the file is no such network, of another crop, or of another model.
    """

    def __init__(self, network: Network, model: MorphableModel, *, where: str) -> None:
        data = network.metadata
        if data.get("facekit.schema") != SCHEMA:
            raise InputError(f"{where}: expected a network of {SCHEMA}")
        if data.get("facekit.crop") != CROP_ID:
            raise InputError(
                f"{where}: expected a network of {CROP_ID} crops, got {data.get('facekit.crop')}"
            )
        if data.get("facekit.basis_sha256") != basis_sha256(model):
            raise InputError(
                f"{where}: the network gives coefficients of {data.get('facekit.model')}, whose "
                f"modes are not those of {model.name}; train one for this model"
            )
        self.layout: CoefficientLayout = layout_of_document(
            json.loads(data["facekit.layout"]), where
        )
        self.size = int(data["facekit.size"])
        self.identity_spread: np.ndarray | None = None
        if "facekit.identity_spread" in data:
            self.identity_spread = np.array(json.loads(data["facekit.identity_spread"]), float)
            if self.identity_spread.shape != (model.num_identity,):
                raise InputError(
                    f"{where}: expected {model.num_identity} deviations of identities, got "
                    f"{self.identity_spread.size}"
                )
        self.correlation = decode_matrix(data["facekit.correlation"], self.layout.length)
        self._network = network
        self.fingerprint = network.sha256
        self._mirror = mirrors(model)

    def read(self, image: np.ndarray, five: np.ndarray) -> CropReading:
        """Return what the network says of one face, looking several times.

        The person is the mean over ``VIEWS`` and their mirror images, since one look errs with
        where its crop happens to lie; everything else is of the crop itself and its mirror image.

        Args:
            image: (H, W, 3) uint8 RGB.
            five: (5, 2) right eye, left eye, nose tip, right and left mouth corner, pixels.
        """
        crop = five_crop(five, size=self.size)
        crops = [crop, *(_moved(crop, view, size=self.size) for view in VIEWS[1:])]
        pictures = np.stack([warp(image, view, size=self.size) for view in crops])
        straight = self._network(image=pictures)
        mirrored = self._network(image=np.ascontiguousarray(pictures[:, :, ::-1]))
        values = straight["coefficients"].astype(np.float64)
        turned = mirrored["coefficients"].astype(np.float64)
        values += np.stack([mirrored_vector(self.layout, v, self._mirror) for v in turned])
        values *= 0.5
        results = (straight, mirrored)
        sigma = np.mean([np.exp(r["log_sigma"].astype(np.float64)) for r in results], axis=(0, 1))
        presence = float(np.mean([r["presence"][0] for r in results]))
        return CropReading(
            self.layout.unpack(values[0]),
            values[:, self.layout.part("identity")].mean(0),
            self.correlation * np.outer(sigma, sigma),
            presence,
            crop,
        )

    def look(self, picture: np.ndarray, crop: SimilarityTransform) -> CropReading:
        """Return what the network says of one picture.

        Args:
            picture: (S, S, 3) uint8 RGB, of the network's size.
            crop: image to the picture's pixels.
        """
        result = self._network(image=picture[None])
        sigma = np.exp(result["log_sigma"][0].astype(np.float64))
        parts = self.layout.unpack(result["coefficients"][0].astype(np.float64))
        return CropReading(
            parts,
            parts["identity"],
            self.correlation * np.outer(sigma, sigma),
            float(result["presence"][0, 0]),
            crop,
        )


def _moved(
    crop: SimilarityTransform, view: tuple[float, float, float, float], *, size: int
) -> SimilarityTransform:
    """Return a crop scaled, turned (degrees) and moved (parts of its side) about its middle."""
    scale, turn_deg, x, y = view
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn, middle = np.array([[cos, -sin], [sin, cos]]), np.full(2, (size - 1) / 2)
    aside = middle + size * np.array([x, y]) - scale * turn @ middle
    return compose(SimilarityTransform(scale, turn, aside), crop)


def open_reader(
    source: str | Path, model: MorphableModel, *, threads: int | None = None
) -> ParameterReader | None:
    """Open a parameter network for a model.

    Args:
        source: ``none``; ``auto``, the shipped one where it is this model's; or an ONNX file.
        model: what its coefficients are to belong to.
        threads: of the network; None takes facekit's own setting.

    Returns:
        The reader; None for ``none``, and for ``auto`` where no shipped network is the model's.

    Raises:
        InputError: the file cannot be read, is no such network, or one of another model.
    """
    if str(source) == "none":
        return None
    if str(source) != "auto":
        return ParameterReader(open_file(Path(source), threads=threads), model, where=str(source))
    if ASSET not in {entry.name for entry in list_assets()}:
        return None
    network = open_asset(ASSET, threads=threads)
    if network.metadata.get("facekit.basis_sha256") != basis_sha256(model):
        return None
    return ParameterReader(network, model, where=ASSET)


def mirrors(model: MorphableModel) -> dict[str, np.ndarray]:
    """Return, for each kind of coefficient, the matrix to those of the mirrored face.

    Raises:
        InputError: the model has no left-right map, or its modes are not symmetric as a whole.
    """
    if model.mirror is None:
        raise InputError(f"model {model.name}: expected a left-right map of its vertices")
    return {
        "identity": mirrored_modes(model.identity_modes, model.mirror),
        "expression": mirrored_modes(model.expression_modes, model.mirror),
        "albedo": mirrored_modes(model.albedo_modes, model.mirror, signs=(1, 1, 1)),
    }


def mirrored_vector(
    layout: CoefficientLayout, values: np.ndarray, mirror: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the coefficients (C,) of a crop mirrored left to right.

    Args:
        layout: of the vector.
        values: (C,).
        mirror: of ``mirrors``.
    """
    parts = layout.unpack(values)
    mirrored = {name: turn @ parts[name] for name, turn in mirror.items()}
    mirrored["rotation"] = parts["rotation"] * MIRRORED_ROTATION
    mirrored["translation"] = parts["translation"] * [-1, 1, 1]
    mirrored["light"] = mirror_light(parts["light"])
    return layout.pack(mirrored)


def encode_matrix(matrix: np.ndarray) -> str:
    """Return a matrix as text: base64 of little-endian float16, row by row."""
    return base64.b64encode(np.asarray(matrix, "<f2").tobytes()).decode()


def decode_matrix(text: str, size: int) -> np.ndarray:
    """Return the (size, size) float64 matrix of ``encode_matrix``.

    Raises:
        InputError: the text has another length.
    """
    values = np.frombuffer(base64.b64decode(text), "<f2")
    if values.size != size * size:
        raise InputError(f"matrix: expected {size * size} values, got {values.size}")
    return values.reshape(size, size).astype(np.float64)

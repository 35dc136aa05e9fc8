"""glTF 2.0 binary (.glb) of heads that move: morph targets and poses with keyframes.

Every head is one mesh with the same morph targets, and a node whose place and turn are animated.
Linear between keyframes; a head that is not there is shrunk to nothing in one step. Units and
frame are those of ``io.gltf``; the camera that saw the heads is at the origin and looks along -z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.gltf import GlbBuilder, SplitMesh


@dataclass(frozen=True, eq=False)
class AnimatedHead:
    """A head and how it moves.

    Attributes:
        name: of its node and mesh.
        vertices: (V, 3) mm, with all weights at 0.
        normals: (V, 3) unit, or None.
        colours: (V, 3) linear RGB, or None.
        times_s: (T,) rising seconds.
        weights: (T, M) of the morph targets.
        rotations: (T, 3, 3), glTF's axes.
        translations: (T, 3) mm.
        shown: (T,) bool: the head is there from this time to the next.
    """

    name: str
    vertices: np.ndarray
    normals: np.ndarray | None
    colours: np.ndarray | None
    times_s: np.ndarray
    weights: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    shown: np.ndarray


def write_animated_glb(
    path: Path,
    heads: Sequence[AnimatedHead],
    split: SplitMesh,
    morph_targets: Sequence[tuple[str, np.ndarray]],
) -> Path:
    """Write moving heads that any glTF viewer and Blender play.

    Args:
        path: file to write.
        heads: who moves; none gives an empty scene.
        split: their topology.
        morph_targets: pairs of name and (V, 3) offsets in mm, of every head.

    Raises:
        InputError: keyframes of unequal number, or times that do not rise.
    """
    builder = GlbBuilder()
    document = builder.document
    nodes: list[dict[str, Any]] = [
        {"name": "millimetres", "scale": [0.001] * 3, "children": []},
    ]
    meshes: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    targets = builder.targets(split.source, [o for _, o in morph_targets]) if heads else []
    triangles = builder.indices(split.faces) if heads else 0
    for head in heads:
        _check(head, len(morph_targets))
        node = len(nodes)
        nodes[0]["children"].append(node)
        nodes.append({"name": head.name, "mesh": len(meshes)})
        meshes.append(_mesh(builder, head, split, targets, triangles, morph_targets))
        times = builder.track(head.times_s, bounds=True)
        scale = np.repeat(head.shown[:, None], 3, axis=1)
        for name, values, how in (
            ("weights", head.weights.reshape(-1), "LINEAR"),
            ("rotation", quaternions(head.rotations), "LINEAR"),
            ("translation", head.translations, "LINEAR"),
            ("scale", scale, "STEP"),
        ):
            if not values.size:
                continue
            sampler = {"input": times, "output": builder.track(values), "interpolation": how}
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": name}})
            samplers.append(sampler)
    skin = {"metallicFactor": 0.0, "roughnessFactor": 0.6}
    document["nodes"] = nodes
    if heads:
        document["materials"] = [{"name": "skin", "pbrMetallicRoughness": skin}]
        document["meshes"] = meshes
        document["animations"] = [{"name": "track", "samplers": samplers, "channels": channels}]
    else:
        del nodes[0]["children"]
    document["scenes"] = [{"nodes": [0]}]
    document["scene"] = 0
    with atomic_path(path) as temporary:
        temporary.write_bytes(builder.finish())
    return path


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Return unit quaternions (T, 4) x y z w of rotations (T, 3, 3), none turning the long way."""
    # Imported here: scipy's rotations take long to load.
    from scipy.spatial.transform import Rotation

    found = Rotation.from_matrix(rotations).as_quat()
    turned = np.sum(found[1:] * found[:-1], axis=1) < 0
    found[1:] *= np.where(np.cumsum(turned) % 2 == 1, -1.0, 1.0)[:, None]
    return found


def _mesh(
    builder: GlbBuilder,
    head: AnimatedHead,
    split: SplitMesh,
    targets: list[dict[str, int]],
    triangles: int,
    morph_targets: Sequence[tuple[str, np.ndarray]],
) -> dict[str, Any]:
    positions = np.asarray(head.vertices, np.float32)[split.source]
    attributes = {"POSITION": builder.vectors(positions, bounds=True)}
    for name, values in (("NORMAL", head.normals), ("COLOR_0", head.colours)):
        if values is not None:
            attributes[name] = builder.vectors(np.asarray(values, np.float32)[split.source])
    primitive = {"attributes": attributes, "indices": triangles, "material": 0, "targets": targets}
    return {
        "name": head.name,
        "primitives": [primitive],
        "weights": [0.0] * len(morph_targets),
        "extras": {"targetNames": [name for name, _ in morph_targets]},
    }


def _check(head: AnimatedHead, count: int) -> None:
    times = check_array(head.times_s, "times", shape=("T",))
    number = len(times)
    if not number or (np.diff(np.asarray(times, np.float32)) <= 0).any():
        raise InputError(f"{head.name}: expected keyframes at rising times, got {number}")
    check_array(head.weights, "weights", shape=(number, count))
    check_array(head.rotations, "rotations", shape=(number, 3, 3))
    check_array(head.translations, "translations", shape=(number, 3))
    check_array(head.shown, "shown", shape=(number,), dtype="bool")

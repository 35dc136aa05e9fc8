"""glTF 2.0 binary (.glb): one textured mesh with named morph targets.

Buffers are in millimetres under a root node with scale 0.001, since glTF demands metres. glTF's
frame is the head frame: +Y up, +Z out of the face. Morph targets are sparse accessors: most
expressions move few vertices.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.types import Mesh

_FLOAT, _UINT, _USHORT = 5126, 5125, 5123
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963


class SplitMesh:
    """A mesh whose vertices were split where their uvs differ, as glTF wants them.

    Made once per topology and reused: only positions change between heads.

    Attributes:
        source: (N,) int32 row of the original vertices.
        uvs: (N, 2) float32 with v down, or None.
        faces: (F, 3) uint32.
    """

    def __init__(self, mesh: Mesh) -> None:
        if mesh.uvs is None or mesh.face_uvs is None:
            self.source = np.arange(len(mesh.vertices), dtype=np.int32)
            self.uvs = None
            self.faces = mesh.faces.astype(np.uint32)
            return
        corners = np.stack([mesh.faces.ravel(), mesh.face_uvs.ravel()], axis=1)
        pairs, inverse = np.unique(corners, axis=0, return_inverse=True)
        self.source = pairs[:, 0].astype(np.int32)
        uvs = np.asarray(mesh.uvs, np.float32)[pairs[:, 1]]
        self.uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)
        self.faces = inverse.reshape(-1, 3).astype(np.uint32)


def write_glb(
    path: Path,
    vertices: np.ndarray,
    split: SplitMesh,
    *,
    normals: np.ndarray | None = None,
    texture: bytes | None = None,
    colours: np.ndarray | None = None,
    morph_targets: Sequence[tuple[str, np.ndarray]] = (),
    morph_weights: Sequence[float] = (),
    name: str = "face",
) -> Path:
    """Write a .glb that any viewer and Blender read.

    Args:
        path: file to write.
        vertices: (V, 3) mm, the shape with all morph weights at 0.
        split: topology with uvs.
        normals: (V, 3) unit, or None.
        texture: an encoded JPEG or PNG for the uvs, or None.
        colours: (V, 3) linear RGB in [0, 1], used without a texture.
        morph_targets: pairs of name and (V, 3) offsets in mm.
        morph_weights: one default weight per target.
        name: name of the node and mesh.

    Raises:
        InputError: wrong shapes, or weights that do not match the targets.
    """
    check_array(vertices, "vertices", shape=("V", 3), dtype="float")
    if len(morph_targets) != len(morph_weights):
        raise InputError(
            f"write_glb: expected {len(morph_targets)} morph weights, got {len(morph_weights)}"
        )
    builder = GlbBuilder()
    positions = np.asarray(vertices, np.float32)[split.source]
    attributes = {"POSITION": builder.vectors(positions, bounds=True)}
    if normals is not None:
        attributes["NORMAL"] = builder.vectors(np.asarray(normals, np.float32)[split.source])
    if split.uvs is not None and texture is not None:
        attributes["TEXCOORD_0"] = builder.vectors(split.uvs)
    elif colours is not None:
        attributes["COLOR_0"] = builder.vectors(np.asarray(colours, np.float32)[split.source])
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": builder.indices(split.faces),
        "material": 0,
    }
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if morph_targets:
        primitive["targets"] = builder.targets(split.source, [o for _, o in morph_targets])
        mesh["weights"] = [float(weight) for weight in morph_weights]
        mesh["extras"] = {"targetNames": [target for target, _ in morph_targets]}
    material: dict[str, Any] = {
        "name": "skin",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.6},
    }
    document = builder.document
    if "TEXCOORD_0" in attributes and texture is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        document["images"] = [
            {"bufferView": builder.view(texture), "mimeType": _mime(texture), "name": "texture"}
        ]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]
        document["textures"] = [{"source": 0, "sampler": 0}]
    document["materials"] = [material]
    document["meshes"] = [mesh]
    document["nodes"] = [
        {"name": "millimetres", "scale": [0.001, 0.001, 0.001], "children": [1]},
        {"name": name, "mesh": 0},
    ]
    document["scenes"] = [{"nodes": [0]}]
    document["scene"] = 0
    with atomic_path(path) as temporary:
        temporary.write_bytes(builder.finish())
    return path


class GlbBuilder:
    """Collects buffer views and accessors of a file; ``finish`` gives its bytes."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "facekit"},
            "accessors": [],
            "bufferViews": [],
        }
        self._chunks: list[bytes] = []
        self._size = 0

    def view(self, data: bytes, target: int | None = None) -> int:
        """Add bytes and return their buffer view's number."""
        entry = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        padded = data + b"\0" * (-len(data) % 4)
        self._chunks.append(padded)
        self._size += len(padded)
        self.document["bufferViews"].append(entry)
        return len(self.document["bufferViews"]) - 1

    def vectors(self, values: np.ndarray, *, bounds: bool = False) -> int:
        """Add a value (N, 2 to 4) a vertex and return the accessor's number."""
        accessor = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes(), _ARRAY_BUFFER),
            "componentType": _FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        if bounds:
            accessor |= _bounds(values)
        return self._accessor(accessor)

    def indices(self, faces: np.ndarray) -> int:
        """Add triangles (F, 3) and return the accessor's number."""
        data = np.ascontiguousarray(faces, np.uint32).tobytes()
        return self._accessor(
            {
                "bufferView": self.view(data, _ELEMENT_BUFFER),
                "componentType": _UINT,
                "count": int(faces.size),
                "type": "SCALAR",
            }
        )

    def track(self, values: np.ndarray, *, bounds: bool = False) -> int:
        """Add keyframes, (T,) or (T, 3 or 4), and return the accessor's number."""
        array = np.ascontiguousarray(values, "<f4")
        accessor = {
            "bufferView": self.view(array.tobytes()),
            "componentType": _FLOAT,
            "count": len(array),
            "type": "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}",
        }
        return self._accessor(accessor | (_bounds(array.reshape(-1, 1)) if bounds else {}))

    def targets(self, source: np.ndarray, offsets: Sequence[np.ndarray]) -> list[dict[str, int]]:
        """Add morph targets (V, 3) of the vertices ``source`` (N,) and return their entries."""
        return [{"POSITION": self.sparse(np.asarray(o, np.float32)[source])} for o in offsets]

    def sparse(self, offsets: np.ndarray) -> int:
        """Add a morph target (N, 3) of which most rows are 0; return the accessor's number."""
        # Offsets under a micrometre are rounding of the basis, not motion.
        moving = np.flatnonzero(np.abs(offsets).max(axis=1) > 1e-3)
        accessor = {"componentType": _FLOAT, "count": len(offsets), "type": "VEC3"}
        if not len(moving):
            moving = np.array([0])  # a sparse accessor may not be empty
            offsets = np.zeros_like(offsets)
        values = np.ascontiguousarray(offsets[moving], np.float32)
        small = len(offsets) <= 65535
        rows = moving.astype(np.uint16 if small else np.uint32)
        accessor["sparse"] = {
            "count": len(moving),
            "indices": {
                "bufferView": self.view(rows.tobytes()),
                "componentType": _USHORT if small else _UINT,
            },
            "values": {"bufferView": self.view(values.tobytes())},
        }
        return self._accessor(accessor | _bounds(np.vstack([values, np.zeros((1, 3))])))

    def _accessor(self, accessor: dict[str, Any]) -> int:
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def finish(self) -> bytes:
        """Return the whole file."""
        self.document["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(self.document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        binary = b"".join(self._chunks)
        total = 12 + 8 + len(text) + 8 + len(binary)
        return (
            struct.pack("<4sII", b"glTF", 2, total)
            + struct.pack("<I4s", len(text), b"JSON")
            + text
            + struct.pack("<I4s", len(binary), b"BIN\0")
            + binary
        )


def _bounds(values: np.ndarray) -> dict[str, list[float]]:
    return {
        "min": [float(v) for v in np.asarray(values, np.float32).min(axis=0)],
        "max": [float(v) for v in np.asarray(values, np.float32).max(axis=0)],
    }


def _mime(image: bytes) -> str:
    """The kind of an encoded image.

    Raises:
        InputError: neither JPEG nor PNG, the two that glTF knows.
    """
    if image.startswith(b"\x89PNG"):
        return "image/png"
    if image.startswith(b"\xff\xd8"):
        return "image/jpeg"
    raise InputError("glb texture: expected an encoded JPEG or PNG")

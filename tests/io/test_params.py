import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.params import SHAPES, read_params, write_params


def values():
    sizes = {"K": 5, "E": 4, "A": 0, "V": 7, "C": 5, "D": 5}
    arrays = {}
    for key, shape in SHAPES.items():
        full = tuple(sizes[s] if isinstance(s, str) else s for s in shape)
        arrays[key] = np.arange(np.prod(full, dtype=int), dtype=float).reshape(full)
    return arrays


def write(path, arrays, **meta):
    return write_params(
        path, arrays, model_name="toy", model_sha256="ab", scale_source="prior", extra_meta=meta
    )


def test_round_trip(tmp_path):
    arrays = values() | {"vertices": np.ones((3, 3))}
    again = read_params(write(tmp_path / "params.npz", arrays, image="x.jpg"))
    for key, value in arrays.items():
        np.testing.assert_allclose(again[key], value)
    assert again["meta"]["model"] == "toy"
    assert again["meta"]["image"] == "x.jpg"
    assert again["meta"]["units"] == "mm"
    assert again["scale_source"] == "prior"
    assert again["rotation"].dtype == np.float64
    assert again["identity"].dtype == np.float32


@pytest.mark.parametrize("key", sorted(SHAPES))
def test_every_key_is_needed(tmp_path, key):
    arrays = values()
    del arrays[key]
    with pytest.raises(InputError, match=key):
        write(tmp_path / "params.npz", arrays)
    assert not (tmp_path / "params.npz").exists()


def test_a_wrong_shape_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"landmarks_2d: expected shape \(68, 2\)"):
        write(tmp_path / "params.npz", values() | {"landmarks_2d": np.zeros((67, 2))})


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=1)
    (tmp_path / "text.npz").write_text("no")
    for name in ("other.npz", "text.npz", "missing.npz"):
        with pytest.raises(InputError):
            read_params(tmp_path / name)

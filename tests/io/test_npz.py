import io
import zipfile

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.npz import decode_npz, read_npz

ARRAYS = {
    "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "number": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "text": np.array('{"schema": "é"}'),
    "flags": np.array([True, False]),
    "records": np.zeros(2, [("a", "f4"), ("b", "i2")]),
}


def packed(save=np.savez_compressed, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_it_reads_what_numpy_reads(save):
    content = packed(save, **ARRAYS)
    found = decode_npz(content)
    assert found.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert found[key].dtype == array.dtype and found[key].shape == array.shape
        assert np.array_equal(found[key], array)
        assert found[key].flags.writeable
    assert decode_npz(content, keys=["number"]).keys() == {"number"}


def test_arrays_of_one_shape_are_their_own():
    found = decode_npz(packed(a=np.zeros(3), b=np.ones(3)))
    found["a"][0] = 7
    assert found["b"].tolist() == [1, 1, 1]


def test_a_newer_header_of_numpys():
    array, member, file = np.arange(5), io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, array, version=(2, 0))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", member.getvalue())
    assert np.array_equal(decode_npz(file.getvalue())["a"], array)


def test_a_missing_key():
    with pytest.raises(KeyError, match="b"):
        decode_npz(packed(a=np.zeros(3)), keys=["a", "b"])


def test_what_is_refused():
    content = packed(a=np.arange(1000))
    for bad in (b"", b"no archive", content[:-5], content[:200] + content[220:]):
        with pytest.raises(ValueError):
            decode_npz(bad)
    flipped = bytearray(packed(np.savez, a=np.arange(1000)))
    flipped[500] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        decode_npz(bytes(flipped))
    with pytest.raises(ValueError):
        decode_npz(packed(a=np.array([{}], dtype=object)))


def test_other_compression_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", b"x" * 100)
    with pytest.raises(ValueError, match="deflate"):
        decode_npz(file.getvalue())


@pytest.mark.parametrize("content", [b"garbage", b"", b"\x80\x04pickled"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: expected heads .*found a file of another kind"):
        read_npz(path, what="heads")


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(InputError, match="another kind"):
        read_npz(tmp_path / "a.npy", what="heads")
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="cannot be read"):
        (tmp_path / "c.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:60])
        read_npz(tmp_path / "c.npz", what="heads")

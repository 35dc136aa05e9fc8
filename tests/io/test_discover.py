from pathlib import Path

import pytest

from facekit.errors import InputError
from facekit.io.discover import find_images


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def keys(items):
    return [item.key for item in items]


def test_a_folder_is_walked_and_its_tree_mirrored(tmp_path):
    touch(tmp_path, "x.jpg", "a/b/x.JPG", "a/notes.txt", "a/détails sur place.png")
    assert keys(find_images([tmp_path])) == ["a/b/x", "a/détails sur place", "x"]


def test_equal_stems_keep_their_suffix(tmp_path):
    touch(tmp_path, "x.jpg", "x.png", "y.png", "X.tif")
    assert keys(find_images([tmp_path])) == ["X.tif", "x.jpg", "x.png", "y"]


def test_files_of_equal_name_in_two_folders(tmp_path):
    touch(tmp_path, "a/x.jpg", "b/x.jpg")
    found = find_images([tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"])
    assert keys(found) == ["x.jpg", "x.jpg-2"]


def test_a_name_that_looks_like_a_further_face(tmp_path):
    touch(tmp_path, "x.jpg", "x.face2.jpg", "y.face2.jpg")
    assert keys(find_images([tmp_path])) == ["x.face2.jpg", "x", "y.face2"]


def test_each_file_counts_once(tmp_path):
    touch(tmp_path, "x.jpg")
    assert len(find_images([tmp_path, tmp_path / "x.jpg"])) == 1


def test_the_output_folder_and_hidden_files_are_left_out(tmp_path):
    touch(tmp_path, "x.jpg", "out/x/overlay.png", ".hidden/y.jpg", ".z.jpg")
    assert keys(find_images([tmp_path], output=tmp_path / "out")) == ["x"]


def test_a_file_named_directly_is_taken_whatever_its_suffix(tmp_path):
    touch(tmp_path, "photo.data")
    assert keys(find_images([tmp_path / "photo.data"])) == ["photo"]


def test_nothing_to_do_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="no supported image"):
        find_images([tmp_path])
    with pytest.raises(InputError, match="no such file"):
        find_images([Path(tmp_path / "missing")])


def test_masks_beside_photographs_are_no_photographs(tmp_path):
    touch(tmp_path, "x.jpg", "x.mask.png", "a/mask.png", "y.masked.png")
    assert keys(find_images([tmp_path])) == ["a/mask", "x", "y.masked"]
    assert keys(find_images([tmp_path / "x.mask.png"])) == ["x.mask"]

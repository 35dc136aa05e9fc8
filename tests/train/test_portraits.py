import hashlib

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.errors import InputError
from facekit.train.portraits import label_weights, load_portraits, split_persons


def unit(rng, n):
    x = rng.normal(size=(n, 64))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_one_person_has_one_split_whatever_the_order():
    rng = np.random.default_rng(0)
    people = unit(rng, 60)
    identity = np.repeat(people, 3, axis=0) + rng.normal(0, 0.05, (180, 64))
    names = [f"set/{k:03d}.jpg" for k in rng.permutation(180)]
    split = np.array(split_persons(names, identity))
    assert all(len(set(split[3 * k : 3 * k + 3])) == 1 for k in range(60))
    order = rng.permutation(180)
    again = split_persons([names[i] for i in order], identity[order])
    assert list(split[order]) == list(again)
    assert set(split) == {"train", "validation", "held_out"}


def test_the_hash_of_the_first_name_decides():
    names = [f"{k}.jpg" for k in range(300)]
    split = split_persons(names, np.eye(300))
    for name, kind in zip(names, split, strict=True):
        digest = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
        assert kind == {0: "held_out", 1: "validation"}.get(digest, "train")


def test_similarity_is_transitive_and_ignores_length():
    a, b = np.eye(3)[0], np.eye(3)[1]
    chain = np.stack([a, a + 0.9 * b, 5 * (0.9 * a + b), 0.01 * b])
    names = ["d", "c", "b", "a"]
    assert len(set(split_persons(names, chain))) == 1


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        (["a"], np.ones((2, 3))),
        (["a", "a"], np.ones((2, 3))),
        (["a", "b"], np.array([[1.0, 0], [0, 0]])),
        (["a", "b"], np.array([[1.0, 0], [np.nan, 0]])),
    ],
)
def test_bad_embeddings(names, identity):
    with pytest.raises(InputError, match="split"):
        split_persons(names, identity)


def test_label_weights():
    assert np.allclose(label_weights(np.array([0.2, 0.5, 0.7, 0.9, 1.0])), [0, 0, 0.5, 1, 1])


def test_loading(tmp_path):
    folder = write_portraits(tmp_path)
    everything = load_portraits(folder)
    assert len(everything) == 40 and everything.images[0].shape == (190, 150, 3)
    parts = [load_portraits(folder, splits=(s,)) for s in ("train", "validation", "held_out")]
    assert sum(len(p) for p in parts) == 40
    assert len({n for p in parts for n in p.names}) == 40
    train = everything.subset("train")
    assert train.names == parts[0].names and (train.points == parts[0].points).all()
    assert len(load_portraits(folder, splits=("train",), limit=3)) == 3


def test_other_labels(tmp_path):
    folder = write_portraits(tmp_path / "data", count=8)
    other = tmp_path / "labels"
    other.mkdir()
    for name in ("labels_first.npz", "labels_second.npz"):
        with np.load(folder / name) as file:
            table = dict(file)
        table["landmarks478"] = table["landmarks478"] + 1
        np.savez(other / name, **table)
    a, b = load_portraits(folder), load_portraits(folder, labels=other)
    assert np.allclose(b.points, a.points + 1) and a.names == b.names


def test_missing_things(tmp_path):
    with pytest.raises(InputError, match="labels_<set>"):
        load_portraits(tmp_path)
    folder = write_portraits(tmp_path, count=4)
    (folder / "first/000.png").unlink()
    with pytest.raises(InputError, match="labelled but missing"):
        load_portraits(folder)


def test_persons_of_the_real_portraits_do_not_straddle(data_folder):
    names, identity = [], []
    for file in sorted((data_folder / "portraits").glob("labels_*.npz")):
        with np.load(file) as labels:
            names += [f"{file.stem}/{name}" for name in labels["files"]]
            identity.append(labels["identity128"].astype(np.float32))
    vectors = np.concatenate(identity)
    split = np.array(split_persons(names, vectors))
    unit_vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for a, b in np.argwhere(np.triu(unit_vectors @ unit_vectors.T > 0.6, 1)):
        assert split[a] == split[b]
    shares = [np.mean(split == s) for s in ("held_out", "validation")]
    assert all(0.05 < share < 0.15 for share in shares)

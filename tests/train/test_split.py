import numpy as np
import pytest

from facekit.errors import InputError
from facekit.train.split import split_of_name, split_persons


def test_unknown_embeddings_and_known_people_join_in():
    names = [f"n{i:03d}" for i in range(200)]
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((200, 64))
    identity[50] = identity[7] * 3
    identity[60:] = np.nan
    persons = ["" for _ in names]
    persons[50] = persons[70] = persons[199] = "eve"
    split = split_persons(names, identity, persons=persons)
    # One by embedding and by name: the first of all decides.
    assert {split[i] for i in (7, 50, 70, 199)} == {split_of_name("n007")}
    alone = [i for i in range(200) if i not in (7, 50, 70, 199)]
    assert all(split[i] == split_of_name(names[i]) for i in alone)
    assert split_persons(names) == tuple(split_of_name(name) for name in names)
    order = rng.permutation(200)
    again = split_persons(
        [names[i] for i in order], identity[order], persons=[persons[i] for i in order]
    )
    assert [split[i] for i in order] == list(again)


def test_shares_are_a_tenth_each():
    found = [split_of_name(f"{i}") for i in range(5000)]
    assert found.count("held_out") / 5000 == pytest.approx(0.1, abs=0.015)
    assert found.count("validation") / 5000 == pytest.approx(0.1, abs=0.015)


def test_bad_people_are_refused():
    with pytest.raises(InputError, match="distinct names"):
        split_persons(["a", "a"])
    with pytest.raises(InputError, match="distinct names"):
        split_persons(["a", "b"], persons=["x"])
    with pytest.raises(InputError, match="embedding row"):
        split_persons(["a", "b"], np.ones((3, 4)))

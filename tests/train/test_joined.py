import pytest

from facekit.train.joined import Joined


def test_every_number_has_its_place():
    parts = [list("ab"), [], list("cde"), list("f")]
    joined = Joined(parts)
    assert len(joined) == 6
    found = [joined.place(index) for index in range(len(joined))]
    assert "".join(part[place] for part, place in found) == "abcdef"


def test_of_nothing():
    assert len(Joined([])) == 0
    with pytest.raises(IndexError):
        Joined([]).place(0)

import os

import pytest

from facekit.errors import InputError
from facekit.evaluate.jobs import counter, run_pieces
from facekit.threads import num_threads


def square(context, piece):
    if piece == 99:
        raise InputError("ninety-nine")
    return context + piece**2, os.getpid(), num_threads()


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_keep_their_order(jobs):
    finished = []
    found = run_pieces(square, 10, [3, 1, 2, 5], jobs=jobs, done=finished.append)
    assert [result[0] for result in found] == [19, 11, 14, 35]
    assert sorted(finished) == [0, 1, 2, 3]
    assert (os.getpid() in {result[1] for result in found}) == (jobs == 1)
    if jobs == 2:
        assert {result[2] for result in found} == {max(1, num_threads() // 2)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_everything(jobs):
    with pytest.raises(InputError, match="ninety-nine"):
        run_pieces(square, 0, [1, 99, 2], jobs=jobs)


def test_counter_adds_up():
    said = []
    done = counter([2, 3], lambda *numbers: said.append(numbers))
    done(1)
    done(0)
    assert said == [(3, 5), (5, 5)]
    counter([1], None)(0)

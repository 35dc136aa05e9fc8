import threading
import time

import pytest

from facekit.learn.prefetch import prefetch


def test_order_and_range():
    assert list(prefetch(lambda i: i * i, 3, 9)) == [9, 16, 25, 36, 49, 64]
    assert list(prefetch(lambda i: i, 5, 5)) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_keeps_the_order(threads):
    together = threading.Barrier(threads)

    def make(i):
        together.wait(10)  # nobody goes on alone: so many are made at a time
        time.sleep(0.002 * (i % 3))  # later ones are ready before
        return i

    count = 6 * threads
    assert list(prefetch(make, 0, count, threads=threads)) == list(range(count))


def test_an_error_comes_in_its_place():
    def make(i):
        if i == 2:
            raise KeyError("two")
        return i

    stream = prefetch(make, 0, 5)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(KeyError, match="two"):
        next(stream)


def test_an_abandoned_stream_ends_its_thread():
    stream = prefetch(lambda i: i, 0, 10**9, depth=2)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("facekit-prefetch")]

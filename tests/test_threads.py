"""Items made ahead by a thread."""

import threading
import time

import pytest

from facekit.threads import ahead


def alive():
    return [t for t in threading.enumerate() if t.name == "facekit-ahead"]


def test_order_is_kept_and_the_thread_ends():
    assert list(ahead(iter(range(50)), depth=3)) == list(range(50))
    assert not alive()


def test_no_more_than_the_depth_waits():
    made = []

    def items():
        for k in range(100):
            made.append(k)
            yield k

    waiting = ahead(items(), depth=3)
    assert next(waiting) == 0
    time.sleep(0.1)
    # Three that wait, and one in the maker's hand.
    assert len(made) <= 1 + 3 + 1
    waiting.close()


def test_the_next_item_is_made_while_one_is_used():
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    waiting = ahead(items())
    assert next(waiting) == 1
    assert second.wait(timeout=10)
    assert list(waiting) == [2]


def test_an_error_comes_at_its_place():
    def items():
        yield 1
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == [1]
    assert not alive()


def test_stopping_early_closes_what_makes_the_items():
    closed = threading.Event()

    def items():
        try:
            yield from range(1000)
        finally:
            closed.set()

    waiting = ahead(items(), depth=2)
    assert [next(waiting), next(waiting)] == [0, 1]
    waiting.close()
    assert closed.is_set()
    assert not alive()

"""Work ahead of a GPU: the same results as without, in any order, and errors where they belong."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from claimscale.training.prefetch import Prefetch


def test_results_are_those_of_the_function_in_any_order() -> None:
    prefetch = Prefetch(lambda number: number**2, end=10)
    assert [prefetch(number) for number in (0, 1, 2, 7, 3, 3, 9, 12)] == [0, 1, 4, 49, 9, 9, 81, 144]


def test_the_next_number_is_computed_while_nobody_waits() -> None:
    begun = [threading.Event() for _ in range(5)]
    prefetch = Prefetch(lambda number: begun[number].set(), end=4)
    prefetch(2)
    assert begun[3].wait(10)
    prefetch(3)
    assert not begun[4].is_set(), "nothing is computed beyond the end"


def test_a_number_is_computed_once() -> None:
    computed: list[int] = []
    prefetch = Prefetch(computed.append, end=5)
    for number in range(5):
        prefetch(number)
    assert computed == [0, 1, 2, 3, 4]


def test_an_error_is_raised_for_its_number() -> None:
    def fail(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    prefetch = Prefetch(fail, end=5)
    assert [prefetch(0), prefetch(1)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        prefetch(2)
    assert prefetch(3) == 3


def test_a_number_that_one_thread_waits_for_survives_the_request_of_another() -> None:
    free, asked = threading.Event(), threading.Event()

    def prepare(number: int) -> int:
        asked.set()
        free.wait(10)
        return number

    prefetch = Prefetch(prepare, end=10)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(prefetch, 0)
        assert asked.wait(10)  # the pool is busy with 0, so that 1 waits behind it
        second = threads.submit(prefetch, 1)
        while 2 not in prefetch._found:
            time.sleep(0.001)
        third = threads.submit(prefetch, 7)
        while 7 not in prefetch._found:
            time.sleep(0.001)
        free.set()
        assert [one.result(10) for one in (first, second, third)] == [0, 1, 7]

"""Work on the CPU that is done ahead of a GPU: the next step and the next epoch, on threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Prefetch(Generic[Result]):
    """The results of `prepare(number)`, which one thread computes one number ahead.

    The results are those of `prepare`, in any order of numbers and for any number of threads; only
    consecutive numbers are fast. Numbers from `end` on are not computed ahead. Errors are raised when their
    number is requested.
    """

    def __init__(self, prepare: Callable[[int], Result], end: int) -> None:
        self._prepare, self._end = prepare, end
        self._pool = ThreadPoolExecutor(1, "prefetch")
        self._lock = threading.Lock()
        self._found: dict[int, Future[Result]] = {}

    def __call__(self, number: int) -> Result:
        with self._lock:
            wanted = [number, number + 1] if number + 1 < self._end else [number]
            for old in self._found.keys() - wanted:
                del self._found[old]  # not cancelled: another thread may wait for it
            for one in wanted:
                if one not in self._found:
                    self._found[one] = self._pool.submit(self._prepare, one)
            future = self._found[number]
        return future.result()

"""Reading ahead: the next images are read while the network looks at this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gkc.errors import DataError, MediaError

Item = TypeVar("Item")

READERS = 2
"""Threads that read; decoding a photo takes a small part of the time that a network needs for it."""

WINDOW = 4
"""So many items are in memory at most."""


def read_ahead(
    read: Callable[[int], Item], indices: Iterable[int], *, readers: int = READERS, window: int = WINDOW
) -> Iterator[tuple[int, Item | DataError | MediaError]]:
    """Every index with what `read` makes of it, or with the error about that file, in the order given.

    `read` is called in threads, at most `window` items ahead of what was taken. Other exceptions are raised when their
    item's turn comes.
    """

    def attempt(index: int) -> Item | DataError | MediaError:
        try:
            return read(index)
        except (DataError, MediaError) as error:
            return error

    with ThreadPoolExecutor(readers, "reading") as pool:
        waiting: deque[tuple[int, Future[Item | DataError | MediaError]]] = deque()
        try:
            for index in indices:
                waiting.append((index, pool.submit(attempt, index)))
                if len(waiting) >= window:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

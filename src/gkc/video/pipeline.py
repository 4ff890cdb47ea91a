"""Reading, segmenting and writing at the same time: three threads, with short queues between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEPTH = 3
"""Frames that wait in each queue."""

_POLL_SECONDS = 0.1


def run(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    write: Callable[[Result], object],
    *,
    tell: Callable[[Result], object] = lambda result: None,
    should_stop: Callable[[], bool] = lambda: False,
    newest: bool = False,
) -> None:
    """Take items in one thread, `work` on them in this one, `write` the results in a third; in order, all of them.

    `tell` is called in this thread with each result. When `should_stop` says so, no more items are taken and what is
    done is written. `newest` leaves out items for which nobody had time, for sources that do not wait.

    Raises:
        BaseException: whatever one of the stages raised; the others have ended. Results before it are written if it
            came from outside, as SystemExit does.
    """
    with Ahead(items, newest=newest) as ready, Behind(write) as writer:
        while not should_stop():
            slot = ready.take(_POLL_SECONDS)
            if slot is None:
                continue
            if not slot:
                return
            result = work(slot[0])
            writer.put(result)
            tell(result)


class Ahead(Generic[Item]):
    """Takes items before they are asked for, in a thread of its own.

    A context manager, which ends the thread; one that waits for its item for long is left behind.
    """

    def __init__(self, items: Iterable[Item], *, depth: int = DEPTH, newest: bool = False) -> None:
        self._items = items
        self._newest = newest
        self._queue: Queue[tuple[Item] | tuple[()] | BaseException] = Queue(depth)
        self._is_over = Event()
        self._thread = Thread(target=self._take_all, name="gkc-reader", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> tuple[Item] | tuple[()] | None:
        """The next item in a tuple; an empty one after the last; None if there was none for so many seconds.

        Raises:
            BaseException: what the items raised.
        """
        try:
            slot = self._queue.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(slot, BaseException):
            raise slot
        return slot

    def __iter__(self) -> Iterator[Item]:
        while (slot := self.take(_POLL_SECONDS)) != ():
            if slot:
                yield slot[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(timeout=1)

    def _take_all(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over((item,)):
                    return
            self._hand_over(())
        except BaseException as error:  # noqa: BLE001  # it is raised where the items are used
            self._hand_over(error)

    def _hand_over(self, slot: tuple[Item] | tuple[()] | BaseException) -> bool:
        """Put into the queue; False if nobody takes from it any more."""
        while not self._is_over.is_set():
            try:
                self._queue.put(slot, timeout=0 if self._newest else _POLL_SECONDS)
            except Full:
                if self._newest:
                    _drop_one(self._queue)
            else:
                return True
        return False


class Behind(Generic[Item]):
    """Works off items later, in order, in a thread of its own.

    A context manager: left, it waits until all is done, unless it is left with an `Exception`: then the rest is
    dropped.
    """

    def __init__(self, work: Callable[[Item], object], *, depth: int = DEPTH) -> None:
        self._work = work
        self._queue: Queue[tuple[Item] | tuple[()]] = Queue(depth)
        self._is_over = Event()
        self._problem: BaseException | None = None
        self._thread = Thread(target=self._work_off, name="gkc-writer", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item, waiting for room.

        Raises:
            BaseException: what the work on an earlier one raised.
        """
        self._put((item,))
        self._check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._is_over.set()
        self._put(())
        self._thread.join()
        if error is None:
            self._check()

    def _put(self, slot: tuple[Item] | tuple[()]) -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(slot, timeout=_POLL_SECONDS)
            except Full:
                continue
            return

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _work_off(self) -> None:
        while slot := self._queue.get():
            if self._is_over.is_set():
                continue
            try:
                self._work(slot[0])
            except BaseException as error:  # noqa: BLE001  # it is raised where the items come from
                self._problem = error
                return


def _drop_one(queue: Queue[Item]) -> None:
    try:
        queue.get_nowait()
    except Empty:
        return

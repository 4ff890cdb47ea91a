"""Numpy on all cores, without getting in the way of ONNX Runtime.

The threads of numpy's matrix products spin for tens of milliseconds after each product, on cores that the next network
run needs: on two cores it then takes half as long again. So products are kept to one thread, and larger work is parted
over a few threads that sleep when idle.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from gkc.engines.threads import available_cores

Part = TypeVar("Part")

MOST_THREADS = 4
"""More bring nothing: the work is small."""

_lock = threading.Lock()
_depth = 0
_threads_before = 0


def each(work: Callable[[Part], object], parts: Iterable[Part]) -> None:
    """Run `work` on every part, on several threads; no two parts may write to the same place."""
    listed = list(parts)
    if len(listed) < 2 or _num_threads() < 2:
        for part in listed:
            work(part)
    else:
        list(_pool(os.getpid()).map(work, listed))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, numpy's matrix products run on the thread that asks for them, if numpy came with OpenBLAS.

    The setting is the whole process's; the last to leave restores it.
    """
    global _depth, _threads_before
    blas = _open_blas()
    if blas is None:
        yield
        return
    get_threads, set_threads = blas
    with _lock:
        if _depth == 0:
            _threads_before = get_threads()
            set_threads(1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                set_threads(_threads_before)


@cache
def _num_threads() -> int:
    return min(available_cores(), MOST_THREADS)


@cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One pool a process: a forked child does not inherit its parent's threads."""
    return ThreadPoolExecutor(_num_threads(), "gkc")


@cache
def _open_blas() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """How to ask and to set the number of threads of the OpenBLAS inside numpy's wheel; None if there is none."""
    package = Path(np.__file__).parent
    for path in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        with suppress(OSError):
            library = ctypes.CDLL(str(path))
            for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
                if hasattr(library, name.format("set")):
                    return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None

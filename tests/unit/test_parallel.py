"""Work parted over threads, and matrix products kept to one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gkc.inference import parallel
from gkc.inference.parallel import each, one_blas_thread


@pytest.mark.parametrize("threads", [1, 3])
def test_every_part_is_worked_on_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_num_threads", lambda: threads)
    parallel._pool.cache_clear()
    done = np.zeros(50, int)

    def work(part: int) -> None:
        done[part] += 1

    each(work, range(50))
    each(work, [])
    assert (done == 1).all()
    parallel._pool.cache_clear()


def test_an_error_in_a_part_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        each(lambda part: 1 // part, [1, 0, 2])


def test_the_number_of_blas_threads_comes_back() -> None:
    blas = parallel._open_blas()
    if blas is None:
        pytest.skip("this numpy came without OpenBLAS")
    get_threads = blas[0]
    before = get_threads()
    with one_blas_thread(), one_blas_thread():
        assert get_threads() == 1
    assert get_threads() == before
    with pytest.raises(RuntimeError), one_blas_thread():
        raise RuntimeError
    assert get_threads() == before


def test_it_comes_back_after_many_threads_at_once() -> None:
    blas = parallel._open_blas()
    before = blas[0]() if blas else None

    def visit() -> None:
        for _ in range(200):
            with one_blas_thread():
                pass

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert (blas[0]() if blas else None) == before


def test_without_openblas_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_open_blas", lambda: None)
    with one_blas_thread():
        assert (np.eye(3) @ np.eye(3)).sum() == 3

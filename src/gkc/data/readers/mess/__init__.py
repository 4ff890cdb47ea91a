"""Readers of the archives that the benchmark MESS is made of, as downloaded and unpacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gkc.data.readers.base import Reader
from gkc.data.readers.mess.reader import MessReader
from gkc.data.readers.mess.sets import LAYOUTS

MESS_READERS: Mapping[str, Callable[..., Reader]] = {name: partial(MessReader, row) for name, row in LAYOUTS.items()}
"""By the name of a set's vocabulary: its reader, to be called with the folder, `split`, `classes` and its option."""

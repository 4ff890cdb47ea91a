"""Writing to a terminal text that others wrote: names and paths may hold anything."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

from rich.console import Console
from rich.text import Text

_UNSAFE = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
_BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Signs that turn the direction of writing would disorder the rest of the line."""


@cache
def screen() -> Console:
    """Standard output. Markup and emoji codes are off: a name such as "[red]" or ":car:" is shown as it is."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


@cache
def messages() -> Console:
    """Standard error, for all that is not a result."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def shown(text: object) -> str:
    """The text on one line, safe to print: what steers a terminal comes out as its code."""
    return "".join(
        sign.encode("unicode_escape").decode("ascii")
        if unicodedata.category(sign) in _UNSAFE or sign in _BIDI
        else sign
        for sign in str(text)
    )


def complain(text: object, *, kind: str = "error") -> None:
    """One line on standard error."""
    messages().print(Text.assemble((f"{kind}: ", "bold red"), shown(text)))


def write_line(text: str) -> None:
    """One line of UTF-8 on standard output, whatever the terminal's own encoding; bytes of odd paths are escaped."""
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()

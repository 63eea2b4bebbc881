"""A foreign library's error as words that a client may read: its first line, without paths."""

from __future__ import annotations

import re
from typing import Final

_ABSOLUTE_PATH: Final = re.compile(r"(?<![\w/])(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,}[\\/]?")


def first_line(error: BaseException) -> str:
    """The first line of the error's text that says something, absolute paths as ``…``; or ``""``."""
    lines = (line.strip() for line in str(error).splitlines())
    return _ABSOLUTE_PATH.sub("…", next((line for line in lines if line), ""))


def described(error: BaseException) -> str:
    """The error's type and its first line."""
    words = first_line(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

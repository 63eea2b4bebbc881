"""RFC 7240: what a client would rather have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

HEADER: Final = "prefer"
APPLIED_HEADER: Final = "preference-applied"
RESPOND_ASYNC: Final = "respond-async"
WAIT: Final = "wait"

_PREFERENCE: Final = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^",;\s]*))?')
_BETWEEN: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])*(?:,|$)')
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class Preferences:
    """``respond_async``: rather an answer of where to ask later, after at most ``wait_seconds``."""

    respond_async: bool = False
    wait_seconds: int | None = None

    @property
    def applied(self) -> str:
        """The header that says what was done."""
        wait = "" if self.wait_seconds is None else f", {WAIT}={self.wait_seconds}"
        return RESPOND_ASYNC + wait


def preferences(headers: Headers) -> Preferences:
    """The preferences of a request; those that are not known, or make no sense, are passed over."""
    found: dict[str, str] = {}
    for line in headers.getlist(HEADER):
        place = 0
        while place < len(line):
            one = _PREFERENCE.match(line, place)
            rest = _BETWEEN.match(line, one.end() if one else place)
            if one:
                found.setdefault(one[1].lower(), (one[2] or "").strip('"'))
            if rest is None:
                break
            place = rest.end()
    wait = found.get(WAIT, "")
    return Preferences(RESPOND_ASYNC in found, int(wait) if _SECONDS.fullmatch(wait) else None)

"""How long a request may take: said by its body, by a header, by the settings; the least of them counts."""

from __future__ import annotations

import contextvars
import re
import time
from dataclasses import replace
from typing import Final

from starlette.datastructures import Headers

from engines.calls import EngineCall
from engines.errors import InvalidParameter

HEADER: Final = "x-kandinsky-timeout"
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")

deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)
"""When the request being worked on must be over, by `time.monotonic`; ``None``: it has all the time."""


def header_seconds(headers: Headers) -> float | None:
    """The seconds that a request's header allows.

    Raises:
        InvalidParameter
    """
    given = headers.get(HEADER)
    if given is None:
        return None
    seconds = float(given) if _NUMBER.fullmatch(given) else 0.0
    if not seconds > 0:
        raise InvalidParameter(HEADER, "expected a number of seconds above 0.")
    return seconds


def least(*seconds: float | None) -> float | None:
    """The least of several times, of which some may not be given."""
    return min((each for each in seconds if each is not None), default=None)


def timed(call: EngineCall) -> EngineCall:
    """The call with what is left of the present request's time, as it is when the call is sent."""
    until = deadline.get()
    if until is None:
        return call
    return replace(call, deadline_seconds=max(0.0, until - time.monotonic()))

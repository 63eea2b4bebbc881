"""What the SDK raises, and what another server says, in the errors of this gateway."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import openai

from compat.remote_errors import (
    RemoteBadAnswer,
    RemoteFailure,
    RemoteKeyRefused,
    RemoteLacks,
    RemoteRefusal,
    RemoteTimedOut,
    RemoteUnreachable,
    Said,
)
from engines.errors import EngineError
from gateway.remotes import RemoteEntry

_logger = logging.getLogger(__name__)

HIDDEN: Final = "[…]"
OURS: Final = frozenset({401, 403, 407})
"""Statuses about the key, which is the gateway's."""
ABSENT: Final = frozenset({404, 405})
SERVER_ERROR: Final = "server_error"
REQUEST_ERROR: Final = "invalid_request_error"


@contextmanager
def translated(entry: RemoteEntry) -> Iterator[None]:
    """Turn the SDK's errors into ours, keeping the cause."""
    try:
        yield
    except (openai.OpenAIError, ValueError) as error:
        raise error_of(error, entry) from error


def error_of(error: openai.OpenAIError | ValueError, entry: RemoteEntry) -> EngineError:
    """The error of ours for what the SDK lets out: the JSON parser's errors too."""
    if isinstance(error, openai.OpenAIError):
        return _failure(error, entry)
    return RemoteBadAnswer(entry.name, "it is no JSON")


def _failure(error: openai.OpenAIError, entry: RemoteEntry) -> EngineError:
    """The error of ours for one of the SDK's."""
    if isinstance(error, openai.APITimeoutError):
        return RemoteTimedOut(entry.name, f"nothing came for {entry.timeout_seconds:g} s")
    if isinstance(error, openai.APIConnectionError):
        _logger.warning("%s: %s cannot be reached: %r", entry.name, entry.base_url, error.__cause__)
        return RemoteUnreachable(entry.name)
    if isinstance(error, openai.APIStatusError):
        return _refused(error, entry)
    if isinstance(error, openai.APIError) and error.body is not None:
        return RemoteFailure(entry.name, _said(error.body, 500, entry))
    return RemoteBadAnswer(entry.name, "it cannot be read")


def _refused(error: openai.APIStatusError, entry: RemoteEntry) -> EngineError:
    status, theirs = error.status_code, error.response.headers.get("x-request-id")
    if status in OURS:
        _logger.error("%s: %s refuses the key: %d (%s)", entry.name, entry.base_url, status, theirs)
        return RemoteKeyRefused(entry.name, str(status))
    if status in ABSENT:
        text = _hide(error.message, entry)
        _logger.error("%s: %s answered %d (%s): %s", entry.name, entry.base_url, status, theirs, text)
        return RemoteLacks(entry.name, f"it answered {status}")
    is_json = "json" in error.response.headers.get("content-type", "")
    said = _said(error.body if is_json else None, status, entry, error.response.headers)
    return RemoteRefusal(entry.name, said) if status < 500 else RemoteFailure(entry.name, said)


def _said(body: object, status: int, entry: RemoteEntry, headers: Mapping[str, str] | None = None) -> Said:
    """An error object as far as it is one. Servers differ: FastAPI says ``detail``, others a bare string."""
    headers = headers or {}
    said: Mapping[str, Any] = body if isinstance(body, Mapping) else {"message": body}
    message = next((text for key in ("message", "detail") if isinstance(text := said.get(key), str)), "")
    return Said(
        status=status,
        message=_hide(message, entry) or f"The server behind {entry.name!r} answered with status {status}.",
        type=_text(said.get("type")) or (SERVER_ERROR if status >= 500 else REQUEST_ERROR),
        param=_text(said.get("param")),
        code=_text(said.get("code")),
        retry_after_seconds=_seconds(headers),
        retry={"true": True, "false": False}.get(headers.get("x-should-retry", "")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds; one that is a date is left out."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _hide(text: str, entry: RemoteEntry) -> str:
    """A text without the other server's address and without the key."""
    address = urlsplit(entry.base_url)
    key = entry.key.read() if entry.key else None
    for secret in filter(None, (key, entry.base_url, address.netloc, address.hostname)):
        text = text.replace(secret, HIDDEN)
    return text

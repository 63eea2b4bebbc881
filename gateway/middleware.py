"""The outermost layer: a request id, the processing time, and a last answer to what nobody caught."""

from __future__ import annotations

import contextvars
import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.answers import failure

_logger = logging.getLogger(__name__)

API_VERSION: Final = "2020-10-01"

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")
"""The id of the request being worked on, for log lines and engine calls."""


_SAFE_ID: Final = re.compile(r"[A-Za-z0-9._~:@=+-]{1,128}")
"""What may stand in a path and in a log line."""


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{secrets.token_hex(16)}"


class RequestContext:
    """Pure ASGI middleware: puts OpenAI's headers on every answer, failing ones included.

    A client may choose its ``x-request-id``; one that is too long, or holds what a path cannot, is replaced.
    ``proxied`` is true behind Serve's proxy, which gives an id to every request without one, and puts what
    was sent on the answer itself.
    """

    def __init__(self, app: ASGIApp, *, proxied: bool = False) -> None:
        self._app = app
        self._proxied = proxied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id")
        identity = given if given is not None and _SAFE_ID.fullmatch(given) else new_request_id()
        token = request_id.set(identity)
        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                if given is None or not self._proxied:
                    headers["x-request-id"] = identity
                headers["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - started)))
                headers["openai-version"] = API_VERSION
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            _logger.info("%s %s %s: the client has gone", identity, scope["method"], scope["path"])
        except Exception as error:  # the last resort: the client gets OpenAI's error object, the log the rest
            _logger.exception("%s %s %s failed", identity, scope["method"], scope["path"])
            if answered:
                raise
            await failure(error, request_id=identity)(scope, receive, send_with_headers)
        finally:
            request_id.reset(token)

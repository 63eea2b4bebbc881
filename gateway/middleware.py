"""The outermost layer: a request id, the processing time, and a last answer to what nobody caught."""

from __future__ import annotations

import contextvars
import logging
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


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{secrets.token_hex(16)}"


class RequestContext:
    """Pure ASGI middleware: puts OpenAI's headers on every answer, failing ones included.

    ``proxied`` is true behind Serve's proxy, which gives every request its ``x-request-id`` and puts
    it on the answer itself.
    """

    def __init__(self, app: ASGIApp, *, proxied: bool = False) -> None:
        self._app = app
        self._proxied = proxied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id") if self._proxied else None
        identity = given or new_request_id()
        token = request_id.set(identity)
        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                if given is None:
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

"""Answers to requests whose body has not been read: refused uploads, above all.

A server that closes a connection on which more is coming resets it, and the client may lose the answer
with it. So the answer is sent whole, what still comes is thrown away for a little while, and then the
connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL: Final = 1 << 16
"""Bytes. A body that is no larger comes with its head, and the connection can be used again."""
LINGER_SECONDS: Final = 2.0
"""How long a client has to see that it was refused."""
STALLED: Final = 408
"""The status of a body that has stopped coming: there is nothing to throw away."""


class UnreadBody:
    """Pure ASGI middleware: ends connections on which more is coming than anybody wants to read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_large(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        upload = _Upload(receive, send)
        await self._app(scope, upload.receive, upload.send)


class _Upload:
    """One request with a large body, and the answer to it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._coming = True
        self._whole = False
        """Whether the answer says its length, so that the client knows its end before the connection's."""
        self._closing = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._coming = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._coming:
            headers = MutableHeaders(scope=message)
            headers["connection"] = "close"
            self._closing = True
            self._whole = "content-length" in headers and message["status"] != STALLED
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not (last and self._closing and self._whole):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._throw_away()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _throw_away(self) -> None:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._coming:
                    await self.receive()
        except TimeoutError:
            return


def _is_large(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return int(length) > SMALL if length.isdigit() else "transfer-encoding" in headers

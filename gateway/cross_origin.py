"""Calls from web pages of other origins (CORS), where the settings allow any."""

from __future__ import annotations

from collections.abc import Callable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.idempotency import REPLAYED_HEADER
from gateway.preferences import APPLIED_HEADER
from gateway.settings import Settings
from gateway.under_way import RATE


class CrossOrigin:
    """Starlette's CORS middleware with origins that may change while the server runs."""

    def __init__(self, app: ASGIApp, *, settings: Callable[[], Settings]) -> None:
        self._app = app
        self._settings = settings
        self._origins: tuple[str, ...] = ()
        self._inner: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._for(self._settings().cors_origins)(scope, receive, send)

    def _for(self, origins: tuple[str, ...]) -> ASGIApp:
        if origins != self._origins:
            self._origins = origins
            self._inner = self._app
            if origins:
                self._inner = CORSMiddleware(
                    self._app,
                    allow_origins=origins,
                    allow_methods=["*"],
                    allow_headers=["*"],
                    expose_headers=[
                        "x-request-id",
                        "retry-after",
                        "openai-processing-ms",
                        "location",
                        APPLIED_HEADER,
                        REPLAYED_HEADER,
                        *RATE,
                    ],
                    max_age=3600,
                )
        return self._inner

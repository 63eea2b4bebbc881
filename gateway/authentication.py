"""API keys: who may call, where the settings name any; and who is calling."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from compat.errors import InvalidKey, MissingKey
from gateway.answers import failure
from gateway.callers import NOBODY, caller
from gateway.peers import client_address
from gateway.settings import Settings, digest

OPEN_PATHS: Final = ("/", "/health")
OPEN_PREFIXES: Final = ("/v1/images/files/",)
"""Pictures have addresses that nobody can guess, and browsers fetch them without a key."""


class Authentication:
    """Pure ASGI middleware: lets through what has a key, and everything where no key is set; sets `caller`.

    The key comes as OpenAI's clients send it (``Authorization: Bearer``) or as Azure's do
    (``api-key``). ``settings`` is asked at every request: they may change while the server runs.
    """

    def __init__(self, app: ASGIApp, *, settings: Callable[[], Settings]) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings = self._settings()
        given = _given_key(Headers(scope=scope)) if settings.api_keys else None
        known = _known(given, settings)
        if known is None and (error := _refusal(scope, given, settings)) is not None:
            await failure(error)(scope, receive, send)
            return
        token = caller.set(known or client_address(scope, settings) or NOBODY)
        try:
            await self._app(scope, receive, send)
        finally:
            caller.reset(token)


def _known(given: str | None, settings: Settings) -> str | None:
    """The digest of a key that is one of the server's."""
    if given is None:
        return None
    # Every key is compared, in constant time: how long it takes tells nothing.
    matches = [hmac.compare_digest(digest(given), key) for key in settings.api_keys]
    return digest(given) if any(matches) else None


def _refusal(scope: Scope, given: str | None, settings: Settings) -> MissingKey | InvalidKey | None:
    path: str = scope["path"]
    if not settings.api_keys or scope["method"] == "OPTIONS":
        return None
    if path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
        return None
    return MissingKey() if given is None else InvalidKey(_quoted(given))


def _given_key(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("api-key") or None


def _quoted(key: str) -> str:
    """The ends of a long key, as OpenAI quotes it; of a short one nothing."""
    return f"{key[:3]}***{key[-4:]}" if len(key) >= 16 else "***"

"""Who may begin a call that draws: decided from its head, before its body is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engines.errors import EngineError, UnknownModel
from gateway.answers import failure
from gateway.callers import caller
from gateway.deadlines import header_seconds, least
from gateway.middleware import request_id
from gateway.preferences import preferences
from gateway.service import Service
from gateway.under_way import UnderWay

_OPENAI: Final = "images/(?:generations|edits|variations)"
DRAWING: Final = re.compile(
    rf"/v1/{_OPENAI}"
    rf"|/openai/deployments/(?P<deployment>.+)/{_OPENAI}"
    r"|/kandinsky-(?P<native>[^/]+)/v1/generate"
    r"|/generate"
)
"""The paths that draw; some name the model."""


class Admission:
    """Pure ASGI middleware: enters every call that draws among those under way, or refuses it.

    Refused is who has too many under way already, and, where the path names the model, what its line has
    no place for. With a limit set, every answer says what is left of it.
    """

    def __init__(self, app: ASGIApp, *, service: Service, under_way: UnderWay) -> None:
        self._app = app
        self._service = service
        self._under_way = under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = DRAWING.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        who = caller.get()

        async def send_with_rate(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._under_way.rate_headers(who))
            await send(message)

        with ExitStack() as stack:
            app = self._app
            try:
                stack.enter_context(self._entered(found, Headers(scope=scope), who))
            except EngineError as error:
                app = failure(error)
            await app(scope, receive, send_with_rate)

    @contextmanager
    def _entered(self, found: re.Match[str], headers: Headers, who: str) -> Iterator[None]:
        """The call among those under way.

        Raises:
            CallerBusy, EngineBusy
            InvalidParameter: of the header on its time.
        """
        seconds = least(header_seconds(headers), self._service.settings.max_request_seconds)
        with self._under_way.entered(request_id.get(), who, seconds) as request:
            request.model = self._model(found)
            if request.model is not None and not preferences(headers).respond_async:
                self._service.admit(request.model)
            yield

    def _model(self, found: re.Match[str]) -> str | None:
        """The model that the path names, where there is one of this name."""
        with suppress(UnknownModel):
            if found["native"] is not None:
                return self._service.models.native(found["native"]).name
            if found["deployment"] is not None:
                return self._service.models.resolve(found["deployment"]).name
        return None

"""A model of another server: calls are passed through OpenAI's SDK, answers are passed back.

What is passed on is what the caller said, with the model's name replaced; nothing is read into it, so
fields that this gateway does not know reach the other server too. The caller's own headers and key
never do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from openai import AsyncOpenAI, AsyncStream, RequestOptions, Timeout
from starlette.responses import Response

from compat.events import MEDIA_TYPE
from compat.remote_errors import (
    NativeRoutesAbsent,
    RemoteBadAnswer,
    RemoteKeyMissing,
    RemoteKeyRefused,
    RemoteLacks,
    RemoteRefusal,
)
from gateway import native
from gateway.answers import json_answer
from gateway.middleware import request_id
from gateway.registry import native_path
from gateway.remote_calls import ImagesCall, NativeCall, NativeRoute
from gateway.remote_failures import translated
from gateway.remote_stream import stream_answer
from gateway.remotes import RemoteEntry
from gateway.status import State, Status

_logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 5.0
NO_KEY: Final = "none"
VERSION: Final = "/v1"
Files = list[tuple[str, tuple[str, bytes, str]]] | None
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class RemoteServer:
    """The client of one entry; the connections are kept. ``http_client`` is for tests."""

    def __init__(self, entry: RemoteEntry, *, http_client: Any = None) -> None:
        self.entry = entry
        self._client = AsyncOpenAI(
            base_url=entry.base_url,
            api_key=self._key,
            max_retries=entry.max_retries,
            timeout=Timeout(entry.timeout_seconds, connect=CONNECT_SECONDS),
            http_client=http_client,
        )
        # The SDK takes these from the environment, where they belong to another account.
        self._client.organization = None
        self._client.project = None
        self._native_routes = False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def images(self, call: ImagesCall) -> Response:
        """Pass a call on and its answer back.

        Raises:
            RemoteRefusal, RemoteFailure: what the other server said.
            RemoteUnreachable, RemoteTimedOut, RemoteBadAnswer, RemoteLacks, RemoteKeyMissing,
            RemoteKeyRefused
        """
        started = time.perf_counter()

        def marked(answer: dict[str, Any]) -> dict[str, Any]:
            """Under our model's name, with what the call took where the other server says nothing."""
            took = {"query_duration_seconds": time.perf_counter() - started}
            return {"compute_metrics": took} | answer | {"model": self.entry.name}

        headers = {"Content-Type": "multipart/form-data"} if call.form else {}
        body, files = call.body_for(self.entry.model), call.files()
        if call.stream:
            stream = await self._opened(self._client, call.path, body, files, headers)
            return stream_answer(self.entry, stream, marked)
        with translated(self.entry):
            answer = await self._client.post(
                call.path, cast_to=object, body=body, files=files, options=_options(headers)
            )
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise RemoteBadAnswer(self.entry.name, "it is no list of images")
        return json_answer(marked(answer))

    async def native(self, call: NativeCall) -> Response:
        """Pass a native call on, where the other server is a gateway of this kind.

        Raises:
            NativeRoutesAbsent: it is not.
            EngineError: as `images`.
        """
        if not await self._has_native_routes():
            if call.route is NativeRoute.HEALTH:
                return json_answer(native.health(self.entry.name, Status(state=State.REMOTE)))
            raise NativeRoutesAbsent(self.entry.name)
        if call.stream:
            body = {**(call.body or {}), "stream": True, "model": self.entry.model}
            stream = await self._opened(self._root(), call.route, body)
            return stream_answer(self.entry, stream, self._renamed)
        answer = self._renamed(await self._native(call))
        if answer.get("status") != "loading":
            return json_answer(answer)
        # A 202 of theirs. The place to ask again is here, not there.
        health_path = f"{native_path(self.entry.name)}/health"
        answer["poll_url"] = health_path
        wait = str(native.retry_after(Status(state=State.WAKING, retry_after_seconds=_number(answer))))
        return json_answer(answer, 202, Retry_After=wait, Location=health_path)

    async def _has_native_routes(self) -> bool:
        """Whether the other server describes its model as we do; a yes is remembered."""
        if not self._native_routes and self.entry.base_url.endswith(VERSION):
            with suppress(RemoteLacks, RemoteRefusal, RemoteKeyRefused, RemoteBadAnswer):
                self._native_routes = "json_schema" in await self._native(NativeCall(NativeRoute.SCHEMA))
        return self._native_routes

    async def _native(self, call: NativeCall) -> dict[str, Any]:
        root = self._root()
        theirs = {"model": self.entry.model}
        with translated(self.entry):
            if call.body is None:
                answer = await root.get(call.route, cast_to=object, options={"params": theirs})
            else:
                answer = await root.post(call.route, cast_to=object, body={**call.body, **theirs})
        if not isinstance(answer, dict):
            raise RemoteBadAnswer(self.entry.name, "it is no JSON object")
        return answer

    def _root(self) -> AsyncOpenAI:
        return self._client.with_options(base_url=self.entry.base_url.removesuffix(VERSION))

    def _renamed(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer under our model's name."""
        return answer | {key: self.entry.name for key in ("model", "model_id") if key in answer}

    async def _opened(
        self,
        client: AsyncOpenAI,
        path: str,
        body: dict[str, Any],
        files: Files = None,
        headers: Mapping[str, str] = _NONE,
    ) -> AsyncStream[object]:
        """The stream of events, once the other server has begun one: until then it can still refuse."""
        with translated(self.entry):
            stream = await client.post(
                path,
                cast_to=object,
                body=body,
                files=files,
                options=_options(headers),
                stream=True,
                stream_cls=AsyncStream[object],
            )
        if not stream.response.headers.get("content-type", "").startswith(MEDIA_TYPE):
            await stream.close()
            raise RemoteBadAnswer(self.entry.name, "a stream was asked for, and it does not stream")
        return stream

    async def _key(self) -> str:
        """Read anew for every call: a key may be replaced while the gateway runs."""
        if self.entry.key is None:
            return NO_KEY
        key = self.entry.key.read()
        if key is None:
            _logger.error("%s: no key in %s", self.entry.name, self.entry.key.place)
            raise RemoteKeyMissing(self.entry.name, "its operator has to see to it")
        return key


def _number(answer: dict[str, Any]) -> float | None:
    wait = answer.get("retry_after_seconds")
    return float(wait) if isinstance(wait, int | float) else None


def _options(headers: Mapping[str, str] = _NONE) -> RequestOptions:
    # OpenAI's name for an id of the caller's own, which its logs can be searched for.
    return RequestOptions(headers={"X-Client-Request-Id": request_id.get(), **headers})

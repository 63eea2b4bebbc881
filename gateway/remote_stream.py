"""Another server's stream of events, passed on event by event as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

from openai import AsyncStream, OpenAIError
from starlette.responses import Response, StreamingResponse

from compat import events
from gateway.middleware import request_id
from gateway.remote_failures import error_of
from gateway.remotes import RemoteEntry
from gateway.streaming import HEADERS

PAUSE_SECONDS: Final = 15.0
"""The SDK swallows the other server's comments, so a connection that is silent gets one of ours."""
LAST_NATIVE: Final = "completed"
"""The native event that has no ``type`` in its data."""
_END: Final = object()


def stream_answer(
    entry: RemoteEntry, stream: AsyncStream[object], marked: Callable[[dict[str, Any]], dict[str, Any]]
) -> Response:
    """The answer that passes a stream on; ``marked`` is applied to the event of the finished picture."""
    frames = _frames(entry, stream, marked, request_id.get())
    return StreamingResponse(frames, media_type=events.MEDIA_TYPE, headers=HEADERS)


async def _frames(
    entry: RemoteEntry,
    stream: AsyncStream[object],
    marked: Callable[[dict[str, Any]], dict[str, Any]],
    identity: str,
) -> AsyncIterator[bytes]:
    """The frames; what breaks the stream is its last event."""
    async with stream, aclosing(paced(stream, PAUSE_SECONDS)) as happenings:
        try:
            async for event in happenings:
                if event is None:
                    yield events.KEEP_ALIVE
                elif isinstance(event, dict):
                    name = str(event.get("type", LAST_NATIVE))
                    yield events.frame(name, marked(event) if name.endswith(LAST_NATIVE) else event)
        except (OpenAIError, ValueError) as error:  # ValueError: the SDK lets the JSON parser's out
            yield events.failed(error_of(error, entry), request_id=identity)


async def paced(stream: AsyncIterator[object], seconds: float) -> AsyncGenerator[object]:
    """The items of a stream, and ``None`` each time that nothing has come for ``seconds``."""
    while True:
        upcoming = asyncio.ensure_future(anext(stream, _END))
        try:
            while not (await asyncio.wait([upcoming], timeout=seconds))[0]:
                yield None
        finally:
            # The reader may have left: nobody waits for the item any more.
            upcoming.cancel()
        if (item := upcoming.result()) is _END:
            return
        yield item

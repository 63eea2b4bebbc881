"""Answers that tell of the way: server-sent events of a drawing.

What can be refused at once is a plain HTTP error: the first event is waited for, save while a model
wakes. Then the stream begins, comments keep it alive, and a failure is its last event.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from starlette.responses import Response, StreamingResponse

from compat import events
from compat.mapped import Mapped
from engines.calls import EngineCall, EngineEvent, EngineResult, Preview
from engines.errors import EngineError
from gateway import native
from gateway.drawing import followed
from gateway.middleware import request_id
from gateway.registry import ModelEntry
from gateway.service import Service
from gateway.status import Status

_logger = logging.getLogger(__name__)

HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

Frames = Callable[[EngineEvent | Status], bytes | None]
"""Renders an event; ``None`` where nothing is to be said."""


async def openai_stream(service: Service, entry: ModelEntry, mapped: Mapped) -> Response:
    """The stream of OpenAI's events of a generation or an edit."""
    sent = 0

    def frames(event: EngineEvent | Status) -> bytes | None:
        nonlocal sent
        match event:
            case Preview():
                sent += 1
                return events.partial_image(mapped, event)
            case EngineResult():
                return events.completed(entry.name, mapped, event, partial_images=sent)
            case Status():
                return events.KEEP_ALIVE
        return None

    return await _stream(service, entry, mapped.call, frames)


async def native_stream(service: Service, entry: ModelEntry, call: EngineCall) -> Response:
    """The stream of a native call: waking, progress, previews, and the answer that a plain call gets."""

    def frames(event: EngineEvent | Status) -> bytes:
        return native.event(entry, event)

    return await _stream(service, entry, call, frames)


async def _stream(service: Service, entry: ModelEntry, call: EngineCall, frames: Frames) -> Response:
    drawing = followed(service, entry, call)
    first = await anext(drawing)
    body = _frames(drawing, first, frames, request_id.get())
    return StreamingResponse(body, media_type=events.MEDIA_TYPE, headers=HEADERS)


async def _frames(
    drawing: AsyncGenerator[EngineEvent | Status],
    first: EngineEvent | Status,
    frames: Frames,
    identity: str,
) -> AsyncIterator[bytes]:
    async with aclosing(drawing):
        try:
            if (said := frames(first)) is not None:
                yield said
            async for event in drawing:
                if (said := frames(event)) is not None:
                    yield said
        except EngineError as error:
            yield events.failed(error, request_id=identity)
        except Exception as error:  # the status is sent: the stream's last event is all that is left
            _logger.exception("%s failed in its stream", identity)
            yield events.failed(error, request_id=identity)

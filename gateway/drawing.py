"""Drawing for the request that is under way: within its time, until somebody ends it, with its way noted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from compat import events
from engines.calls import EngineCall, EngineEvent, EngineResult
from engines.errors import EngineError
from gateway.registry import ModelEntry
from gateway.remotes import RemoteEntry
from gateway.service import Service
from gateway.status import Status
from gateway.under_way import Request, current

T = TypeVar("T")


async def bounded(work: Awaitable[T]) -> T:
    """What ``work`` comes to, unless the request is ended before.

    Raises:
        DeadlineExceeded, GenerationStopped
    """
    request = current.get()
    return await (work if request is None else request.within(work))


async def drawn(service: Service, entry: ModelEntry, call: EngineCall) -> EngineResult:
    """What `Service.generate` makes of the call.

    Raises:
        DeadlineExceeded, GenerationStopped
        EngineError: as `Service.generate`.
    """
    request, call = current.get(), _begun(entry, call)
    drawing = service.generate(entry.name, call, hold_seconds=service.settings.hold_seconds)
    if request is None:
        return await drawing
    result = await request.within(drawing)
    request.finished = True
    return result


async def followed(
    service: Service, entry: ModelEntry, call: EngineCall
) -> AsyncGenerator[EngineEvent | Status]:
    """As `drawn`, with what `Service.stream` tells of the way; the result is the last event.

    Raises:
        DeadlineExceeded, GenerationStopped
        EngineError: as `Service.stream`.
    """
    request, call = current.get(), _begun(entry, call)
    drawing = service.stream(entry.name, call, hold_seconds=service.settings.hold_seconds)
    async with aclosing(drawing):
        while True:
            next_one = anext(drawing, None)
            # The time is looked at for each event alone: while a reader takes one, nothing is waited for.
            event = await (next_one if request is None else request.within(next_one))
            if event is None:
                return
            if request is not None:
                request.saw(event)
            yield event


async def relayed(entry: RemoteEntry, answer: Awaitable[Response], seconds: float | None) -> Response:
    """The answer of another server's model, its events included, within what the request may take.

    Raises:
        DeadlineExceeded, GenerationStopped: before the answer has begun; of a stream it is the last event.
    """
    request = current.get()
    if request is None:
        return await answer
    request.begin(entry.name, seconds)
    response = await request.within(answer)
    request.finished = True
    if isinstance(response, StreamingResponse):
        response.body_iterator = _frames(request, response.body_iterator)
    return response


async def _frames(request: Request, frames: AsyncIterable[Any]) -> AsyncIterator[Any]:
    coming = aiter(frames)
    try:
        while (frame := await request.within(anext(coming, None))) is not None:
            yield frame
    except EngineError as error:
        yield events.failed(error, request_id=request.id)
    finally:
        if isinstance(coming, AsyncGenerator):
            await coming.aclose()


def _begun(entry: ModelEntry, call: EngineCall) -> EngineCall:
    """Start the clock of the request that is under way, and tell the engine what is left."""
    request = current.get()
    if request is None:
        return call
    request.begin(entry.name, call.deadline_seconds)
    return replace(call, deadline_seconds=request.remaining_seconds)

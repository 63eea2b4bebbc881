"""A job's call, made: by an engine of this gateway with its way told, or by another server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing

from starlette.responses import Response

from engines.calls import EngineCall, EngineResult, Preview
from engines.errors import DeadlineExceeded, ModelLoading, UnknownModel
from gateway import native
from gateway.delivery import PICTURES_PATH, answered
from gateway.jobs.calls import JobCall, OwnImages, OwnNative, RemoteImages, RemoteNative
from gateway.jobs.job import Answer
from gateway.jobs.work import Told
from gateway.registry import ModelEntry
from gateway.remote_calls import NativeCall, NativeRoute
from gateway.remotes import RemoteEntry
from gateway.service import Service


async def draw(service: Service, call: JobCall, told: Told) -> Answer:
    """Make the call of a job, and give what it would have been answered with at once.

    Raises:
        EngineError: what the call would have been refused or failed with.
    """
    entry = next((each for each in service.models.entries if each.name == call.model), None)
    match call, entry:
        case OwnImages(), ModelEntry():
            result = await _drawn(service, call.mapped.call, call, told)
            # As long as the job is kept its pictures are.
            seconds = max(service.settings.url_seconds, service.settings.job_seconds)
            return _answer(
                await answered(service, entry, call.mapped, result, base=call.base_url, seconds=seconds)
            )
        case OwnNative(), ModelEntry():
            result = await _drawn(service, call.call, call, told)
            return Answer(status=200, body=native.generation(entry.name, result))
        case RemoteImages(), RemoteEntry():
            drawing = service.remote(entry.name).images(call.as_call())
            return _answer(await _within(call.seconds, drawing))
        case RemoteNative(), RemoteEntry():
            sent = NativeCall(NativeRoute.GENERATE, call.body)
            return await _remote_native(service, entry, sent, call.seconds)
    # It was taken out of service, or another kind of model has its name now.
    raise UnknownModel(call.model, service.models.names)


async def _drawn(service: Service, engine_call: EngineCall, call: JobCall, told: Told) -> EngineResult:
    drawing = service.stream(call.model, engine_call, hold_seconds=service.settings.hold_seconds)
    async with aclosing(drawing):
        async for event in drawing:
            match event:
                case EngineResult():
                    return event
                case Preview(image=image):
                    name = await service.storage.publish(image, seconds=service.settings.url_seconds)
                    await told(f"{call.base_url}{PICTURES_PATH}/{name}")
                case _:
                    await told(event)
    raise AssertionError("unreachable: the result is the last event")


async def _remote_native(
    service: Service, entry: RemoteEntry, call: NativeCall, seconds: float | None
) -> Answer:
    answer = await _within(seconds, service.remote(entry.name).native(call))
    if answer.status_code == 202:
        # It is being loaded there: a job waits, as for a model of our own.
        raise ModelLoading(entry.name, None, float(answer.headers["retry-after"]))
    return _answer(answer)


def _answer(response: Response) -> Answer:
    return Answer(status=response.status_code, body=bytes(response.body))


async def _within(seconds: float | None, answer: Awaitable[Response]) -> Response:
    """Another server's answer, unless it takes longer; here is watched over that, whatever is done there.

    Raises:
        DeadlineExceeded
    """
    try:
        async with asyncio.timeout(seconds) as scope:
            return await answer
    except TimeoutError:
        if seconds is None or not scope.expired():
            raise
        raise DeadlineExceeded(seconds, "drawing") from None

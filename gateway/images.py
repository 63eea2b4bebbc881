"""OpenAI's image calls: read and mapped; then drawn and delivered, at once or as a line of a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from compat.edits import map_edit, map_variation
from compat.errors import render
from compat.images import images_response
from compat.mapped import Mapped, Operation
from compat.mapping import map_generation
from compat.remote_errors import RemoteUnreachable
from compat.requests import parse_edit, parse_generation, parse_variation
from engines.errors import EngineError
from gateway import answering
from gateway.answers import json_answer
from gateway.batch import Batch, Line, Outcome
from gateway.body import Body
from gateway.delivery import deliver
from gateway.drawing import bounded, drawn
from gateway.idempotency import keyed
from gateway.jobs.submission import later, submit_images
from gateway.kept_answers import Keyed
from gateway.middleware import new_request_id, request_id
from gateway.registry import ModelEntry
from gateway.remote_calls import ImagesCall
from gateway.service import Service
from gateway.streaming import openai_stream


async def answer(request: Request, service: Service, operation: Operation, body: Body) -> Response:
    """Answer a live call, stream it, or take it on to be answered later."""
    known = await keyed(request, body.fields)

    async def produce() -> Response:
        return await _answer(request, service, operation, body, known)

    return await produce() if known is None else await bounded(service.idempotency.answer(known, produce))


async def _answer(
    request: Request, service: Service, operation: Operation, body: Body, known: Keyed | None
) -> Response:
    async def prepare(entry: ModelEntry) -> Mapped:
        return await map_call(service, entry, operation, body, request_id=request_id.get())

    async def draw(entry: ModelEntry, mapped: Mapped) -> Response:
        # The call holds its own copy of the pictures, and may wait long: those that came in are not kept too.
        body.fields.clear()
        if mapped.stream:
            return await openai_stream(service, entry, mapped)
        result = await drawn(service, entry, mapped.call)
        return await deliver(request, service, entry, mapped, result)

    call = _images_call(operation, body)
    wish = await later(request, service, known, streamed=call.stream)
    if wish is not None:
        return await submit_images(request, service, call, wish, prepare=prepare)
    return await answering.answer(service, call, prepare=prepare, draw=draw)


async def execute_line(service: Service, batch: Batch, line: Line) -> Outcome:
    """Make the call of a batch's line once no live request of its model is under way.

    What can succeed later is tried again until the batch expires; every other failure is the outcome.
    A line has no request whose host a URL could name, so its pictures come inside the answer.
    """
    identity = new_request_id()
    operation = Operation.EDIT if batch.endpoint.endswith("/edits") else Operation.GENERATION
    body = Body({name: value for name, value in line.body.items() if name != "stream"})

    async def prepare(entry: ModelEntry) -> Mapped:
        return await map_call(service, entry, operation, body, request_id=identity)

    async def draw(entry: ModelEntry, mapped: Mapped) -> Response:
        result = await service.generate_behind(entry.name, mapped.call, until=batch.expires_at)
        return json_answer(images_response(entry.name, mapped.within_answer(), result))

    call = _images_call(operation, body)
    try:
        answered = await _when_reachable(
            lambda: answering.answer(service, call, prepare=prepare, draw=draw, patient=True),
            until=batch.expires_at,
        )
        status, content = answered.status_code, orjson.loads(bytes(answered.body))
    except EngineError as error:
        failed = render(error, request_id=identity)
        status, content = failed.status, failed.body
    return Outcome(custom_id=line.custom_id, status_code=status, request_id=identity, body=content)


async def _when_reachable(attempt: Callable[[], Awaitable[Response]], *, until: float) -> Response:
    """Make a call of another server again while it cannot be reached, until a time in Unix seconds."""
    while True:
        try:
            return await attempt()
        except RemoteUnreachable as error:
            if time.time() + error.retry_after_seconds > until:
                raise
            await asyncio.sleep(error.retry_after_seconds)


async def map_call(
    service: Service, entry: ModelEntry, operation: Operation, body: Body, *, request_id: str
) -> Mapped:
    """Read, fetch, check and map: everything that can be refused before a model is woken.

    Raises:
        InvalidRequest
    """
    policy, schema, preset = service.settings.policy, entry.schema_, entry.card.preset
    fields, form = body.fields, body.form
    if operation is Operation.GENERATION:
        drawn = parse_generation(fields, schema=schema, policy=policy, form=form)
        return map_generation(drawn, schema, preset=preset, policy=policy, request_id=request_id)
    sources = service.image_sources()
    if operation is Operation.VARIATION:
        varied = parse_variation(fields, schema=schema, policy=policy, form=form)
        (picture,) = await sources.pictures((varied.image,))
        return map_variation(
            varied, schema, picture=picture, preset=preset, policy=policy, request_id=request_id
        )
    edited = parse_edit(fields, schema=schema, policy=policy, form=form)
    pictures = await sources.pictures(edited.images)
    return map_edit(
        edited,
        schema,
        pictures=pictures,
        mask=await sources.mask(edited.mask, pictures[0], feather=edited.mask_feather or 0),
        preset=preset,
        policy=policy,
        request_id=request_id,
    )


def _images_call(operation: Operation, body: Body) -> ImagesCall:
    return ImagesCall(operation, body.fields, body.form)

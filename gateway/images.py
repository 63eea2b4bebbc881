"""OpenAI's image calls: read, mapped, drawn, delivered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from compat.edits import map_edit, map_variation
from compat.mapped import Mapped, Operation
from compat.mapping import map_generation
from compat.requests import parse_edit, parse_generation, parse_variation
from gateway.answering import answer
from gateway.body import Body, read_body, read_form
from gateway.delivery import deliver
from gateway.middleware import request_id
from gateway.registry import ModelEntry
from gateway.remote_calls import ImagesCall
from gateway.service import Service
from gateway.streaming import openai_stream


async def generate(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw from a prompt. ``model`` is named by the path, and then decides."""
    body = await _body(request, service, model)
    policy = service.settings.policy

    async def mapped(entry: ModelEntry) -> Mapped:
        parsed = parse_generation(body.fields, schema=entry.schema_, policy=policy, form=body.form)
        preset, identity = entry.card.preset, request_id.get()
        return map_generation(parsed, entry.schema_, preset=preset, policy=policy, request_id=identity)

    return await _answered(request, service, Operation.GENERATION, body, mapped)


async def edit(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw from pictures and a prompt; everything that came is checked before a model is woken."""
    body = await _body(request, service, model)
    policy = service.settings.policy

    async def mapped(entry: ModelEntry) -> Mapped:
        parsed = parse_edit(body.fields, schema=entry.schema_, policy=policy, form=body.form)
        sources = service.image_sources()
        pictures = await sources.pictures(parsed.images)
        return map_edit(
            parsed,
            entry.schema_,
            pictures=pictures,
            mask=await sources.mask(parsed.mask, pictures[0], feather=parsed.mask_feather or 0),
            preset=entry.card.preset,
            policy=policy,
            request_id=request_id.get(),
        )

    return await _answered(request, service, Operation.EDIT, body, mapped)


async def vary(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw a picture anew."""
    fields = await read_form(request, service.settings.limits)
    fields |= {} if model is None else {"model": model}
    policy = service.settings.policy

    async def mapped(entry: ModelEntry) -> Mapped:
        parsed = parse_variation(fields, schema=entry.schema_, policy=policy, form=True)
        (picture,) = await service.image_sources().pictures((parsed.image,))
        return map_variation(
            parsed,
            entry.schema_,
            picture=picture,
            preset=entry.card.preset,
            policy=policy,
            request_id=request_id.get(),
        )

    return await _answered(request, service, Operation.VARIATION, Body(fields, form=True), mapped)


async def _body(request: Request, service: Service, model: str | None) -> Body:
    body = await read_body(request, service.settings.limits)
    if model is not None:
        body.fields["model"] = model
    return body


async def _answered(
    request: Request,
    service: Service,
    operation: Operation,
    body: Body,
    mapped: Callable[[ModelEntry], Awaitable[Mapped]],
) -> Response:
    async def drawn(entry: ModelEntry, mapped: Mapped) -> Response:
        if mapped.stream:
            return await openai_stream(service, entry, mapped)
        result = await service.generate(entry.name, mapped.call, hold_seconds=service.settings.hold_seconds)
        return await deliver(request, service, entry, mapped, result)

    return await answer(service, ImagesCall(operation, body.fields, body.form), prepare=mapped, draw=drawn)

"""OpenAI's image calls: read, mapped, drawn, delivered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from compat.edits import map_edit, map_variation
from compat.mapped import Mapped
from compat.mapping import map_generation
from compat.requests import parse_edit, parse_generation, parse_variation, requested_model
from gateway.body import Body, read_body, read_form
from gateway.delivery import deliver
from gateway.middleware import request_id
from gateway.registry import ModelEntry
from gateway.service import Service
from gateway.streaming import openai_stream


async def generate(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw from a prompt. ``model`` is named by the path, and then decides."""
    body = await _body(request, service, model)
    policy = service.settings.policy
    entry = service.models.resolve(requested_model(body.fields, policy=policy, form=body.form))
    parsed = parse_generation(body.fields, schema=entry.schema_, policy=policy, form=body.form)
    mapped = map_generation(
        parsed, entry.schema_, preset=entry.card.preset, policy=policy, request_id=request_id.get()
    )
    return await _drawn(request, service, entry, mapped)


async def edit(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw from pictures and a prompt; everything that came is checked before a model is woken."""
    body = await _body(request, service, model)
    policy = service.settings.policy
    entry = service.models.resolve(requested_model(body.fields, policy=policy, form=body.form))
    schema = entry.schema_
    parsed = parse_edit(body.fields, schema=schema, policy=policy, form=body.form)
    sources = service.image_sources()
    pictures = await sources.pictures(parsed.images)
    mask = await sources.mask(parsed.mask, pictures[0], feather=parsed.mask_feather or 0)
    mapped = map_edit(
        parsed,
        schema,
        pictures=pictures,
        mask=mask,
        preset=entry.card.preset,
        policy=policy,
        request_id=request_id.get(),
    )
    return await _drawn(request, service, entry, mapped)


async def vary(request: Request, service: Service, *, model: str | None = None) -> Response:
    """Draw a picture anew."""
    fields = await read_form(request, service.settings.limits)
    fields |= {} if model is None else {"model": model}
    policy = service.settings.policy
    entry = service.models.resolve(requested_model(fields, policy=policy, form=True))
    schema = entry.schema_
    parsed = parse_variation(fields, schema=schema, policy=policy, form=True)
    (picture,) = await service.image_sources().pictures((parsed.image,))
    mapped = map_variation(
        parsed,
        schema,
        picture=picture,
        preset=entry.card.preset,
        policy=policy,
        request_id=request_id.get(),
    )
    return await _drawn(request, service, entry, mapped)


async def _body(request: Request, service: Service, model: str | None) -> Body:
    body = await read_body(request, service.settings.limits)
    if model is not None:
        body.fields["model"] = model
    return body


async def _drawn(request: Request, service: Service, entry: ModelEntry, mapped: Mapped) -> Response:
    if mapped.stream:
        return await openai_stream(service, entry, mapped)
    result = await service.generate(entry.name, mapped.call, hold_seconds=service.settings.hold_seconds)
    return await deliver(request, service, entry, mapped, result)

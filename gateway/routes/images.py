"""OpenAI's image routes: parse, map, call, render."""

from __future__ import annotations

from fastapi import APIRouter, Response

from compat.images import images_response, parse_generation, requested_model
from compat.mapping import map_generation
from gateway.answers import json_answer
from gateway.middleware import request_id
from gateway.routes.dependencies import JsonBody, ServiceOf

router = APIRouter(prefix="/v1/images", tags=["openai"])


@router.post("/generations")
async def generations(service: ServiceOf, body: JsonBody) -> Response:
    """Draw from a prompt; a sleeping model holds the call until it is warm."""
    entry = service.models.resolve(requested_model(body))
    request = parse_generation(body, schema=entry.schema_)
    mapped = map_generation(
        request,
        entry.schema_,
        preset=entry.card.preset,
        strict=service.settings.strict,
        request_id=request_id.get(),
    )
    result = await service.generate(entry.name, mapped.call, hold_seconds=service.settings.hold_seconds)
    return json_answer(images_response(entry.name, mapped, result))

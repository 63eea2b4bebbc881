"""OpenAI's image routes: parse, map, call, render."""

from __future__ import annotations

from fastapi import APIRouter, Response

from compat.errors import Unsupported
from compat.images import images_response
from compat.mapping import map_generation
from compat.requests import parse_generation, requested_model
from gateway.answers import json_answer
from gateway.middleware import request_id
from gateway.routes.dependencies import JsonBody, ServiceOf
from gateway.settings import policy

router = APIRouter(prefix="/v1/images", tags=["openai"])


@router.post("/generations")
async def generations(service: ServiceOf, body: JsonBody) -> Response:
    """Draw from a prompt; a sleeping model holds the call until it is warm."""
    wanted = policy(service.settings)
    entry = service.models.resolve(requested_model(body, policy=wanted))
    request = parse_generation(body, schema=entry.schema_, policy=wanted)
    mapped = map_generation(
        request,
        entry.schema_,
        preset=entry.card.preset,
        policy=wanted,
        request_id=request_id.get(),
    )
    if mapped.stream:
        raise Unsupported("stream", "Streaming is not supported in this version.", "unsupported_parameter")
    result = await service.generate(entry.name, mapped.call, hold_seconds=service.settings.hold_seconds)
    return json_answer(images_response(entry.name, mapped, result))

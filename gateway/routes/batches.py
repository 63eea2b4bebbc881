"""OpenAI's batch routes, over image calls."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from compat.fields import choice, integer, json_object, text
from engines.errors import InvalidParameter, MissingParameter
from gateway.answers import json_answer
from gateway.batch import new_batch
from gateway.paging import page
from gateway.routes.dependencies import JsonBody, ServiceOf

router = APIRouter(prefix="/v1/batches", tags=["batches"])

_ENDPOINT = choice("/v1/images/generations", "/v1/images/edits")
_MOST_METADATA = 16
SHORTEST, LONGEST = 3600, 30 * 24 * 3600
"""Seconds that the output may be kept for, where it expires."""


@router.post("")
async def create(service: ServiceOf, body: JsonBody) -> Response:
    """Take a batch on; it is worked on behind every live request."""
    for name in ("input_file_id", "endpoint", "completion_window"):
        if body.get(name) is None:
            raise MissingParameter(name)
    choice("24h")("completion_window", body["completion_window"])
    batch = new_batch(
        endpoint=_ENDPOINT("endpoint", body["endpoint"]),
        input_file_id=text()("input_file_id", body["input_file_id"]),
        metadata=_metadata(body.get("metadata")),
        output_seconds=_output_seconds(body.get("output_expires_after")),
    )
    await service.files.get(batch.input_file_id)
    return json_answer((await service.batches.submit(batch)).as_json())


@router.get("")
async def list_batches(
    service: ServiceOf, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Response:
    """The batches, the newest first."""
    found = [batch.as_json() for batch in await service.batches.all()]
    return json_answer(page(found, after=after, limit=limit))


@router.get("/{batch_id}")
async def retrieve(service: ServiceOf, batch_id: str) -> Response:
    """Where a batch stands."""
    return json_answer((await service.batches.get(batch_id)).as_json())


@router.post("/{batch_id}/cancel")
async def cancel(service: ServiceOf, batch_id: str) -> Response:
    """End a batch after the line that it is at."""
    return json_answer((await service.batches.cancel(batch_id)).as_json())


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    given = json_object("metadata", value)
    if len(given) > _MOST_METADATA:
        raise InvalidParameter("metadata", f"expected at most {_MOST_METADATA} keys, but got {len(given)}.")
    return {key: text(maximum=512)(f"metadata.{key}", each) for key, each in given.items()}


def _output_seconds(value: Any) -> int | None:
    if value is None:
        return None
    given = json_object("output_expires_after", value)
    choice("created_at")("output_expires_after.anchor", given.get("anchor"))
    seconds: int = integer(SHORTEST, LONGEST)("output_expires_after.seconds", given.get("seconds"))
    return seconds

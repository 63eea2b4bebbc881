"""OpenAI's batch routes, over image calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from compat.stored_fields import batch_fields, metadata, output_seconds
from gateway.answers import json_answer
from gateway.batch import new_batch
from gateway.paging import page
from gateway.routes.dependencies import JsonBody, ServiceOf

router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.post("")
async def create(service: ServiceOf, body: JsonBody) -> Response:
    """Take a batch on; it is worked on behind every live request."""
    input_file_id, endpoint = batch_fields(body)
    batch = new_batch(
        endpoint=endpoint,
        input_file_id=input_file_id,
        metadata=metadata(body.get("metadata")),
        output_seconds=output_seconds(body.get("output_expires_after")),
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

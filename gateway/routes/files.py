"""OpenAI's file routes, as far as images and batches need them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from compat.stored_fields import uploaded
from gateway.answers import json_answer
from gateway.body import read_form
from gateway.paging import page
from gateway.routes.dependencies import ServiceOf

router = APIRouter(prefix="/v1/files", tags=["files"])


@router.post("")
async def create(request: Request, service: ServiceOf) -> Response:
    """Keep a file."""
    fields = await read_form(request, service.settings.limits)
    file, purpose, seconds = uploaded(fields)
    record = await service.files.create(
        file.data, filename=file.filename or "upload", purpose=purpose, seconds=seconds
    )
    return json_answer(record.model_dump(mode="json", exclude_none=True))


@router.get("")
async def list_files(
    service: ServiceOf,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The files, the newest first."""
    found = await service.files.all(purpose=purpose)
    records = [each.model_dump(mode="json", exclude_none=True) for each in found]
    return json_answer(page(records if order == "desc" else records[::-1], after=after, limit=limit))


@router.get("/{file_id}")
async def retrieve(service: ServiceOf, file_id: str) -> Response:
    """One file's record."""
    record = await service.files.get(file_id)
    return json_answer(record.model_dump(mode="json", exclude_none=True))


@router.get("/{file_id}/content")
async def content(service: ServiceOf, file_id: str) -> Response:
    """One file's bytes."""
    data = await service.files.read(file_id)
    return Response(
        data, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"}
    )


@router.delete("/{file_id}")
async def delete(service: ServiceOf, file_id: str) -> Response:
    """Forget a file."""
    await service.files.delete(file_id)
    return json_answer({"id": file_id, "object": "file", "deleted": True})

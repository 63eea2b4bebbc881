"""OpenAI's file routes, as far as images and batches need them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from compat.fields import WrongType, choice, integer
from compat.sources import Upload
from engines.errors import MissingParameter
from gateway.answers import json_answer
from gateway.body import read_form
from gateway.paging import page
from gateway.routes.dependencies import ServiceOf

router = APIRouter(prefix="/v1/files", tags=["files"])

_PURPOSE = choice("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
SHORTEST, LONGEST = 3600, 30 * 24 * 3600
"""Seconds that a file may be kept for, where it expires."""


@router.post("")
async def create(request: Request, service: ServiceOf) -> Response:
    """Keep a file."""
    fields = await read_form(request, service.settings.limits)
    file = fields.get("file")
    if file is None:
        raise MissingParameter("file")
    if not isinstance(file, Upload):
        raise WrongType("file", "a file", "a string")
    if not fields.get("purpose"):
        raise MissingParameter("purpose")
    record = await service.files.create(
        file.data,
        filename=file.filename or "upload",
        purpose=_PURPOSE("purpose", fields["purpose"]),
        seconds=_seconds(fields),
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


def _seconds(fields: dict[str, Any]) -> int | None:
    value = fields.get("expires_after[seconds]")
    if value is None:
        return None
    choice("created_at")("expires_after[anchor]", fields.get("expires_after[anchor]", "created_at"))
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    seconds: int = integer(SHORTEST, LONGEST)("expires_after[seconds]", number)
    return seconds

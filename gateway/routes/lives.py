"""A model's life by hand, for schedulers and scripts: wake it before it is needed, send it to sleep after."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from compat.remote_errors import NativeRoutesAbsent
from gateway import native
from gateway.answers import json_answer
from gateway.registry import ModelEntry, native_path
from gateway.routes.dependencies import ServiceOf
from gateway.service import Service
from gateway.status import State, Status

router = APIRouter(tags=["native"])

Wait = Annotated[float, Query(ge=0, le=30, description="Seconds to wait until it is so.")]


@router.post("/kandinsky-{model}/v1/warm")
async def warm(service: ServiceOf, model: str, wait: Wait = 0) -> Response:
    """Wake the model; 200 when it is ready, 202 while it is being loaded."""
    entry = _own(service, model)
    return _answer(entry, await service.served(entry.name).warm(wait), State.READY, State.BUSY)


@router.post("/kandinsky-{model}/v1/sleep")
async def sleep(service: ServiceOf, model: str, wait: Wait = 0) -> Response:
    """Send the model to sleep once its work has ended; 200 when it sleeps, 202 until then.

    The next request wakes it, also one that is kept warm.
    """
    entry = _own(service, model)
    return _answer(entry, await service.served(entry.name).sleep(wait), State.ASLEEP)


def _own(service: Service, model: str) -> ModelEntry:
    entry = service.models.native(model)
    if not isinstance(entry, ModelEntry):
        raise NativeRoutesAbsent(entry.name)
    return entry


def _answer(entry: ModelEntry, status: Status, *wanted: State) -> Response:
    body = native.health(entry.name, status)
    if status.state in wanted:
        return json_answer(body)
    return json_answer(
        body,
        202,
        Retry_After=str(native.retry_after(status)),
        Location=f"{native_path(entry.name)}/health",
    )

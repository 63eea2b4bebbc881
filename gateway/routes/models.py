"""OpenAI's model routes."""

from __future__ import annotations

from fastapi import APIRouter, Response

from compat.models import model_list, model_object, remote_model_object
from gateway.answers import json_answer
from gateway.registry import Entry, native_path
from gateway.remotes import RemoteEntry
from gateway.routes.dependencies import ServiceOf
from gateway.service import Service

router = APIRouter(prefix="/v1/models", tags=["openai"])


@router.get("")
async def list_models(service: ServiceOf) -> Response:
    """Every model, under its own name and under its aliases."""
    objects = [
        _object(service, entry, name)
        for entry in service.models.entries
        for name in (entry.name, *(alias for alias in entry.aliases if alias != "*"))
    ]
    return json_answer(model_list(objects))


@router.get("/{model:path}")
async def retrieve_model(service: ServiceOf, model: str) -> Response:
    """One model; the id may hold slashes, percent-encoded or not."""
    entry = service.models.listed(model)
    return json_answer(_object(service, entry, model))


def _object(service: Service, entry: Entry, name: str) -> dict[str, object]:
    status = service.status(entry.name)
    state = status.state.value
    schema_url = f"{native_path(entry.name)}/schema"
    if isinstance(entry, RemoteEntry):
        return remote_model_object(
            name, created=entry.created, state=state, schema_url=schema_url, root=entry.name
        )
    return model_object(
        name,
        schema=entry.schema_,
        created=entry.created,
        state=state,
        progress=None if status.progress is None else round(status.progress, 4),
        reason=status.reason,
        schema_url=schema_url,
        root=entry.name,
    )

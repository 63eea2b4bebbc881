"""The native routes of one model, and the same at the root with the model named in the request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from engines.errors import InvalidParameter
from engines.native import map_native
from gateway import native
from gateway.answers import json_answer
from gateway.middleware import request_id
from gateway.registry import ModelEntry, native_path
from gateway.routes.dependencies import JsonBody, ServiceOf
from gateway.service import Service
from gateway.streaming import native_stream

router = APIRouter(tags=["native"])


@router.get("/kandinsky-{model}/v1/schema")
async def model_schema(service: ServiceOf, model: str) -> Response:
    """What the model accepts; answers while it sleeps."""
    return json_answer(native.schema(service.models.native(model)))


@router.post("/kandinsky-{model}/v1/generate")
async def model_generate(request: Request, service: ServiceOf, model: str, body: JsonBody) -> Response:
    """Draw with any of the model's own parameters; 202 while the model is asleep or loading."""
    return await _generate(request, service, service.models.native(model), body)


@router.get("/kandinsky-{model}/v1/health")
async def model_health(service: ServiceOf, model: str) -> Response:
    """The model's state, with the progress of its load."""
    return _health(service, service.models.native(model))


@router.get("/kandinsky-{model}/v1/models")
async def model_models(service: ServiceOf, model: str) -> Response:
    """The model behind this prefix."""
    return _models(service, service.models.native(model))


@router.get("/schema")
async def schema(service: ServiceOf, model: str | None = None) -> Response:
    """As the model's own route; the name may be left out where there is one model or a default."""
    return json_answer(native.schema(_named(service, model)))


@router.post("/generate")
async def generate(request: Request, service: ServiceOf, body: JsonBody) -> Response:
    """As the model's own route, with ``model`` in the body."""
    name = body.pop("model", None)
    if name is not None and not isinstance(name, str):
        raise InvalidParameter("model", "expected a string", "invalid_type")
    return await _generate(request, service, service.models.resolve(name), body)


@router.get("/health")
async def health(service: ServiceOf, model: str | None = None) -> Response:
    """The state of one model, or of all of them."""
    if model is not None:
        return _health(service, _named(service, model))
    states = {entry.name: native.health(entry, service.status(entry.name)) for entry in service.models}
    return json_answer({"status": "healthy", "models": states})


@router.get("/models")
async def models(service: ServiceOf) -> Response:
    """Every deployed model with its state."""
    return _models(service, *service.models)


def _named(service: Service, model: str | None) -> ModelEntry:
    return service.models.resolve(None) if model is None else service.models.native(model)


def _health(service: Service, entry: ModelEntry) -> Response:
    return json_answer(native.health(entry, service.status(entry.name)))


def _models(service: Service, *entries: ModelEntry) -> Response:
    return json_answer({"models": [native.model(entry, service.status(entry.name)) for entry in entries]})


async def _generate(request: Request, service: Service, entry: ModelEntry, body: dict[str, Any]) -> Response:
    streamed = _wants_stream(request, entry, body)
    call = map_native(body, entry.schema_, request_id=request_id.get())
    if streamed:
        return await native_stream(service, entry, call)
    status = await service.wake_unless_ready(entry.name)
    if status is not None:
        poll_path = f"{native_path(entry.name)}/health"
        poll_url = str(request.base_url.replace(path=poll_path))
        return json_answer(
            native.loading(entry.name, status, poll_url),
            202,
            Retry_After=str(native.retry_after(status)),
            Location=poll_path,
        )
    result = await service.generate(entry.name, call, hold_seconds=service.settings.hold_seconds)
    return json_answer(native.generation(entry.name, result))


def _wants_stream(request: Request, entry: ModelEntry, body: dict[str, Any]) -> bool:
    """Whether events are wanted: by the Accept header, or by ``stream`` where that is no model's field."""
    accepted = "text/event-stream" in request.headers.get("accept", "")
    if entry.schema_.call.find("stream") is not None:
        return accepted
    wish = body.pop("stream", None)
    if wish is not None and not isinstance(wish, bool):
        raise InvalidParameter("stream", "expected a boolean", "invalid_type")
    return accepted if wish is None else wish

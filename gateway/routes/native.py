"""The native routes of one model, and the same at the root with the model named in the request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from engines.calls import EngineCall
from engines.errors import InvalidParameter
from engines.native import map_native
from gateway import native
from gateway.answering import answer_native
from gateway.answers import json_answer
from gateway.drawing import bounded, drawn
from gateway.idempotency import keyed
from gateway.jobs.submission import later, submit_native
from gateway.middleware import request_id
from gateway.native_answers import ModelRow
from gateway.public_url import public_url
from gateway.registry import Entry, ModelEntry, native_path
from gateway.remote_calls import NativeCall, NativeRoute
from gateway.routes.dependencies import JsonBody, ServiceOf
from gateway.service import Service
from gateway.streaming import native_stream

router = APIRouter(tags=["native"])


@router.get("/kandinsky-{model}/v1/schema")
async def model_schema(service: ServiceOf, model: str) -> Response:
    """What the model accepts; answers while it sleeps."""
    return await _schema(service, service.models.native(model))


@router.post("/kandinsky-{model}/v1/generate")
async def model_generate(request: Request, service: ServiceOf, model: str, body: JsonBody) -> Response:
    """Draw with any of the model's own parameters; 202 while the model is asleep or loading."""
    return await _generate(request, service, service.models.native(model), body)


@router.get("/kandinsky-{model}/v1/health")
async def model_health(service: ServiceOf, model: str) -> Response:
    """The model's state, with the progress of its load."""
    return await _health(service, service.models.native(model))


@router.get("/kandinsky-{model}/v1/models")
async def model_models(service: ServiceOf, model: str) -> Response:
    """The model behind this prefix."""
    return json_answer({"models": [_row(service, service.models.native(model))]})


@router.get("/schema")
async def schema(service: ServiceOf, model: str | None = None) -> Response:
    """As the model's own route; the name may be left out where there is one model or a default."""
    return await _schema(service, _named(service, model))


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
        return await _health(service, _named(service, model))
    states = {name: native.health(name, service.status(name)) for name in service.models.names}
    return json_answer({"status": "healthy", "models": states})


@router.get("/models")
async def models(service: ServiceOf) -> Response:
    """Every model with its state."""
    return json_answer({"models": [_row(service, entry) for entry in service.models.entries]})


def _named(service: Service, model: str | None) -> Entry:
    return service.models.resolve(None) if model is None else service.models.native(model)


def _row(service: Service, entry: Entry) -> ModelRow:
    return native.model(entry, service.status(entry.name))


async def _schema(service: Service, entry: Entry) -> Response:
    async def here(entry: ModelEntry) -> Response:
        return json_answer(native.schema(entry))

    return await answer_native(service, entry, NativeCall(NativeRoute.SCHEMA), here=here)


async def _health(service: Service, entry: Entry) -> Response:
    async def here(entry: ModelEntry) -> Response:
        return json_answer(native.health(entry.name, service.status(entry.name)))

    return await answer_native(service, entry, NativeCall(NativeRoute.HEALTH), here=here)


async def _generate(request: Request, service: Service, entry: Entry, body: dict[str, Any]) -> Response:
    known = await keyed(request, {**body, "model": entry.name})

    async def here(entry: ModelEntry) -> Response:
        return await _generate_here(request, service, entry, body)

    def prepare(entry: ModelEntry) -> EngineCall:
        _wants_stream(request, entry, body)
        return map_native(body, entry.schema_, request_id=request_id.get())

    async def produce() -> Response:
        streamed = body.get("stream") is True or _accepts_events(request)
        wish = await later(request, service, known, streamed=streamed)
        if wish is not None:
            return await submit_native(request, service, entry, body, wish, prepare=prepare)
        call = NativeCall(NativeRoute.GENERATE, body, stream=streamed)
        return await answer_native(service, entry, call, here=here)

    return await produce() if known is None else await bounded(service.idempotency.answer(known, produce))


async def _generate_here(
    request: Request, service: Service, entry: ModelEntry, body: dict[str, Any]
) -> Response:
    streamed = _wants_stream(request, entry, body)
    call = map_native(body, entry.schema_, request_id=request_id.get())
    if streamed:
        return await native_stream(service, entry, call)
    status = await service.wake_unless_ready(entry.name)
    if status is not None:
        poll_path = f"{native_path(entry.name)}/health"
        poll_url = public_url(request, service.settings, poll_path)
        return json_answer(
            native.loading(entry.name, status, poll_url),
            202,
            Retry_After=str(native.retry_after(status)),
            Location=poll_path,
        )
    result = await drawn(service, entry, call)
    return json_answer(native.generation(entry.name, result))


def _wants_stream(request: Request, entry: ModelEntry, body: dict[str, Any]) -> bool:
    """Whether events are wanted: by the Accept header, or by ``stream`` where that is no model's field."""
    accepted = _accepts_events(request)
    if entry.schema_.call.find("stream") is not None:
        return accepted
    wish = body.pop("stream", None)
    if wish is not None and not isinstance(wish, bool):
        raise InvalidParameter("stream", "expected a boolean", "invalid_type")
    return accepted if wish is None else wish


def _accepts_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")

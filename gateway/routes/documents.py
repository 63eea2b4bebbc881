"""What this server is, and its OpenAPI documents: of all of it, and of one model."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response

from gateway.answers import json_answer
from gateway.openapi import model_document, server_document
from gateway.registry import native_path
from gateway.routes.dependencies import ServiceOf
from gateway.service import Service

DISTRIBUTION: Final = "kandinsky-gateway"
DOCUMENT_PATH: Final = "/openapi.json"

router = APIRouter(tags=["server"])


@router.get("/")
async def index(service: ServiceOf) -> Response:
    """What this server is and where things are."""
    return json_answer(
        {
            "service": DISTRIBUTION,
            "version": version(DISTRIBUTION),
            "models": {entry.name: f"{native_path(entry.name)}/schema" for entry in service.models},
            "openai_base_url": "/v1",
            "openapi": DOCUMENT_PATH,
        }
    )


@router.get(DOCUMENT_PATH)
async def document(request: Request, service: ServiceOf, model: str | None = None) -> Response:
    """Every route, as OpenAPI 3.1; with ``model`` that model's own document."""
    whole = _whole(request.app, service)
    return json_answer(whole if model is None else _of_model(whole, service, model))


@router.get("/kandinsky-{model}/v1/openapi.json")
async def of_model(request: Request, service: ServiceOf, model: str) -> Response:
    """The routes that concern one model, with exactly its own parameters; it need not be awake."""
    return json_answer(_of_model(_whole(request.app, service), service, model))


def _whole(app: FastAPI, service: Service) -> dict[str, Any]:
    return server_document(app, service.settings, remotes=bool(service.models.remotes))


def _of_model(whole: dict[str, Any], service: Service, model: str) -> dict[str, Any]:
    entry = service.models.native(model)
    default = service.models.default is entry
    return model_document(whole, entry, service.settings.policy, default=default)

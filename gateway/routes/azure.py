"""The same routes under the paths that Azure's clients call: the deployment is the model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from compat.mapped import Operation
from gateway import images
from gateway.body import Body, read_body
from gateway.routes.dependencies import ServiceOf
from gateway.routes.models import list_models
from gateway.service import Service

router = APIRouter(prefix="/openai", tags=["azure"])


@router.post("/deployments/{model:path}/images/generations")
async def generations(request: Request, service: ServiceOf, model: str) -> Response:
    """Draw from a prompt."""
    return await images.answer(request, service, Operation.GENERATION, await _body(request, service, model))


@router.post("/deployments/{model:path}/images/edits")
async def edits(request: Request, service: ServiceOf, model: str) -> Response:
    """Edit pictures."""
    return await images.answer(request, service, Operation.EDIT, await _body(request, service, model))


@router.post("/deployments/{model:path}/images/variations")
async def variations(request: Request, service: ServiceOf, model: str) -> Response:
    """Draw a picture anew."""
    return await images.answer(request, service, Operation.VARIATION, await _body(request, service, model))


@router.get("/models")
async def models(service: ServiceOf) -> Response:
    """Every model."""
    return await list_models(service)


async def _body(request: Request, service: Service, model: str) -> Body:
    """The body, with the model that the path names."""
    body = await read_body(request, service.settings.limits)
    body.fields["model"] = model
    return body

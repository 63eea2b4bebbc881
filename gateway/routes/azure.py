"""The same routes under the paths that Azure's clients call: the deployment is the model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway import images
from gateway.routes.dependencies import ServiceOf
from gateway.routes.models import list_models

router = APIRouter(prefix="/openai", tags=["azure"])


@router.post("/deployments/{model:path}/images/generations")
async def generations(request: Request, service: ServiceOf, model: str) -> Response:
    """Draw from a prompt."""
    return await images.generate(request, service, model=model)


@router.post("/deployments/{model:path}/images/edits")
async def edits(request: Request, service: ServiceOf, model: str) -> Response:
    """Edit pictures."""
    return await images.edit(request, service, model=model)


@router.post("/deployments/{model:path}/images/variations")
async def variations(request: Request, service: ServiceOf, model: str) -> Response:
    """Draw a picture anew."""
    return await images.vary(request, service, model=model)


@router.get("/models")
async def models(service: ServiceOf) -> Response:
    """Every model."""
    return await list_models(service)
